/** When a deleted job may go. Pure. */
import type { ClusterNode, ReplicationJob } from "../../crds/index.ts";

export const FINALIZER = "quorate.dev/replication";

/**
 * The condition with which the source's agent answers a deletion: False while it removes the copies on the target, True
 * when they are gone.
 */
export const COPIES_REMOVED = "CopiesRemoved";

/** An agent that has not begun to remove the copies after this long is not waited for. */
export const REMOVAL_PATIENCE_MS = 30_000;

export type Release =
  | { readonly release: false; readonly lookAgainMs: number }
  /** `left`: copies stay on the target, and why. */
  | { readonly release: true; readonly left?: string };

/** @param wallMs for the age of the deletion; it decides about copies that are no longer wanted, never about a guest. */
export function decideRelease(
  { metadata, spec, status }: ReplicationJob,
  nodes: readonly ClusterNode[],
  wallMs: number,
): Release {
  if (spec.removalPolicy === "Keep" || status?.lastTry === undefined) return { release: true };
  const answer = status.conditions?.find(({ type }) => type === COPIES_REMOVED);
  if (answer?.status === "True") return { release: true };
  const target = status.target ?? spec.target;
  const exists = (name: string | undefined) => nodes.some((node) => node.metadata.name === name);
  if (!exists(target)) return { release: true, left: `${target} is no node of the cluster any more` };
  if (!exists(status.source))
    return { release: true, left: `${status.source ?? "the source"} is no node of the cluster any more` };
  if (answer !== undefined) return { release: false, lookAgainMs: REMOVAL_PATIENCE_MS };
  const leftMs = Date.parse(metadata.deletionTimestamp ?? "") + REMOVAL_PATIENCE_MS - wallMs;
  if (leftMs > 0) return { release: false, lookAgainMs: leftMs };
  return { release: true, left: `the agent of ${status.source} did not remove them` };
}
