/** The clusters of the bench many-clusters: names, and objects as users apply them. */
import type {
  Cluster,
  ClusterNode,
  ClusterNodeStatus,
  Guest,
  HAResource,
  HAResourceStatus,
  NodeMembership,
} from "../crds/index.ts";

export interface WorldSize {
  readonly clusters: number;
  readonly nodes: number;
  readonly services: number;
  /** How often each agent renews its Lease. */
  readonly renewalSeconds: number;
  /** The services run already when the controllers begin, as an earlier leader left them; else they are all new. */
  readonly running: boolean;
}

const CORES = 32;
const MEMORY_BYTES = 256 * 1024 ** 3;

export function namespaces({ clusters }: WorldSize): string[] {
  return Array.from({ length: clusters }, (_, i) => `bench-${i + 1}`);
}

export function nodeNames({ nodes }: WorldSize): string[] {
  return Array.from({ length: nodes }, (_, i) => `n${i + 1}`);
}

/** A watchdog that allows agents to renew that rarely: three renewals are to be shorter than watchdog and token together. */
export function clusterOf({ renewalSeconds }: WorldSize): { name: string; spec: object } {
  return {
    name: "bench",
    spec: {
      links: [{ network: "10.6.0.0/16" }],
      storages: [{ name: "tank", type: "ZFS", dataset: "tank/guests", shared: false }],
      ha: { watchdogSeconds: Math.max(10, 3 * renewalSeconds) },
    } satisfies Partial<Omit<Cluster["spec"], "links" | "ha">> & { links: object[]; ha: object },
  };
}

export interface BenchService {
  readonly name: string;
  readonly node: string;
  readonly spec: Partial<Guest["spec"]> & Pick<Guest["spec"], "service">;
}

export function serviceOf(index: number, size: WorldSize): BenchService {
  const node = `n${(index % size.nodes) + 1}`;
  const name = `vm-${index + 1}`;
  const vmid = size.running ? { vmid: 100 + index } : {};
  return {
    name,
    node,
    spec: { nodeName: node, ...vmid, resources: { cpu: 1, memory: "1Gi" }, service: { unit: `${name}.service` } },
  };
}

/** Of a service that an earlier leader started. */
export function startedOn(node: string): HAResourceStatus {
  const uid = "0.0.1";
  return { state: "Started", node, guarded: true, command: { uid, action: "Start" }, result: { uid, outcome: "Ok" } };
}

export const RESOURCE = { state: "Started" } satisfies Partial<HAResource["spec"]>;

export function nodeSpec(index: number): Partial<ClusterNode["spec"]> {
  return { nodeId: index + 1 };
}

/** What the agent of a node says of its host. @param corosync of a node whose corosync runs */
export function nodeStatus(
  index: number,
  corosync: { readonly version: number; readonly report: NodeMembership } | undefined,
): ClusterNodeStatus {
  const address = `10.6.0.${index + 1}`;
  const others = (corosync?.report.members.length ?? 1) - 1;
  return {
    addresses: [{ interface: "eth0", address: `${address}/16` }],
    capacity: { cpu: CORES, memoryBytes: MEMORY_BYTES },
    corosync:
      corosync === undefined
        ? { running: false }
        : {
            running: true,
            configVersion: corosync.version,
            quorate: corosync.report.quorate,
            ringId: corosync.report.ringId,
            members: [...corosync.report.members],
          },
    ...(corosync === undefined ? {} : { linkStatus: [{ number: 0, address, peersUp: others, peersTotal: others }] }),
  };
}
