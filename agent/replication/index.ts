export {
  type ConflictReason,
  leftovers,
  neededBy,
  newestCommon,
  newestCompleteSet,
  type Others,
  planCleanup,
  planVolume,
  type Retention,
  type VolumePlan,
} from "./planner.ts";
export type { Progress } from "./progress.ts";
export {
  type QuiesceLevel,
  type ReplicationParts,
  type ReplicationRequest,
  type ReplicationResult,
  type ReplicationSuccess,
  replicate,
} from "./run.ts";
