import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { type ProcessIdentity, processLives } from "../tools/index.ts";
import type { LabCgroups } from "./cgroups.ts";
import { startCommand } from "./container.ts";
import { insidePath, startDaemon } from "./namespace.ts";
import type { CommandPrefix } from "./run.ts";
import type { HostLayout, LabLayout } from "./state.ts";
import { waitFor } from "./wait.ts";

/** What follows when the watchdog of a host has reset it. */
export interface OnReset {
  /** Whether the host comes up again by itself [true]; otherwise it stays off until someone powers it on. */
  reboot: boolean;
  /** … so long after [3]. */
  delaySeconds: number;
}

export interface WatchdogState {
  open: boolean;
  armed: boolean;
  timeoutSeconds: number;
  timeLeftSeconds: number;
  pets: number;
  expirations: number;
}

/** One line of a watchdog's log. */
export interface WatchdogEvent {
  /** RFC 3339 with microseconds, this machine's clock. */
  time: string;
  event: "opened" | "closed" | "timeout-set" | "disabled" | "expired" | "killed" | "started" | string;
  [field: string]: unknown;
}

/** Starts the emulated watchdog device of a host, a file system with the one file that is bound into the host. */
export async function startWatchdog(
  lab: string,
  files: LabLayout,
  cgroups: LabCgroups,
  inside: CommandPrefix,
  program: string,
  host: string,
): Promise<void> {
  const own = files.host(host);
  mkdirSync(own.watchdog, { recursive: true });
  const freezer = cgroups.freezer(host);
  const log = files.log(`watchdog-${host}`);
  const watchdog = startDaemon(
    [
      ...[...inside, program, "-mount", own.watchdog, "-log", own.watchdogLog, "-policy", own.onReset],
      ...["-cgroup", cgroups.unified(host), ...(freezer ? ["-freezer", freezer] : [])],
      ...["--", ...startCommand(lab, files, host)],
    ],
    log,
  );
  // It says so itself: requests that arrive while a FUSE server still starts may fail.
  const ready = () => {
    if (readFileSync(log, "utf8").includes("ready\n")) return true;
    if (processLives(watchdog)) return false;
    throw new QuorateError("environment", "NotStarted", `the watchdog of ${host} ended; see ${log}`);
  };
  await waitFor(ready, 10_000, `the watchdog of ${host}`, { ignoreErrors: false, intervalMs: 10 });
}

export function setOnReset(own: HostLayout, policy: OnReset): void {
  writeFileSync(own.onReset, `${JSON.stringify(policy)}\n`);
}

export function watchdogState(own: HostLayout, holder: ProcessIdentity): WatchdogState {
  return JSON.parse(readFileSync(insidePath(holder, join(own.watchdog, "state")), "utf8")) as WatchdogState;
}

/** Tells the device that the power switch is used: it disarms and gives up a start it had planned. */
export function watchdogLosesPower(own: HostLayout, holder: ProcessIdentity): void {
  writeFileSync(insidePath(holder, join(own.watchdog, "power")), "off");
}

/** All that happened to a host's watchdog since the lab is up, oldest first. */
export function watchdogEvents(own: HostLayout): WatchdogEvent[] {
  return (readOrUndefined(own.watchdogLog) ?? "")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as WatchdogEvent);
}

function readOrUndefined(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
