/** Runs commands and writes files on the host the agent serves. */
export { type FakeAnswer, FakeHost } from "./fake-host.ts";
export {
  CommandError,
  type Host,
  type RunOptions,
  type RunResult,
  type SpawnOptions,
  type WriteOptions,
} from "./host.ts";
export { localHost } from "./local-host.ts";
export { podHost } from "./pod-host.ts";
export {
  installDropIn,
  installUnit,
  isUnitActive,
  removeDropIn,
  removeUnit,
  restartUnit,
  startUnit,
  stopUnit,
  type UnitState,
  unitState,
} from "./systemd.ts";
