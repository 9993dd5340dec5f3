/** Replication jobs of which this node is the source. */
export { JobRunner, type JobRunnerOptions } from "./job-runner.ts";
export { targetOf } from "./job-status.ts";
