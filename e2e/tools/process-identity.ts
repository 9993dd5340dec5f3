import { readFileSync } from "node:fs";

/**
 * A process that can be recognised later: pids are reused, a pid together with its start time and the boot is not.
 * Written into files, so that another process can tell whether the owner of a lock or a server still lives.
 */
export interface ProcessIdentity {
  pid: number;
  /** Clock ticks from boot to the start of the process (field 22 of /proc/PID/stat). */
  startTicks: string;
  bootId: string;
}

export function currentBootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** The identity of a running process, or undefined when there is none (a zombie without threads has ended: it only waits for its parent). */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  // The second field is the name in brackets and may hold anything, so count from its end; the third is the state.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const startTicks = fields[18];
  // A killed process whose other threads are still ending holds its ports and files yet: it has not ended.
  const threads = Number(fields[16]);
  if ((state === "Z" && threads <= 1) || state === "X" || startTicks === undefined) return undefined;
  return { pid, startTicks, bootId: currentBootId() };
}

/** Whether exactly this process still runs. */
export function processLives(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}
