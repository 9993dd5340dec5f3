/** What stands in the way of taking a node out of its cluster. Pure. */
import type { ClusterNode, Guest, ReplicationJob } from "../../crds/index.ts";
import type { KubeObject } from "../../kube/index.ts";

export interface RemovalInput {
  readonly node: ClusterNode;
  readonly guests: readonly Guest[];
  readonly jobs: readonly ReplicationJob[];
  /** Its agent renews its Lease. */
  readonly alive: boolean;
  /** The CRM holds the node's Lease, which it takes only from a node that is proven off. */
  readonly fenced: boolean;
}

export interface RemovalFacts {
  /** What still needs the node. */
  readonly neededBy?: string;
  /** Why it is not certain that its corosync does not run. */
  readonly notOff?: string;
  /** Replication jobs to the node, which go with it. */
  readonly jobsToRemove: readonly ReplicationJob[];
}

export function isLeaving({ metadata, spec }: ClusterNode): boolean {
  return metadata.deletionTimestamp !== undefined || spec.detach !== undefined;
}

export function removalFacts({ node, guests, jobs, alive, fenced }: RemovalInput): RemovalFacts {
  const { name } = node.metadata;
  const bound = guests.filter(({ spec }) => spec.nodeName === name);
  const drains = node.spec.removalPolicy === "Drain";
  const toHere = jobs.filter(({ spec }) => spec.target === name);
  const jobsToRemove =
    drains && bound.length > 0 ? [] : toHere.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  const neededBy = drains ? neededFor(name, bound, toHere) : undefined;
  const notOff = offProblem(node, alive, fenced);
  return { jobsToRemove, ...(neededBy === undefined ? {} : { neededBy }), ...(notOff === undefined ? {} : { notOff }) };
}

function neededFor(node: string, guests: readonly Guest[], jobs: readonly ReplicationJob[]): string | undefined {
  if (guests.length > 0) {
    return `${naming("guest", guests)} on ${node}: move them away (kubectl quorate migrate GUEST NODE), delete them, or set spec.removalPolicy: Force`;
  }
  if (jobs.length > 0) return `${naming("replication job", jobs)} to ${node}: being removed`;
  return undefined;
}

function naming(kind: string, objects: readonly KubeObject[]): string {
  const names = objects.map(({ metadata }) => metadata.name).sort();
  const some = names.slice(0, 5).join(", ");
  return `${kind}${names.length > 1 ? "s" : ""} ${some}${names.length > 5 ? ` and ${names.length - 5} more` : ""}`;
}

function offProblem(
  { metadata: { name }, spec, status }: ClusterNode,
  alive: boolean,
  fenced: boolean,
): string | undefined {
  if (alive)
    return status?.corosync?.running === false
      ? undefined
      : `waiting for the agent of ${name} to say that its corosync is off`;
  if (fenced || wasFencedSince(status?.fence?.lastFence?.at, status?.agent?.lastSeen)) return undefined;
  if (spec.detach?.confirm === name) return undefined;
  return `${name} does not answer and is not proven off: power it off, then confirm with spec.detach: {confirm: ${name}}`;
}

/** A fence that its agent has not outlived. */
function wasFencedSince(fencedAt: string | undefined, lastSeen: string | undefined): boolean {
  return fencedAt !== undefined && Date.parse(fencedAt) > Date.parse(lastSeen ?? "1970-01-01T00:00:00Z");
}
