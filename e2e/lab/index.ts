export type { CutOptions, LabHost } from "./host.ts";
export { findLab, Lab, openLab } from "./lab.ts";
export { ensureHostPackages } from "./packages.ts";
export { type CommandPrefix, type RunOptions, type RunResult, run } from "./run.ts";
export { type AgentMode, listLabs } from "./state.ts";
export { tearDown } from "./tear-down.ts";
export { type LabOptions, labUp } from "./up.ts";
export { type WaitOptions, waitFor } from "./wait.ts";
export type { OnReset, WatchdogEvent, WatchdogState } from "./watchdog.ts";
