/** Ids of guests and jobs, and the schedule of replication. The only way in. */
export { type ReplicationOptions, type RunningReplication, startReplication } from "./controller.ts";
