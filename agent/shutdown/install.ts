import {
  type Host,
  installDropIn,
  installUnit,
  isUnitActive,
  removeDropIn,
  removeUnit,
  restartUnit,
  startUnit,
  stopUnit,
  unitState,
} from "../host/index.ts";
import { isUp } from "./kind.ts";
import { REQUEST_PATH } from "./request.ts";
import { MACHINE_DROP_IN, MACHINE_UNITS, SHUTDOWN_UNIT, shutdownUnit } from "./unit.ts";

const DROP_IN = "shutdown";

/**
 * Brings the unit to the host and starts it, which does nothing but wait for the end. From then on a shutdown waits for the agent.
 * @param program the folder of the program on the host: /opt/quorate/current
 */
export async function installShutdownUnit(host: Host, program: string): Promise<void> {
  const command = [`${program}/bin/node`, `${program}/lib/quorate.mjs`, "host-shutdown"];
  await installUnit(host, SHUTDOWN_UNIT, shutdownUnit(command));
  await installDropIn(host, MACHINE_UNITS, DROP_IN, MACHINE_DROP_IN);
  if (!(await isUnitActive(host, SHUTDOWN_UNIT))) await startUnit(host, SHUTDOWN_UNIT, { enable: true });
}

/** The unit was stopped, and yet the host is wholly up: what it was stopped for did not come. */
export async function hasShutdownEnded(host: Host): Promise<boolean> {
  const state = await unitState(host, SHUTDOWN_UNIT);
  return (state === "inactive" || state === "failed") && (await isUp(host));
}

/** Takes a shutdown back that did not come: the start of the unit forgets its request. */
export async function restartShutdownUnit(host: Host): Promise<void> {
  await restartUnit(host, SHUTDOWN_UNIT);
}

/** Nothing happens to guests: systemd does not go down. */
export async function removeShutdownUnit(host: Host): Promise<void> {
  if ((await unitState(host, SHUTDOWN_UNIT)) === "unknown") return;
  await stopUnit(host, SHUTDOWN_UNIT, { disable: true });
  await removeUnit(host, SHUTDOWN_UNIT);
  await removeDropIn(host, MACHINE_UNITS, DROP_IN);
  await host.removeFile(REQUEST_PATH);
}
