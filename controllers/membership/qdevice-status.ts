/** What Cluster.status says of the QDevice. Pure. */
import type { Cluster, ClusterNode, QDeviceStatus } from "../../crds/index.ts";
import type { Finding } from "../conditions.ts";
import type { CorosyncConfig } from "./corosync-config.ts";
import { deviceFor } from "./qdevice.ts";
import type { Agreement } from "./reports.ts";
import type { Published } from "./rollout-types.ts";

export interface QDeviceView {
  readonly cluster: Cluster;
  readonly nodes: readonly ClusterNode[];
  readonly published: Published | undefined;
  readonly agreement: Agreement | undefined;
}

export function qdeviceStatus({ cluster, published, agreement, nodes }: QDeviceView): QDeviceStatus | undefined {
  const wish = cluster.spec.qdevice;
  if (wish === undefined) return undefined;
  const config = published?.config;
  if (config?.qdevice === undefined) {
    const why =
      config &&
      deviceFor(
        { ...wish, algorithm: wish.algorithm === undefined ? undefined : wish.algorithm === "LMS" ? "lms" : "ffsplit" },
        config.nodes,
      );
    const state = published?.formed && why && !("problem" in why) ? "Suspended" : "Configuring";
    return { state, host: wish.host, votes: 0, ...(why && "problem" in why ? { message: why.message } : {}) };
  }
  const { host, algorithm, tieBreaker, votes } = config.qdevice;
  const flags = memberFlags(config, agreement, nodes);
  const connected = flags.every((one) => one.split(",")[0] === "A");
  return {
    state: flags.length === 0 ? "Unknown" : connected ? "Connected" : "Disconnected",
    host,
    algorithm: algorithm === "lms" ? "LMS" : "FFSplit",
    tieBreaker: tieBreaker.charAt(0).toUpperCase() + tieBreaker.slice(1),
    votes,
  };
}

/** Whether a member says that the QDevice votes. What is configured proves nothing. */
export function deviceVotes({ published, agreement, nodes }: QDeviceView): boolean {
  return (
    published?.config.qdevice !== undefined &&
    memberFlags(published.config, agreement, nodes).some((flags) => flags.split(",")[1] === "V")
  );
}

/** What the members say of the QDevice: `A` (it is reached), `V` (it votes), `NMW`. */
function memberFlags(
  config: CorosyncConfig,
  agreement: Agreement | undefined,
  nodes: readonly ClusterNode[],
): string[] {
  return config.nodes
    .filter(({ nodeId }) => agreement?.members.has(nodeId))
    .map(({ name }) => nodes.find(({ metadata }) => metadata.name === name)?.status?.corosync?.qdeviceFlags)
    .filter((flags) => flags !== undefined);
}

export function qdeviceConnected(input: QDeviceView): Finding {
  const type = "QDeviceConnected";
  const status = qdeviceStatus(input);
  const { state, host } = status ?? {};
  if (state === "Connected")
    return { type, status: "True", reason: "Connected", message: `${host} votes with every member` };
  if (state === "Unknown")
    return { type, status: "Unknown", reason: "NoReports", message: "no member says whether it reaches the QDevice" };
  if (state === "Disconnected") {
    const message = `not every member reaches ${host}; check that corosync-qnetd runs there and TCP port ${input.cluster.spec.qdevice?.port} is open`;
    return { type, status: "False", reason: "Disconnected", message };
  }
  const message =
    status?.message ??
    (state === "Suspended" ? "it is taken out while nodes change" : "it is added when all nodes are members");
  return { type, status: "False", reason: state ?? "Configuring", message };
}
