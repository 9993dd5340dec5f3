export { DEFAULT_LRM_PARAMETERS, initialLrmState, lrmStep, requestShutdown } from "./lrm-step.ts";
export { choosePlan } from "./shutdown.ts";
export type * from "./types.ts";
