import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readWholeFile, removeFile, resolveInRoot, writeFileAtomic } from "./files.ts";
import {
  CommandError,
  type Host,
  type RunOptions,
  type RunResult,
  type SpawnOptions,
  type WriteOptions,
} from "./host.ts";

/** What a fake command answers: its standard output, a whole result, an error to throw, or a function of the call. */
export type FakeAnswer =
  | string
  | Partial<RunResult>
  | Error
  | ((args: readonly string[], options: RunOptions) => FakeAnswer | Promise<FakeAnswer>);

/**
 * A host for unit tests: no command runs, each is recorded and answered from what the test said. Files are real ones in
 * a temporary folder, which disposal removes: `using host = new FakeHost()`.
 */
export class FakeHost implements Host, Disposable {
  /** Every command in order, one string each: `zfs list -H tank`. */
  readonly commands: string[] = [];
  /** The options of each command, by the same index: what was given on standard input, for instance. */
  readonly options: RunOptions[] = [];
  currentBootId = "00000000-0000-4000-8000-000000000001.1";
  readonly #root = mkdtempSync(join(tmpdir(), "quorate-fake-host-"));
  readonly #answers: { words: readonly string[]; answer: FakeAnswer }[] = [];

  /** Answers every command whose words begin with these; what was said last wins. A command nobody answers is a failure of the test. */
  on(words: readonly string[], answer: FakeAnswer): this {
    this.#answers.unshift({ words, answer });
    return this;
  }

  async run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
    const line = [command, ...args];
    this.commands.push(line.join(" "));
    this.options.push(options);
    const found = this.#answers.find(({ words }) => words.every((word, i) => word === line[i]));
    if (found === undefined) throw new Error(`FakeHost: nothing was said about: ${line.join(" ")}`);
    let answer = found.answer;
    while (typeof answer === "function") answer = await answer(args, options);
    if (answer instanceof Error) throw answer;
    const result = {
      stdout: "",
      stderr: "",
      exitCode: 0,
      ...(typeof answer === "string" ? { stdout: answer } : answer),
    };
    if (!(options.exitCodes ?? [0]).includes(result.exitCode)) {
      throw new CommandError(
        "environment",
        "CommandFailed",
        `${line.join(" ")}: exit code ${result.exitCode}: ${result.stderr}`,
        result,
      );
    }
    return result;
  }

  /** Records the command and starts one that reads its input to the end and exits with 0. */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    this.commands.push([command, ...args].join(" "));
    return spawn("sh", ["-c", "cat >/dev/null"], { stdio: options.stdio });
  }

  path(hostPath: string): string {
    return resolveInRoot(this.#root, hostPath);
  }

  async writeFileAtomic(hostPath: string, data: string | Uint8Array, { mode, backup }: WriteOptions): Promise<void> {
    await writeFileAtomic(this.path(hostPath), data, {
      mode,
      ...(backup === undefined ? {} : { backup: this.path(backup) }),
    });
  }

  async readFile(hostPath: string, options?: { maxBytes?: number }): Promise<Buffer | undefined> {
    return readWholeFile(this.path(hostPath), options?.maxBytes ?? 16 * 1024 * 1024);
  }

  async removeFile(hostPath: string): Promise<void> {
    await removeFile(this.path(hostPath));
  }

  async bootId(): Promise<string> {
    return this.currentBootId;
  }

  [Symbol.dispose](): void {
    rmSync(this.#root, { recursive: true, force: true });
  }
}
