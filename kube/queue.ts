import { type Clock, systemClock } from "../clock.ts";
import { classify, type ErrorClass, type QuorateError } from "../errors.ts";
import { type Logger, processLog } from "../log.ts";
import { type BackoffLimits, backoffMs } from "./backoff.ts";
import { counter, gauge, histogram } from "./metrics.ts";

export interface ReconcileResult {
  /** Look at the key again after this long, whatever happens. */
  requeueAfterMs?: number;
}

export interface WorkQueueOptions {
  /** In metrics and logs. */
  name: string;
  /**
   * Brings the object of this key to what it should be, from what is there now. Runs once at a time for a key; `signal`
   * aborts when the queue stops. What it throws decides when the key is tried again, by its ErrorClass.
   */
  // biome-ignore lint/suspicious/noConfusingVoidType: most reconcilers return nothing at all
  reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult | undefined | void>;
  /** Keys worked on at the same time; 4. */
  concurrency?: number;
  /** How fast a class of error is tried again; what is absent keeps its default. */
  retry?: Partial<Record<ErrorClass, BackoffLimits>>;
  /** Told of each failure, to show it in a condition or an event. */
  onError?: (key: string, error: QuorateError) => void;
  clock?: Clock;
  log?: Logger;
}

/**
 * A transient error soon works; an environment must first be repaired by someone. A wrong object or a bug of ours does
 * not change by trying: a change of the object brings its key back, the slow retry is for what it refers to.
 */
const RETRY: Record<ErrorClass, BackoffLimits> = {
  transient: { baseMs: 5, maxMs: 30_000 },
  environment: { baseMs: 1_000, maxMs: 300_000 },
  user: { baseMs: 300_000, maxMs: 300_000 },
  bug: { baseMs: 300_000, maxMs: 300_000 },
};

const adds = counter("quorate_queue_adds_total", "Keys added.", ["queue"]);
const retries = counter("quorate_queue_retries_total", "Keys that failed and are tried again.", ["queue", "class"]);
const duration = histogram("quorate_queue_work_duration_seconds", "Time to reconcile a key.", ["queue"]);
const waited = histogram("quorate_queue_wait_duration_seconds", "Time a key was due before its turn came.", ["queue"]);
const queues = new Set<WorkQueue>();
gauge("quorate_queue_depth", "Keys that wait for their turn.", ["queue"], (g) => {
  g.reset();
  for (const queue of queues) g.set({ queue: queue.name }, queue.depth);
});
gauge("quorate_queue_longest_running_seconds", "Age of the oldest reconcile that runs now.", ["queue"], (g) => {
  g.reset();
  for (const queue of queues) g.set({ queue: queue.name }, queue.longestRunningMs() / 1000);
});

/**
 * Keys, never objects or events: a key added ten times while it waits is worked on once, and once more when it was added
 * while being worked on. Level-based: what changed in between is read, not remembered.
 */
export class WorkQueue {
  readonly name: string;
  readonly #options: WorkQueueOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** Waiting keys in order of arrival, with the time of it. */
  readonly #ready = new Map<string, number>();
  /** Keys being worked on, with the time it began. */
  readonly #running = new Map<string, number>();
  /** Added while being worked on. */
  readonly #again = new Set<string>();
  /** Due times asked for by `addAfter`. */
  readonly #asked = new Map<string, number>();
  /** Due times of retries and `requeueAfterMs`; a run makes its key's old one void. */
  readonly #retry = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  #alarm: { atMs: number; cancel: AbortController } | undefined;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: WorkQueueOptions) {
    this.name = options.name;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? processLog("kube")).child({ queue: options.name });
    queues.add(this);
  }

  /** Never throws; does nothing after `stop()`. */
  add(key: string): void {
    if (this.#stopping.signal.aborted) return;
    adds.inc({ queue: this.name });
    this.#enqueue(key);
    this.#work();
  }

  /** At the latest in `ms`: of several, the earliest counts. */
  addAfter(key: string, ms: number): void {
    if (this.#stopping.signal.aborted) return;
    if (ms <= 0) {
      this.add(key);
      return;
    }
    const dueMs = this.#clock.elapsedMs() + ms;
    if ((this.#asked.get(key) ?? Number.POSITIVE_INFINITY) <= dueMs) return;
    this.#asked.set(key, dueMs);
    this.#setAlarm(dueMs);
  }

  /** Aborts the signal of what runs, drops what waits; resolves when nothing runs any more. */
  async stop(): Promise<void> {
    queues.delete(this);
    this.#stopping.abort(new DOMException(`the queue ${this.name} stops`, "AbortError"));
    this.#ready.clear();
    this.#again.clear();
    this.#asked.clear();
    this.#retry.clear();
    this.#alarm?.cancel.abort();
    if (this.#running.size === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  get depth(): number {
    return this.#ready.size;
  }

  /** Keys being worked on. */
  get inFlight(): number {
    return this.#running.size;
  }

  longestRunningMs(): number {
    const now = this.#clock.elapsedMs();
    return Math.max(0, ...[...this.#running.values()].map((beganMs) => now - beganMs));
  }

  #enqueue(key: string): void {
    if (this.#running.has(key)) this.#again.add(key);
    else if (!this.#ready.has(key)) this.#ready.set(key, this.#clock.elapsedMs());
  }

  #work(): void {
    for (const [key, sinceMs] of this.#ready) {
      if (this.#running.size >= (this.#options.concurrency ?? 4)) return;
      this.#ready.delete(key);
      this.#retry.delete(key);
      const now = this.#clock.elapsedMs();
      this.#running.set(key, now);
      waited.observe({ queue: this.name }, (now - sinceMs) / 1000);
      void this.#reconcile(key);
    }
  }

  async #reconcile(key: string): Promise<void> {
    const measured = duration.startTimer({ queue: this.name });
    try {
      // Not within add(): what is thrown must not end up there, and what is added with it is one run.
      await Promise.resolve();
      this.#again.delete(key);
      const result = await this.#options.reconcile(key, this.#stopping.signal);
      this.#failures.delete(key);
      if (result?.requeueAfterMs !== undefined) this.#later(key, result.requeueAfterMs);
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failed(key, classify(error));
    } finally {
      measured();
      this.#running.delete(key);
      if (this.#again.delete(key)) this.#enqueue(key);
      if (this.#stopping.signal.aborted) {
        if (this.#running.size === 0) this.#idle?.resolve();
      } else {
        this.#work();
      }
    }
  }

  #failed(key: string, error: QuorateError): void {
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    retries.inc({ queue: this.name, class: error.class });
    const retryMs = backoffMs(failures, this.#options.retry?.[error.class] ?? RETRY[error.class]);
    const level = error.class === "bug" ? "error" : error.class === "transient" && failures < 5 ? "debug" : "warn";
    const details = { key, class: error.class, reason: error.reason, failures, retryMs };
    this.#log[level](error.class === "bug" ? { ...details, err: error.cause ?? error } : details, error.message);
    this.#later(key, retryMs);
    try {
      this.#options.onError?.(key, error);
    } catch (thrown) {
      this.#log.error({ key, err: classify(thrown) }, "onError threw");
    }
  }

  #later(key: string, ms: number): void {
    if (this.#stopping.signal.aborted) return;
    const dueMs = this.#clock.elapsedMs() + Math.max(0, ms);
    this.#retry.set(key, dueMs);
    this.#setAlarm(dueMs);
  }

  /** One sleeper for all keys: till the earliest due time. */
  #setAlarm(atMs: number): void {
    if (this.#alarm !== undefined) {
      if (this.#alarm.atMs <= atMs) return;
      this.#alarm.cancel.abort();
    }
    const alarm = { atMs, cancel: new AbortController() };
    this.#alarm = alarm;
    // The system clock has a grain of 10 ms, so a timer may ring before the clock shows the time.
    const ms = Math.max(1, atMs - this.#clock.elapsedMs());
    this.#clock.sleep(ms, alarm.cancel.signal).then(
      () => this.#ring(alarm),
      () => {},
    );
  }

  #ring(alarm: { atMs: number }): void {
    if (this.#alarm !== alarm) return;
    this.#alarm = undefined;
    const now = this.#clock.elapsedMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const due of [this.#asked, this.#retry]) {
      for (const [key, dueMs] of due) {
        if (dueMs > now) nextMs = Math.min(nextMs, dueMs);
        else {
          due.delete(key);
          this.#enqueue(key);
        }
      }
    }
    if (Number.isFinite(nextMs)) this.#setAlarm(nextMs);
    this.#work();
  }
}
