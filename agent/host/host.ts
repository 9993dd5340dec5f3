import type { ChildProcess, StdioOptions } from "node:child_process";
import { QuorateError } from "../../errors.ts";

/**
 * The host this agent serves. The agent runs on it (a systemd unit) or in a privileged pod on it; nothing else in the
 * agent knows which. All paths given to a Host are the host's own, absolute.
 */
export interface Host {
  /**
   * Runs a command of the host to its end: no shell, no inherited environment (PATH, LC_ALL=C and HOME only), its own
   * process group. At the time-out, and when the signal aborts, the whole group is terminated, then killed; the promise
   * rejects at most three seconds later even if the kernel cannot end the process.
   * @throws CommandError
   */
  run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult>;
  /**
   * Starts a command of the host for work on streams. Descriptors in `stdio` are handed to it as they are, so bytes need
   * not pass through this process. The caller listens for `error` (the command does not exist) and ends the process.
   */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess;
  /** The path by which this process reaches a file or unix socket of the host. Symbolic links are followed inside the host. */
  path(hostPath: string): string;
  /**
   * Replaces a file of the host so that after a crash it holds the old or the new content, never a mixture or nothing.
   * `backup` keeps the replaced content under that path, just as safely. Missing parent folders are made (0755).
   */
  writeFileAtomic(hostPath: string, data: string | Uint8Array, options: WriteOptions): Promise<void>;
  /** The content, or undefined when there is no such file. @throws QuorateError FileTooLarge (default limit 16 MiB). */
  readFile(hostPath: string, options?: { maxBytes?: number }): Promise<Buffer | undefined>;
  /** Removes a file; one that is not there is no error. */
  removeFile(hostPath: string): Promise<void>;
  /** Differs after every reset of the host, for a host that is a container too (where the kernel's boot id stays). */
  bootId(): Promise<string>;
}

export interface RunOptions {
  timeoutMs: number;
  /** Given on standard input, which is empty otherwise. The way for secrets: arguments can be read by others. */
  input?: string | Uint8Array;
  signal?: AbortSignal;
  env?: Readonly<Record<string, string>>;
  /** Exit codes that are an answer and no failure. Default: 0 only. */
  exitCodes?: readonly number[];
  /** Of standard output and of standard error, each. Default 8 Mi characters; more ends the command. */
  maxOutput?: number;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  exitCode: number;
}

export interface SpawnOptions {
  stdio: StdioOptions;
  env?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

export interface WriteOptions {
  /** Permission bits, independent of the process's umask. */
  mode: number;
  backup?: string;
}

/** A command that gave no usable answer. Reasons: CommandNotFound, CommandFailed, CommandTimeout, CommandAborted, CommandOutputTooLarge. */
export class CommandError extends QuorateError {
  /** Absent when the command never ran or was ended by a signal. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;

  constructor(
    errorClass: "environment" | "transient",
    reason: string,
    message: string,
    output: { exitCode?: number | undefined; stdout: string; stderr: string },
  ) {
    super(errorClass, reason, message);
    this.name = "CommandError";
    this.exitCode = output.exitCode;
    this.stdout = output.stdout;
    this.stderr = output.stderr;
  }
}
