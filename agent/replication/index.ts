export {
  type ConflictReason,
  leftovers,
  type NodeFilter,
  newestCommon,
  newestCompleteSet,
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
