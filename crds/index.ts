/**
 * The API of Quorate: the types of its objects (generated from the YAML files of this folder), how they are addressed, and a
 * check of manifests without an API server. The only way into this folder.
 */
import type { ResourceType } from "./resource.ts";
import type { Cluster, ClusterNode, Guest, HAGroup, HAResource, HARule, Migration, ReplicationJob } from "./types.ts";

export { type CrdManifest, crdManifests, type PrinterColumn, type Schema } from "./manifests.ts";
export {
  CLOSING_MS,
  CLOSING_RENEWAL_MS,
  CRM_HOLDER,
  MEMBERSHIP_ANNOTATION,
  MODE_ANNOTATION,
  type NodeMembership,
  nodeLeaseName,
  nodeOfLease,
  parseNodeMembership,
} from "./node-lease.ts";
export { bytesOf } from "./quantity.ts";
export type { Applied, KubeObject, ObjectMeta, ResourceType, Written } from "./resource.ts";
export type * from "./types.ts";
export { type Problem, validate, withDefaults } from "./validate.ts";

/** Group and version of every kind of the API. */
export const API_VERSION = "quorate.dev/v1alpha1";

export const CLUSTERS: ResourceType<Cluster> = namespaced("Cluster", "clusters");
export const CLUSTER_NODES: ResourceType<ClusterNode> = namespaced("ClusterNode", "clusternodes");
export const GUESTS: ResourceType<Guest> = namespaced("Guest", "guests");
export const HA_RESOURCES: ResourceType<HAResource> = namespaced("HAResource", "haresources");
export const HA_GROUPS: ResourceType<HAGroup> = namespaced("HAGroup", "hagroups");
export const HA_RULES: ResourceType<HARule> = namespaced("HARule", "harules");
export const REPLICATION_JOBS: ResourceType<ReplicationJob> = namespaced("ReplicationJob", "replicationjobs");
export const MIGRATIONS: ResourceType<Migration> = namespaced("Migration", "migrations");

function namespaced(
  kind: string,
  plural: string,
): { apiVersion: string; kind: string; plural: string; namespaced: true } {
  return { apiVersion: API_VERSION, kind, plural, namespaced: true };
}
