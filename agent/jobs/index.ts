/** Replication jobs of which this node is the source. */
export { JobRunner, type JobRunnerOptions, targetOf } from "./job-runner.ts";
