/** Processes of a bench of their own, which answer questions. */
import { type ChildProcess, fork } from "node:child_process";
import { openSync } from "node:fs";
import { QuorateError } from "../errors.ts";

interface Question {
  readonly id: number;
  readonly ask: string;
  readonly argument: unknown;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** In the child: from now on its parent is answered. The process ends with its parent. */
export function answerParent(answers: Readonly<Record<string, (argument: never) => Promise<unknown>>>): void {
  process.on("message", (question: Question) => {
    const work = answers[question.ask];
    const done =
      work === undefined ? Promise.reject(new Error(`cannot ${question.ask}`)) : work(question.argument as never);
    done.then(
      (result) => process.send?.({ id: question.id, result }),
      (error: unknown) => process.send?.({ id: question.id, error: String(error) }),
    );
  });
  process.once("disconnect", () => process.exit());
}

/** In the parent. */
export class BenchChild {
  readonly #process: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #ended: Promise<void>;
  #asked = 0;

  /** @param log where its standard error goes */
  constructor(
    module: URL,
    args: readonly string[],
    options: { readonly log: string; readonly nodeOptions?: readonly string[] },
  ) {
    const log = openSync(options.log, "w");
    this.#name = module.pathname;
    this.#process = fork(module, args, {
      execArgv: [...process.execArgv, ...(options.nodeOptions ?? [])],
      stdio: ["ignore", log, log, "ipc"],
    });
    this.#process.on("message", ({ id, result, error }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else
        waiting?.reject(new QuorateError("bug", "ChildFailed", `${this.#name}: ${error}; its log is ${options.log}`));
    });
    this.#ended = new Promise((resolve) => {
      this.#process.once("exit", (code) => {
        for (const { reject } of this.#waiting.values())
          reject(new QuorateError("bug", "ChildEnded", `${this.#name} ended with ${code}; its log is ${options.log}`));
        resolve();
      });
    });
  }

  ask<T>(ask: string, argument?: unknown): Promise<T> {
    this.#asked += 1;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(this.#asked, waiting);
    const question: Question = { id: this.#asked, ask, argument };
    this.#process.send(question);
    return waiting.promise as Promise<T>;
  }

  /** Asks it to end in order; kills it when it does not within 20 s. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGTERM");
    const late = setTimeout(() => this.#process.kill("SIGKILL"), 20_000);
    await this.#ended;
    clearTimeout(late);
  }
}
