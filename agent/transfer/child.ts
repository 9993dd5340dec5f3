import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { QuorateError } from "../../errors.ts";

export interface ChildEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last of what it printed on standard error. */
  readonly stderr: string;
}

const STDERR_LIMIT = 4096;
/** A disk that takes or gives nothing for so long is taken for hung. */
export const STALL_MS = 600_000;
const KILL_WITHIN_MS = 5_000;

/** A child that was started with standard error as a pipe, and the promise of its end, which never rejects. */
export function watchChild(child: ChildProcess): { ended: Promise<ChildEnd>; kill: () => Promise<ChildEnd> } {
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_LIMIT);
  });
  // Its end is told by `ended`; a write that comes too late must not become an unhandled error.
  child.stdin?.on("error", () => {});
  child.stdout?.on("error", () => {});
  const ended = new Promise<ChildEnd>((resolve) => {
    child.once("error", (error) => resolve({ code: null, signal: null, stderr: error.message }));
    child.once("close", (code, signal) => resolve({ code, signal, stderr: stderr.trim() }));
  });
  const kill = () => {
    child.kill("SIGKILL");
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
    // Not even the kernel's kill ends a process that waits for a hung disk; nobody waits for it then.
    return Promise.race([ended, unkillable()]);
  };
  return { ended, kill };
}

/** Waits for the work of a child; throws `StorageStalled` when it takes longer than any healthy disk. */
export async function withinStall<T>(what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const stall = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(stalled(what)), STALL_MS);
  });
  try {
    return await Promise.race([work, stall]);
  } finally {
    clearTimeout(timer);
  }
}

/** The error of a child that did nothing for too long. */
export function stalled(what: string): QuorateError {
  const message = `${what} did not go on for ${STALL_MS / 1000} s; is the pool suspended?`;
  return new QuorateError("environment", "StorageStalled", message);
}

async function unkillable(): Promise<ChildEnd> {
  await delay(KILL_WITHIN_MS, undefined, { ref: false });
  return { code: null, signal: "SIGKILL", stderr: `not ended ${KILL_WITHIN_MS} ms after its kill` };
}

/** What a child said at its end, as an error to be classified by who knows the command. */
export function childFailure(what: string, end: ChildEnd): QuorateError {
  const how = end.code === null ? (end.signal ?? "not started") : `exit code ${end.code}`;
  const said = end.stderr.split("\n").slice(-5).join(" | ");
  return new QuorateError("environment", "CommandFailed", `${what}: ${how}${said && `: ${said}`}`);
}
