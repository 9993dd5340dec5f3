export { Guests, type GuestsOptions } from "./guests.ts";
export type { UnitLoad } from "./load.ts";
export { imageFile } from "./names.ts";
export { QmpClient, type QmpEvent } from "./qmp.ts";
export type {
  GuestDefinition,
  GuestDriver,
  GuestKey,
  GuestProcess,
  GuestState,
  GuestStatus,
  MachineDefinition,
  NetworkDefinition,
  StopOptions,
} from "./types.ts";
