import { execa, type Options } from "execa";
import { QuorateError } from "../../errors.ts";

export interface RunOptions {
  /** Standard input [none]. */
  input?: string;
  /** Killed after this long [30 s]. */
  timeoutMs?: number;
  /** Exit codes that are answers rather than failures [0]. */
  exitCodes?: readonly number[];
  /** More environment. */
  env?: Record<string, string>;
  cwd?: string;
  /** What errors call the command [the command]. */
  shownAs?: string;
  /** Path of a file that is read as standard input. */
  inputFile?: string;
  /** Path of a file that gets the standard output; the result's `stdout` is empty then. */
  outputFile?: string;
  /** Called with each line the command prints, on standard output or error. */
  onLine?: (line: string) => void;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  exitCode: number;
}

/** Put before a command to run it somewhere else, such as in the namespaces of a lab. */
export type CommandPrefix = readonly string[];

/**
 * Runs a command to its end.
 *
 * @throws QuorateError `environment`: ToolMissing, CommandTimedOut, or CommandFailed with the last lines it printed.
 */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [program = "", ...args] = command;
  const timeout = options.timeoutMs ?? 30_000;
  const child = execa(program, args, settings(options, timeout));
  if (options.onLine) void tellLines(child.iterable({ from: "all" }), options.onLine);
  const result = await child;
  const shown = (options.shownAs ?? command.join(" ")).slice(0, 300);
  if (result.code === "ENOENT") {
    throw new QuorateError("environment", "ToolMissing", `${program} is not installed or not in PATH`);
  }
  if (result.timedOut)
    throw new QuorateError("environment", "CommandTimedOut", `${shown}: no end within ${timeout} ms`);
  const exitCode = result.exitCode ?? 128;
  if (!(options.exitCodes ?? [0]).includes(exitCode)) {
    const how = result.signal === undefined ? `exit code ${exitCode}` : `ended by ${result.signal}`;
    const said = lastLines(text(result.all) || result.shortMessage || "", 8);
    throw new QuorateError("environment", "CommandFailed", `${shown}: ${how}: ${said}`);
  }
  return { stdout: text(result.stdout), stderr: text(result.stderr), exitCode };
}

function settings(options: RunOptions, timeout: number): Options {
  return {
    reject: false,
    timeout,
    killSignal: "SIGKILL",
    stripFinalNewline: false,
    maxBuffer: 64 << 20,
    all: options.outputFile === undefined,
    stdout: options.outputFile === undefined ? "pipe" : { file: options.outputFile },
    ...inputSettings(options),
    ...(options.env && { env: options.env }),
    ...(options.cwd && { cwd: options.cwd }),
  };
}

function inputSettings({ input, inputFile }: RunOptions): Options {
  if (input !== undefined) return { input };
  return inputFile === undefined ? { stdin: "ignore" } : { inputFile };
}

function text(output: unknown): string {
  return typeof output === "string" ? output : "";
}

/** The last lines of a text, in one string. */
export function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

async function tellLines(lines: AsyncIterable<unknown>, onLine: (line: string) => void): Promise<void> {
  try {
    for await (const line of lines) onLine(String(line));
  } catch {
    // The command failed: whoever awaits it is told.
  }
}
