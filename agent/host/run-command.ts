import { type ChildProcess, spawn } from "node:child_process";
import { execa } from "execa";
import { CommandError, type RunOptions, type RunResult, type SpawnOptions } from "./host.ts";

/** How a command is reached: the words before it, e.g. `nsenter …`. Empty on the host itself. */
export type Prefix = readonly string[];

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TERMINATE_GRACE_MS = 2000;
const KILL_GRACE_MS = 1000;

/** See Host.run. */
export async function runCommand(
  prefix: Prefix,
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const title = describe(command, args);
  const silent = { stdout: "", stderr: "" };
  if (options.signal?.aborted === true)
    throw new CommandError("transient", "CommandAborted", `${title}: not started, aborted before`, silent);
  const [file, ...rest] = [...prefix, command, ...args];
  const child = execa(file ?? command, rest, {
    cwd: "/",
    env: environment(options.env),
    extendEnv: false,
    // A group of its own, so that the end reaches what the command itself started.
    detached: true,
    reject: false,
    stripFinalNewline: false,
    maxBuffer: options.maxOutput ?? 8 * 1024 * 1024,
    ...(options.input === undefined ? { stdin: "ignore" as const } : { input: options.input }),
  });
  const end = endAfter(child.pid, options);
  const result = await Promise.race([child, end.overdue]);
  end.clear();
  const output = result === undefined ? silent : { stdout: result.stdout, stderr: result.stderr };
  const said = lastLines(output.stderr) || lastLines(output.stdout);
  if (end.cause() === "abort") throw new CommandError("transient", "CommandAborted", `${title}: aborted`, output);
  if (end.cause() === "timeout" || result === undefined) {
    throw new CommandError(
      "transient",
      "CommandTimeout",
      `${title}: no answer within ${options.timeoutMs} ms, ended${said && `; it said: ${said}`}`,
      output,
    );
  }
  if (result.isMaxBuffer) {
    endGroup(child.pid, "SIGKILL");
    throw new CommandError(
      "environment",
      "CommandOutputTooLarge",
      `${title}: more output than ${options.maxOutput ?? "8 Mi"} characters, ended`,
      output,
    );
  }
  // 127 is what env and nsenter answer when they cannot find the command.
  if (result.code === "ENOENT" || (prefix.length > 0 && result.exitCode === 127)) {
    throw new CommandError(
      "environment",
      "CommandNotFound",
      `${command}: no such command on this host; install it${said && ` (${said})`}`,
      output,
    );
  }
  if (result.exitCode === undefined || !(options.exitCodes ?? [0]).includes(result.exitCode)) {
    const how =
      result.exitCode !== undefined
        ? `exit code ${result.exitCode}`
        : (result.signal ?? result.shortMessage ?? "not started");
    throw new CommandError("environment", "CommandFailed", `${title}: ${how}${said && `: ${said}`}`, {
      ...output,
      exitCode: result.exitCode,
    });
  }
  return { ...output, exitCode: result.exitCode };
}

/** See Host.spawn. */
export function spawnCommand(
  prefix: Prefix,
  command: string,
  args: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const [file, ...rest] = [...prefix, command, ...args];
  return spawn(file ?? command, rest, {
    cwd: "/",
    env: environment(options.env),
    stdio: options.stdio,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

/** The agent's own environment stays with it: it holds tokens, and output must not depend on the locale. */
function environment(extra: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return { PATH, LC_ALL: "C", HOME: "/root", ...extra };
}

/** Ends the group at the time-out or abort. `overdue` resolves when not even the kernel's kill was obeyed. */
function endAfter(pid: number | undefined, options: RunOptions) {
  const timers: NodeJS.Timeout[] = [];
  let cause: "timeout" | "abort" | undefined;
  let giveUp: () => void = () => {};
  const overdue = new Promise<undefined>((resolve) => {
    giveUp = () => resolve(undefined);
  });
  const end = (why: "timeout" | "abort") => {
    if (cause !== undefined) return;
    cause = why;
    endGroup(pid, "SIGTERM");
    timers.push(setTimeout(() => endGroup(pid, "SIGKILL"), TERMINATE_GRACE_MS));
    timers.push(setTimeout(giveUp, TERMINATE_GRACE_MS + KILL_GRACE_MS));
  };
  const onAbort = () => end("abort");
  timers.push(setTimeout(() => end("timeout"), options.timeoutMs));
  options.signal?.addEventListener("abort", onAbort, { once: true });
  return {
    overdue,
    cause: () => cause,
    clear: () => {
      for (const timer of timers) clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    },
  };
}

function endGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}

function describe(command: string, args: readonly string[]): string {
  const line = [command, ...args].join(" ");
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}

function lastLines(text: string): string {
  const lines = text.split("\n").map((line) => line.trim());
  return lines
    .filter((line) => line !== "")
    .slice(-5)
    .join(" | ")
    .slice(-1000);
}
