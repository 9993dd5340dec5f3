/** The way a host goes down: a unit of it holds everything up until its guests are taken care of. */
export { hasShutdownEnded, installShutdownUnit, removeShutdownUnit, restartShutdownUnit } from "./install.ts";
export { type HostShutdownKind, isPreparingForShutdown, isStopping } from "./kind.ts";
export { answerShutdown, readShutdownRequest, type ShutdownRequest } from "./request.ts";
export { SHUTDOWN_UNIT } from "./unit.ts";
