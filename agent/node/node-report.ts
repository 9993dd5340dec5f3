import { isDeepStrictEqual } from "node:util";
import { CLUSTER_NODES, type ClusterNodeStatus, type ConfigLoad } from "../../crds/index.ts";
import { rfc3339 } from "../../kube/index.ts";
import type { ReportedMode } from "../ha/index.ts";
import { hostAddresses, hostCapacity, type NodeFacts, nodeStatus } from "../report/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { CorosyncSight } from "./corosync-sight.ts";
import type { KeeperCare } from "./keeper-care.ts";
import type { NodeAgentOptions } from "./options.ts";

export interface NodeReportOptions extends Pick<NodeAgentOptions, "node" | "namespace" | "client" | "clock" | "mode"> {
  readonly release: string;
  readonly caches: NodeCaches;
  readonly corosync: CorosyncSight;
  readonly keeper: KeeperCare;
  readonly lastLoad: () => ConfigLoad | undefined;
  readonly guestsHere: () => readonly string[];
  readonly transfer: () => NodeFacts["transfer"];
  readonly usage: () => NodeFacts["usage"];
}

/** Writes this node's part of ClusterNode.status, where it changed. */
export class NodeReport {
  readonly #options: NodeReportOptions;
  #mode: ReportedMode = "Idle";
  #epoch: number | undefined;
  #written: ClusterNodeStatus | undefined;

  constructor(options: NodeReportOptions) {
    this.#options = options;
  }

  /** What the LRM says of itself. */
  lrmIs(mode: ReportedMode, epoch: number | undefined): void {
    this.#mode = mode;
    this.#epoch = epoch;
  }

  async write(bootId: string): Promise<void> {
    const { clock, client, node, namespace, caches, corosync } = this.#options;
    const self = caches.self();
    if (self === undefined) return;
    await corosync.refresh();
    // The cache may not have what was written last yet, and what stands there must not be forgotten for that.
    const before = this.#written ?? self.status;
    const status = nodeStatus(this.#facts(bootId), before, self.metadata.generation ?? 0, rfc3339(clock.wallMs()));
    if (isDeepStrictEqual(status, this.#written)) return;
    await client.applyStatus(
      CLUSTER_NODES,
      {
        metadata: { name: node, namespace, ...(self.metadata.uid === undefined ? {} : { uid: self.metadata.uid }) },
        status,
      },
      { fieldManager: `quorate-agent-${node}`, force: true },
    );
    this.#written = status;
  }

  #facts(bootId: string): NodeFacts {
    const { mode, release, corosync, keeper, lastLoad, guestsHere, transfer, usage } = this.#options;
    const watchdog = keeper.status;
    const message = keeper.problem ?? watchdog?.error;
    return {
      release,
      mode,
      bootId,
      corosync: corosync.status,
      lastLoad: lastLoad(),
      addresses: hostAddresses(),
      lrm: {
        mode: this.#mode === "Disarmed" ? "Idle" : this.#mode,
        epoch: this.#epoch,
        activeGuests: guestsHere().length,
      },
      watchdog:
        watchdog === undefined
          ? undefined
          : {
              device: watchdog.device,
              ...(watchdog.identity === undefined ? {} : { identity: watchdog.identity }),
              ...(watchdog.timeoutSeconds === undefined ? {} : { timeoutSeconds: watchdog.timeoutSeconds }),
              armed: watchdog.armed,
              ...(message === undefined ? {} : { message }),
            },
      transfer: transfer(),
      capacity: hostCapacity(),
      usage: usage(),
    };
  }
}
