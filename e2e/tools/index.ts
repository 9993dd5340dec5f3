export { cachedPath, ensureBinaries, findBinary, type Progress, whyNotAvailable } from "./binaries.ts";
export { cacheFolder } from "./cache.ts";
export { CNI_PLUGINS, isToolName, TOOL_NAMES, type ToolName } from "./catalogue.ts";
export { withLock } from "./lock.ts";
export { currentBootId, identifyProcess, type ProcessIdentity, processLives } from "./process-identity.ts";
