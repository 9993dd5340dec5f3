/** The watchdog's keeper as the agent sees it. The keeper itself starts from main.ts and shares nothing with the agent. */
export { KeeperClient } from "./client.ts";
export { type KeeperConfig, questionLimitMs } from "./config.ts";
export {
  disarmKeeper,
  type InstallKeeperOptions,
  installKeeper,
  KEEPER_PROGRAM,
  type KeeperRelease,
  removeKeeper,
} from "./install.ts";
export { type DoubtLimits, type History, judge } from "./proof.ts";
export type { Hello, KeeperStatus } from "./protocol.ts";
export { CONFIG_PATH, SOCKET_PATH, UNIT_NAME } from "./unit.ts";
export { ensureWatchdogDevice } from "./watchdog-module.ts";
