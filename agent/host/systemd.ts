import { QuorateError } from "../../errors.ts";
import type { Host } from "./host.ts";

const UNITS = "/etc/systemd/system";
const JOB_TIMEOUT_MS = 60_000;

/** As systemd says it in ActiveState. */
export type UnitState =
  | "active"
  | "reloading"
  | "inactive"
  | "failed"
  | "activating"
  | "deactivating"
  | "maintenance"
  | "unknown";

/** Writes a unit file of the host and lets systemd read it. Returns false when it was there already with this content. */
export async function installUnit(host: Host, name: string, content: string): Promise<boolean> {
  return installUnitFile(host, `${UNITS}/${unitName(name)}`, content);
}

/** Adds settings to a unit of the distribution without touching its file: `<unit>.d/<dropIn>.conf`. */
export async function installDropIn(host: Host, unit: string, dropIn: string, content: string): Promise<boolean> {
  return installUnitFile(host, dropInPath(unit, dropIn), content);
}

export async function removeUnit(host: Host, name: string): Promise<void> {
  await host.removeFile(`${UNITS}/${unitName(name)}`);
  await systemctl(host, ["daemon-reload"]);
}

export async function removeDropIn(host: Host, unit: string, dropIn: string): Promise<void> {
  await host.removeFile(dropInPath(unit, dropIn));
  await systemctl(host, ["daemon-reload"]);
}

/** Starts a unit and waits until it runs; with `enable` it starts at every boot too. An active unit is left alone. */
export async function startUnit(host: Host, name: string, options: { enable?: boolean } = {}): Promise<void> {
  if (options.enable === true) await systemctl(host, ["enable", unitName(name)]);
  await systemctl(host, ["start", unitName(name)]);
}

/** Stops a unit and waits until it ended; with `disable` it does not start at the next boot either. */
export async function stopUnit(host: Host, name: string, options: { disable?: boolean } = {}): Promise<void> {
  if (options.disable === true) await systemctl(host, ["disable", unitName(name)]);
  await systemctl(host, ["stop", unitName(name)]);
}

export async function restartUnit(host: Host, name: string): Promise<void> {
  await systemctl(host, ["restart", unitName(name)]);
}

/** `unknown` is a unit that systemd has no file of. */
export async function unitState(host: Host, name: string): Promise<UnitState> {
  const { stdout } = await systemctl(host, ["show", "--property=ActiveState,LoadState", unitName(name)]);
  if (/^LoadState=not-found$/m.test(stdout)) return "unknown";
  const state = /^ActiveState=(\S+)$/m.exec(stdout)?.[1];
  const known: readonly UnitState[] = [
    "active",
    "reloading",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "maintenance",
  ];
  return known.find((name) => name === state) ?? "unknown";
}

export async function isUnitActive(host: Host, name: string): Promise<boolean> {
  return (await unitState(host, name)) === "active";
}

async function installUnitFile(host: Host, path: string, content: string): Promise<boolean> {
  if ((await host.readFile(path))?.toString() === content) return false;
  await host.writeFileAtomic(path, content, { mode: 0o644 });
  await systemctl(host, ["daemon-reload"]);
  return true;
}

function dropInPath(unit: string, dropIn: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(dropIn))
    throw new QuorateError("bug", "InvalidUnitName", `drop-in name ${JSON.stringify(dropIn)}`);
  return `${UNITS}/${unitName(unit)}.d/${dropIn}.conf`;
}

/** The name becomes a file name and an argument of a command that runs as root. */
function unitName(name: string): string {
  if (
    name.length <= 255 &&
    /^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*\.(service|timer|target|socket|mount|scope|slice)$/.test(name)
  )
    return name;
  throw new QuorateError(
    "user",
    "InvalidUnitName",
    `${JSON.stringify(name)} is no name of a systemd unit; expected e.g. web1.service`,
  );
}

async function systemctl(host: Host, args: string[]) {
  return host.run("systemctl", ["--no-ask-password", ...args], { timeoutMs: JOB_TIMEOUT_MS });
}
