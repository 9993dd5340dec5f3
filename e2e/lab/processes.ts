import { QuorateError } from "../../errors.ts";
import { type Container, runInHost } from "./container.ts";

export type Signal = "STOP" | "CONT" | "KILL" | "TERM";

/**
 * Sends a signal to processes of a host: to all of a systemd unit when there is one of that name (with or without
 * ".service"), else to those whose program has exactly that name, or, written "/…/", whose command line matches.
 * Returns how they were found, for a message.
 *
 * @throws QuorateError `user` NoSuchProcess when there is none.
 */
export async function signalProcesses(container: Container, what: string, signal: Signal): Promise<string> {
  const pattern = /^\/(.+)\/$/.exec(what)?.[1];
  if (pattern !== undefined) return signalByName(container, ["--full", "--", pattern], what, signal);
  const unit = what.includes(".") ? what : `${what}.service`;
  if (await isRunningUnit(container, unit)) {
    await runInHost(container, ["systemctl", "kill", `--signal=SIG${signal}`, "--", unit]);
    return `unit ${unit}`;
  }
  return signalByName(container, ["--exact", "--", what], what, signal);
}

async function isRunningUnit(container: Container, unit: string): Promise<boolean> {
  const show = ["systemctl", "show", "--property=ActiveState", "--value", "--", unit];
  const { stdout } = await runInHost(container, show, { exitCodes: [0, 1] });
  return ["active", "activating", "deactivating", "reloading"].includes(stdout.trim());
}

async function signalByName(
  container: Container,
  match: readonly string[],
  what: string,
  signal: Signal,
): Promise<string> {
  const { exitCode } = await runInHost(container, ["pkill", `-${signal}`, ...match], { exitCodes: [0, 1] });
  if (exitCode === 0) return `processes ${what}`;
  throw new QuorateError("user", "NoSuchProcess", `${container.host} runs no unit and no process "${what}"`);
}
