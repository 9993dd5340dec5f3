import type { Clock } from "../../clock.ts";
import type { ConfigLoad } from "../../crds/index.ts";
import { classify, QuorateError } from "../../errors.ts";
import { type ConfigMap, rfc3339, type Secret } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { applyConfig, type Quorum, startCorosync, wipeCorosync } from "../corosync/index.ts";
import type { Host } from "../host/index.ts";

/** What the membership controller published, as far as it concerns this node. */
export interface Published {
  readonly conf: string;
  readonly version: number;
  /** This node may run corosync. Before that, the members must know it. */
  readonly admitted: boolean;
  readonly overrideActive: boolean;
}

/** @throws QuorateError ConfigMapInvalid */
export function readPublished(config: ConfigMap, node: string, overrideActive: boolean): Published {
  const conf = config.data?.["corosync.conf"];
  const version = Number(config.data?.version);
  let admitted: unknown;
  try {
    admitted = JSON.parse(config.data?.admitted ?? "[]");
  } catch {
    admitted = undefined;
  }
  if (conf === undefined || conf === "" || !Number.isInteger(version) || version < 1 || !Array.isArray(admitted)) {
    throw new QuorateError(
      "bug",
      "ConfigMapInvalid",
      `ConfigMap "${config.metadata.name}" in namespace "${config.metadata.namespace ?? ""}" is not what the membership controller writes; delete it, and it is written anew`,
    );
  }
  return { conf, version, admitted: admitted.includes(node), overrideActive };
}

/** The key in the Secret of the cluster; undefined while there is none. Never logged. */
export function readAuthkey(secret: Secret | undefined): Uint8Array | undefined {
  const encoded = secret?.data?.authkey;
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64");
}

export interface FollowInput {
  readonly published: Published | undefined;
  readonly authkey: Uint8Array | undefined;
  readonly nodeId: number | undefined;
  readonly quorum: Quorum;
  /** The ClusterNode is being deleted, or is to be separated, and is in no configuration any more. */
  readonly leave: boolean;
}

/**
 * Brings the host's corosync to what the membership controller published: writes, loads, starts. A host that is not
 * admitted yet is left as it is; one that left is made a host that was never in a cluster.
 * @returns what became of the newest version, for ClusterNode.status.corosync.lastLoad; undefined when nothing was to be done.
 */
export async function followConfig(
  host: Host,
  input: FollowInput,
  clock: Clock,
  log: Logger,
): Promise<ConfigLoad | undefined> {
  const { published, authkey, nodeId, quorum } = input;
  if (quorum.state === "NotInstalled") return undefined;
  if (input.leave) {
    if (quorum.state !== "Stopped" || (await host.readFile("/etc/corosync/authkey")) !== undefined) {
      log.warn("this node has left the cluster: corosync is stopped and its files are removed");
      await wipeCorosync(host);
    }
    return undefined;
  }
  if (published === undefined || authkey === undefined || nodeId === undefined || !published.admitted) return undefined;
  const at = rfc3339(clock.wallMs());
  try {
    const permit = published.overrideActive ? "Override" : quorum.state === "Stopped" ? "Stopped" : "Quorate";
    const applied = await applyConfig(
      host,
      { conf: published.conf, version: published.version, nodeId, authkey, permit },
      clock,
    );
    if (quorum.state === "Stopped") await startCorosync(host);
    if (applied.outcome !== "Unchanged")
      log.info({ version: applied.version, outcome: applied.outcome }, "corosync configuration applied");
    return { configVersion: published.version, outcome: "Loaded", message: "", at };
  } catch (error) {
    const failure = classify(error);
    log.error({ reason: failure.reason, version: published.version }, failure.message);
    return {
      configVersion: published.version,
      outcome: failure.reason === "ConfigNotLoaded" ? "Restored" : "Refused",
      message: `${failure.reason}: ${failure.message}`.slice(0, 1000),
      at,
    };
  }
}
