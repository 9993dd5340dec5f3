import type {
  Cluster,
  ClusterNode,
  Guest,
  HAGroup,
  HAResource,
  HARule,
  Migration,
  ReplicationJob,
} from "../../crds/index.ts";
import type { Lease } from "../../kube/index.ts";

/** Everything of one namespace that HA decisions look at, as the watch caches hold it at one moment. Frozen objects. */
export interface ClusterObjects {
  readonly cluster: Cluster;
  readonly nodes: readonly ClusterNode[];
  readonly guests: readonly Guest[];
  readonly resources: readonly HAResource[];
  readonly groups: readonly HAGroup[];
  readonly rules: readonly HARule[];
  readonly jobs: readonly ReplicationJob[];
  readonly migrations: readonly Migration[];
  readonly leases: readonly Lease[];
}

/** Field manager of everything the CRM writes. */
export const FIELD_MANAGER = "quorate-ha";

/** Holder of a node's Lease that the CRM has taken: the node is fenced. */
export const CRM_HOLDER = "quorate-crm";

/** The Lease that is a node's lock, heartbeat and membership report. */
export function nodeLeaseName(node: string): string {
  return `quorate-agent-${node}`;
}

export const MEMBERSHIP_ANNOTATION = "quorate.dev/membership";
export const MODE_ANNOTATION = "quorate.dev/mode";
