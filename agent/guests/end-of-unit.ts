import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { type ShownUnit, showUnit } from "./unit-show.ts";

const POLL_MS = 200;
const SYSTEMCTL_TIMEOUT_MS = 20_000;
/** After the request to end, until what did not is killed. */
const TERMINATE_GRACE_MS = 5_000;
/** After the kill: what is still there then waits in the kernel for a device that does not answer. */
const KILL_GRACE_MS = 30_000;

/** A unit that is to end, and how to tell that nothing of it is left. */
export interface Ending {
  readonly unit: string;
  /** The guest, for messages. */
  readonly what: string;
  /** The main process as it was found; numbers of processes are given out again, their start times are not. */
  readonly process?: ProcessId;
  /** Whether anything else shows that the guest still runs although systemd says its unit ended. */
  readonly leftover: () => Promise<boolean>;
}

export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

/** The process with this number now, or nothing. @throws when that can't be found out */
export async function processOf(host: Host, pid: number | undefined): Promise<ProcessId | undefined> {
  if (pid === undefined) return undefined;
  let stat: string | undefined;
  try {
    stat = (await host.readFile(`/proc/${pid}/stat`))?.toString();
  } catch (error) {
    // Ended while it was read.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  // The name in parentheses may hold anything; start time is the 20th field after it.
  const startTime = stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  return startTime === undefined ? undefined : { pid, startTime };
}

/** Whether the unit is inactive and no process of it left. */
export async function hasEnded(host: Host, ending: Ending): Promise<boolean> {
  const unit = await showUnit(host, ending.unit);
  if (unit.activeState !== "inactive" && unit.activeState !== "failed") return false;
  if (ending.process !== undefined) {
    const now = await processOf(host, ending.process.pid);
    if (now?.startTime === ending.process.startTime) return false;
  }
  return !(await ending.leftover());
}

/** Waits until it has ended; false when it did not within `ms`. */
export async function untilEnded(
  host: Host,
  clock: Clock,
  ending: Ending,
  ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = clock.elapsedMs() + ms;
  while (!(await hasEnded(host, ending))) {
    if (clock.elapsedMs() >= deadline) return false;
    await pauseBetween(clock, POLL_MS, ending.what, signal);
  }
  return true;
}

/** Ends the unit without asking the guest: by systemd's stop, then by SIGKILL. @throws QuorateError StopFailed, StopAborted */
export async function endUnit(host: Host, clock: Clock, ending: Ending, graceMs: number, signal: AbortSignal): Promise<void> {
  // A unit that is gone already makes these fail; what counts is what is seen afterwards.
  const done = { timeoutMs: SYSTEMCTL_TIMEOUT_MS, exitCodes: [0, 1, 4, 5], signal };
  await host.run("systemctl", ["--no-ask-password", "stop", "--no-block", "--", ending.unit], done);
  if (graceMs > 0 && (await untilEnded(host, clock, ending, Math.min(graceMs, TERMINATE_GRACE_MS), signal))) return;
  await host.run("systemctl", ["--no-ask-password", "kill", "--signal=KILL", "--", ending.unit], done);
  if (await untilEnded(host, clock, ending, KILL_GRACE_MS, signal)) return;
  const process = ending.process === undefined ? "" : ` (process ${ending.process.pid})`;
  throw new QuorateError(
    "environment",
    "StopFailed",
    `${ending.what}: ${ending.unit}${process} does not end although it was killed; its storage may not answer: see the host's kernel log`,
  );
}

/** Takes the memory of a failure from the unit, so that it can be started again under the same name. */
export async function forgetFailure(host: Host, unit: ShownUnit): Promise<void> {
  if (unit.activeState !== "failed") return;
  await host.run("systemctl", ["--no-ask-password", "reset-failed", "--", unit.id], {
    timeoutMs: SYSTEMCTL_TIMEOUT_MS,
    // Gone meanwhile.
    exitCodes: [0, 1, 5],
  });
}

/** Sleeps; an abort becomes an error of ours (`Aborted`, transient). */
export async function pauseBetween(clock: Clock, ms: number, what: string, signal: AbortSignal): Promise<void> {
  try {
    signal.throwIfAborted();
    await clock.sleep(ms, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new QuorateError("transient", "Aborted", `${what}: no longer waited for; ask for its state`, { cause: error });
  }
}
