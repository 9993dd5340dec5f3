import type { Clock } from "../../clock.ts";
import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { LrmWork, Outcome } from "../ha/index.ts";

/** What the LRM makes happen to guests of this host. Each resolves when it is done and seen to be so; `moved` means gone from here. */
export interface GuestOperations {
  start(service: string, signal: AbortSignal): Promise<void>;
  stop(service: string, options: { timeoutSeconds?: number }, signal: AbortSignal): Promise<void>;
  move(service: string, target: string, mode: "live" | "restart", signal: AbortSignal): Promise<void>;
}

/** What soon passes (an object not seen yet, a lock) is tried again for this long before it is a failure. */
const TRY_FOR_MS = 30_000;
const RETRY_MS = 500;

/** The running and ended work of this host's services, one at a time for a service. */
export class WorkTable {
  readonly #clock: Clock;
  readonly #operations: GuestOperations;
  readonly #log: Logger;
  readonly #onEnd: () => void;
  readonly #entries = new Map<string, LrmWork>();
  readonly #abort = new AbortController();

  constructor(operations: GuestOperations, clock: Clock, log: Logger, onEnd: () => void) {
    this.#clock = clock;
    this.#operations = operations;
    this.#log = log;
    this.#onEnd = onEnd;
  }

  get view(): Readonly<Record<string, LrmWork>> {
    return Object.fromEntries(this.#entries);
  }

  begin(
    service: string,
    uid: string,
    task:
      | { action: "start" }
      | { action: "stop"; timeoutSeconds?: number }
      | { action: "move"; target: string; mode: "live" | "restart" },
  ): void {
    const current = this.#entries.get(service);
    if (current !== undefined && current.outcome === undefined) return;
    this.#entries.set(service, { uid, action: task.action });
    this.#log.info({ service, uid, ...task }, `${task.action} begins`);
    void this.#run(service, uid, task);
  }

  forget(service: string): void {
    if (this.#entries.get(service)?.outcome !== undefined) this.#entries.delete(service);
  }

  /** Tells running work to end. Guests are not touched by that. */
  stop(): void {
    this.#abort.abort(new Error("the agent stops"));
  }

  async #run(service: string, uid: string, task: Parameters<WorkTable["begin"]>[2]): Promise<void> {
    const end = (outcome: Outcome, message?: string) => {
      this.#entries.set(service, { uid, action: task.action, outcome, ...(message === undefined ? {} : { message }) });
      this.#log.info({ service, uid, action: task.action, outcome, message }, `${task.action} ended`);
      this.#onEnd();
    };
    const signal = this.#abort.signal;
    const giveUpAt = this.#clock.elapsedMs() + TRY_FOR_MS;
    for (;;) {
      try {
        await this.#once(service, task, signal);
        return end("Ok");
      } catch (error) {
        const failure = classify(error);
        const passes = failure.class === "transient" && this.#clock.elapsedMs() < giveUpAt;
        if (!passes || signal.aborted) return end("Failed", `${failure.reason}: ${failure.message}`.slice(0, 1000));
        this.#log.info({ service, uid, reason: failure.reason }, `${task.action} is tried again: ${failure.message}`);
        await this.#clock.sleep(RETRY_MS, signal).catch(() => undefined);
      }
    }
  }

  async #once(service: string, task: Parameters<WorkTable["begin"]>[2], signal: AbortSignal): Promise<void> {
    if (task.action === "start") return this.#operations.start(service, signal);
    if (task.action === "move") return this.#operations.move(service, task.target, task.mode, signal);
    const how = task.timeoutSeconds === undefined ? {} : { timeoutSeconds: task.timeoutSeconds };
    return this.#operations.stop(service, how, signal);
  }
}
