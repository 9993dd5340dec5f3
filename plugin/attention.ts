import type { Condition } from "../crds/index.ts";
import type { ClusterView } from "./cluster-view.ts";

/** One thing that somebody should look at. */
export interface Concern {
  /** Kind and name, such as `ClusterNode n3`. */
  readonly object: string;
  readonly condition: Condition;
}

/** True is bad. */
const BAD_WHEN_TRUE = new Set(["Failed", "Error", "QuorumOverridden", "AddressDrift"]);
/** Either value is normal. */
const NEUTRAL = new Set(["Armed", "WatchdogArmed", "Removable"]);

/** The conditions of all objects that are not as they should be. A summary `Ready` counts only where no other says why. */
export function concerns(view: ClusterView): Concern[] {
  const objects = [
    view.cluster,
    ...view.nodes,
    ...view.guests,
    ...view.resources,
    ...view.groups,
    ...view.rules,
    ...view.jobs,
  ];
  return objects.flatMap((object) => {
    const all: readonly Condition[] = object.status?.conditions ?? [];
    const bad = all.filter((one) => isBad(one) && !isNormal(object.kind, one));
    const causes = bad.filter(({ type }) => type !== "Ready");
    const name = `${object.kind} ${object.metadata.name}`;
    return (causes.length > 0 ? causes : bad).map((condition) => ({ object: name, condition }));
  });
}

/** Whether a condition says that something is wrong or not known. */
export function isBad({ type, status }: Condition): boolean {
  if (NEUTRAL.has(type)) return false;
  return BAD_WHEN_TRUE.has(type) ? status !== "False" : status !== "True";
}

/** A guest may be stopped on purpose, which is for its HAResource to say; a job to the guest's own node waits for its turn. */
function isNormal(kind: string, { reason }: Condition): boolean {
  return (kind === "Guest" && reason === "Stopped") || (kind === "ReplicationJob" && reason === "TargetIsSource");
}
