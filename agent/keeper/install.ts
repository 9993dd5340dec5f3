import { cp, mkdir, readdir, rename, rm, stat, symlink } from "node:fs/promises";
import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import {
  type Host,
  installUnit,
  isUnitActive,
  removeUnit,
  restartUnit,
  startUnit,
  stopUnit,
  unitState,
} from "../host/index.ts";
import { KeeperClient } from "./client.ts";
import { type KeeperConfig, parseConfig } from "./config.ts";
import type { KeeperStatus } from "./protocol.ts";
import { stateFile } from "./state-file.ts";
import { CONFIG_PATH, keeperUnit, SOCKET_PATH, STATE_PATH, UNIT_NAME } from "./unit.ts";

/** The program as the agent's image holds it. */
export interface KeeperRelease {
  /** Folder in this process's files that is copied to the host whole. */
  folder: string;
  /** Names the content: the same version is not copied again. */
  version: string;
  /** Inside the folder: the Node program and the script whose part `keeper` is the keeper. */
  node: string;
  script: string;
}

export interface InstallKeeperOptions {
  release: KeeperRelease;
  config: Partial<KeeperConfig> &
    Pick<KeeperConfig, "device" | "timeoutSeconds" | "proofMaxAgeMilliseconds" | "corosyncTimeoutMilliseconds">;
  clock?: Clock;
}

const ROOT = "/opt/quorate";
/** Where the release that runs is on the host. */
export const KEEPER_PROGRAM = `${ROOT}/current`;
const VERSIONS = `${ROOT}/versions`;
const UNIT_PATH = `/etc/systemd/system/${UNIT_NAME}`;
const COPY_LIMIT_MS = 120_000;
const CHECK_LIMIT_MS = 30_000;
const START_LIMIT_MS = 30_000;

/**
 * Brings the keeper of the host to this release and configuration, and starts it. Does nothing when it is there already.
 *
 * An armed keeper is replaced by a restart: the watchdog counts on for that time, so it happens only with a fresh proof
 * of quorum and a release that has shown on this host that it loads; one that does not pet within half the watchdog's
 * time-out is taken back.
 *
 * @returns true when something was changed
 * @throws QuorateError KeeperExpiring, KeeperNotPetting (transient, nothing was changed), KeeperNotStarted (taken back)
 */
export async function installKeeper(
  host: Host,
  { release, config, clock = systemClock }: InstallKeeperOptions,
): Promise<boolean> {
  const configText = `${JSON.stringify(config, null, 2)}\n`;
  const checked = checkConfig(configText);
  if (!/^[A-Za-z0-9][A-Za-z0-9._+-]*$/.test(release.version))
    throw new QuorateError("bug", "InvalidRelease", `version ${JSON.stringify(release.version)} is no folder name`);
  if (!checked.device.startsWith("/dev/"))
    throw new QuorateError(
      "user",
      "InvalidWatchdog",
      `spec.watchdog.device ${JSON.stringify(checked.device)} is not below /dev`,
    );
  const folder = `${VERSIONS}/${release.version}`;
  const command = [`${folder}/${release.node}`, `${folder}/${release.script}`, "keeper", "--release", release.version];
  const unitText = keeperUnit(command);

  const before = { config: await text(host, CONFIG_PATH), unit: await text(host, UNIT_PATH) };
  const isInstalled = before.config === configText && before.unit === unitText && (await exists(host.path(folder)));
  if (isInstalled && (await isUnitActive(host, UNIT_NAME))) return false;

  await copyRelease(host, release, folder);
  await host.run(command[0] ?? "", [...command.slice(1), "--self-check"], { timeoutMs: CHECK_LIMIT_MS });
  const running = await runningKeeper(host);
  if (running !== undefined) checkReplaceable(running);
  try {
    await host.writeFileAtomic(CONFIG_PATH, configText, { mode: 0o644 });
    await installUnit(host, UNIT_NAME, unitText);
    await startUnit(host, UNIT_NAME, { enable: true });
    if (running !== undefined) await restartUnit(host, UNIT_NAME);
    await answers(host, release.version, running?.armed === true, checked.timeoutSeconds, clock);
  } catch (error) {
    throw await takenBack(host, before, release.version, error);
  }
  await pointCurrent(host, release.version);
  await removeOtherVersions(host, [release.version, versionOf(before.unit)]);
  return true;
}

/**
 * Has the host's keeper close the watchdog. When this returns it is certain that it is not armed: undefined where none is installed, or
 * one was stopped in order. @throws QuorateError KeeperUnreachable, KeeperArmed, or the keeper's reason: it may be armed
 */
export async function disarmKeeper(host: Host): Promise<KeeperStatus | undefined> {
  const state = await unitState(host, UNIT_NAME);
  const isGone = state === "unknown" && !(await isAnyOnDisk(host, [UNIT_PATH, SOCKET_PATH]));
  if (!isGone && state !== "inactive") return client(host).disarm();
  if (await isLeftArmed(host)) {
    throw new QuorateError(
      "environment",
      "KeeperArmed",
      `${UNIT_NAME} was stopped while the watchdog was armed, and nobody else can close it: systemctl start ${UNIT_NAME}`,
    );
  }
  return undefined;
}

async function isAnyOnDisk(host: Host, paths: readonly string[]): Promise<boolean> {
  const found = await Promise.all(paths.map((path) => exists(host.path(path))));
  return found.includes(true);
}

/**
 * Takes the keeper off the host. Only when it is disarmed. @throws QuorateError KeeperArmed, KeeperUnreachable: a keeper of
 * which that is not known stays.
 */
export async function removeKeeper(host: Host): Promise<void> {
  const state = await unitState(host, UNIT_NAME);
  if (state === "unknown") return;
  const armed = state === "inactive" ? await isLeftArmed(host) : (await client(host).status()).armed;
  if (armed) {
    throw new QuorateError(
      "transient",
      "KeeperArmed",
      "the keeper stays while the watchdog is armed: its end would reset the host; disarm it first",
    );
  }
  await stopUnit(host, UNIT_NAME, { disable: true });
  await removeUnit(host, UNIT_NAME);
  for (const path of [CONFIG_PATH, STATE_PATH, SOCKET_PATH, `${SOCKET_PATH}.proof`]) await host.removeFile(path);
  await rm(host.path(ROOT), { recursive: true, force: true });
}

/** By a keeper of this boot that was stopped. */
async function isLeftArmed(host: Host): Promise<boolean> {
  const state = stateFile(host.path(STATE_PATH)).load();
  return state?.armed === true && state.bootId === (await host.bootId());
}

function checkConfig(configText: string): KeeperConfig {
  try {
    return parseConfig(configText);
  } catch (error) {
    throw new QuorateError("user", "InvalidWatchdog", classify(error).message, { cause: error });
  }
}

/** The folder appears under its name when it is whole and on the disk. */
async function copyRelease(host: Host, release: KeeperRelease, folder: string): Promise<void> {
  if (await exists(host.path(folder))) return;
  const partial = `${VERSIONS}/.${release.version}.partial`;
  await mkdir(host.path(VERSIONS), { recursive: true, mode: 0o755 });
  await rm(host.path(partial), { recursive: true, force: true });
  await cp(release.folder, host.path(partial), { recursive: true, verbatimSymlinks: true });
  await host.run("sync", ["--file-system", partial], { timeoutMs: COPY_LIMIT_MS });
  await rename(host.path(partial), host.path(folder));
}

async function runningKeeper(host: Host): Promise<KeeperStatus | undefined> {
  if (!(await isUnitActive(host, UNIT_NAME).catch(() => false))) return undefined;
  return client(host).status();
}

function checkReplaceable(running: KeeperStatus): void {
  if (running.expiring)
    throw new QuorateError(
      "transient",
      "KeeperExpiring",
      "the keeper lets the watchdog reset this host; it is replaced after that",
    );
  if (running.armed && !running.quorate) {
    throw new QuorateError(
      "transient",
      "KeeperNotPetting",
      `the armed keeper has no fresh proof of quorum and is not replaced now: ${running.error ?? "see its log"}`,
    );
  }
}

/** Waits for the new keeper, and where the watchdog is armed, for a pet of its own. */
async function answers(
  host: Host,
  version: string,
  isArmed: boolean,
  timeoutSeconds: number,
  clock: Clock,
): Promise<void> {
  const limitMs = isArmed ? timeoutSeconds * 500 : START_LIMIT_MS;
  const until = clock.elapsedMs() + limitMs;
  let last = "";
  while (clock.elapsedMs() < until) {
    try {
      const { release } = await client(host).hello();
      const status = await client(host).status();
      if (release === version && (!isArmed || (status.armed && status.petAgeMs !== undefined))) return;
      last = `release ${release}, ${status.armed ? "armed" : "not armed"}${status.error === undefined ? "" : `, ${status.error}`}`;
    } catch (error) {
      last = classify(error).message;
    }
    await clock.sleep(100);
  }
  throw new QuorateError("environment", "KeeperNotStarted", `not seen at work within ${limitMs} ms: ${last}`);
}

async function takenBack(
  host: Host,
  before: { config: string | undefined; unit: string | undefined },
  version: string,
  cause: unknown,
): Promise<QuorateError> {
  const failed = (now: string) =>
    new QuorateError("environment", "KeeperNotStarted", `keeper ${version}: ${classify(cause).message}. ${now}`, {
      cause,
    });
  if (before.config === undefined || before.unit === undefined)
    return failed(`There was none before it; see journalctl -u ${UNIT_NAME}`);
  try {
    await host.writeFileAtomic(CONFIG_PATH, before.config, { mode: 0o644 });
    await installUnit(host, UNIT_NAME, before.unit);
    await restartUnit(host, UNIT_NAME);
    return failed("The one before it was started again");
  } catch (error) {
    return failed(
      `The one before it could not be started again: ${classify(error).message}; see journalctl -u ${UNIT_NAME}`,
    );
  }
}

/** /opt/quorate/current, for people and other units; relative, so that it is true from inside and outside of the host. */
async function pointCurrent(host: Host, version: string): Promise<void> {
  const temporary = `${host.path(ROOT)}/.current`;
  await rm(temporary, { force: true });
  await symlink(`versions/${version}`, temporary);
  await rename(temporary, `${host.path(ROOT)}/current`);
}

async function removeOtherVersions(host: Host, keep: (string | undefined)[]): Promise<void> {
  for (const name of await readdir(host.path(VERSIONS))) {
    if (!keep.includes(name)) await rm(`${host.path(VERSIONS)}/${name}`, { recursive: true, force: true });
  }
}

function versionOf(unit: string | undefined): string | undefined {
  return /"--release" "([^"]+)"/.exec(unit ?? "")?.[1];
}

function client(host: Host): KeeperClient {
  return new KeeperClient(host.path(SOCKET_PATH), { timeoutMs: 2000 });
}

async function text(host: Host, path: string): Promise<string | undefined> {
  return (await host.readFile(path))?.toString();
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
