import type { Clock } from "../../clock.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import type { KeeperRelease } from "../keeper/index.ts";

export interface NodeAgentOptions {
  readonly node: string;
  readonly namespace: string;
  readonly mode: "DaemonSet" | "SystemdUnit";
  readonly host: Host;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** For machines; auto looks whether the host can. */
  readonly accelerator: "Auto" | "KVM" | "TCG";
  readonly release: KeeperRelease;
}
