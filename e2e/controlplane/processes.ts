import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { systemClock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { identifyProcess, type ProcessIdentity, processLives } from "../tools/index.ts";

const END_TIMEOUT_MS = 15_000;

/**
 * Starts a server that appends to its log. Detached servers outlive this process and get no Ctrl-C of its terminal;
 * none keeps this process from ending.
 */
export function startServer(
  name: string,
  command: readonly string[],
  log: string,
  options: { detached: boolean },
): ProcessIdentity {
  const [program = "", ...args] = command;
  const output = openSync(log, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: ["ignore", output, output], detached: options.detached });
  } finally {
    closeSync(output);
  }
  child.on("error", () => {}); // shows as a missing pid below
  child.unref();
  const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
  if (identity === undefined)
    throw new QuorateError(
      "environment",
      "ServerNotStarted",
      `${name}: ${program} does not run; its last lines:\n${lastLines(log)}`,
    );
  return identity;
}

export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (processLives(identity)) process.kill(identity.pid, signal);
}

/** Ends processes, at once by `SIGKILL` or, with `SIGTERM`, giving them ten seconds; returns when they are gone. */
export async function endProcesses(
  identities: readonly ProcessIdentity[],
  signal: "SIGTERM" | "SIGKILL",
): Promise<void> {
  for (const identity of identities) {
    signalProcess(identity, signal);
    signalProcess(identity, "SIGCONT"); // a paused process would never see a SIGTERM
  }
  const started = systemClock.elapsedMs();
  let killed = signal === "SIGKILL";
  while (identities.some(processLives)) {
    const waitedMs = systemClock.elapsedMs() - started;
    if (!killed && waitedMs > END_TIMEOUT_MS - 5_000) {
      killed = true;
      for (const identity of identities) signalProcess(identity, "SIGKILL");
    }
    if (waitedMs > END_TIMEOUT_MS) {
      const pids = identities.filter(processLives).map((identity) => identity.pid);
      throw new QuorateError(
        "environment",
        "ServerNotEnding",
        `process ${pids.join(", ")} does not end; kill it by hand`,
      );
    }
    await systemClock.sleep(10);
  }
}

/** The end of a log, for an error message. */
export function lastLines(log: string, count = 12): string {
  try {
    return readFileSync(log, "utf8").trimEnd().split("\n").slice(-count).join("\n");
  } catch {
    return "(no log)";
  }
}
