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

/**
 * Field manager of ClusterNode.status.fence.proofReasons alone. They are shown beside the rounds, so a late write of them must not be
 * able to bring back a state that the CRM has left.
 */
export const PROOF_FIELD_MANAGER = "quorate-ha-proof";
