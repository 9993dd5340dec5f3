import type { Clock } from "../clock.ts";

interface Sleeper {
  dueMs: number;
  wake: () => void;
}

/** Virtual time for tests: nothing waits, `advance` moves the hands. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  elapsedMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return Date.UTC(2026, 0, 1) + this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const leave = () => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = () => {
        leave();
        reject(signal?.reason);
      };
      const wake = () => {
        leave();
        resolve();
      };
      const sleeper = { dueMs: this.#nowMs + Math.max(0, ms), wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", onAbort);
    });
  }

  /** Lets `ms` pass: wakes each sleeper at its time and lets what it starts run before the next one wakes. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settled();
    for (;;) {
      const next = [...this.#sleepers].sort((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.wake();
      await settled();
    }
    this.#nowMs = endMs;
    await settled();
  }

  /** Time passes and nothing wakes: the process was frozen. The next `advance` wakes all that is overdue. */
  freeze(ms: number): void {
    this.#nowMs += ms;
  }

  get sleeping(): number {
    return this.#sleepers.size;
  }
}

/** All promise callbacks that can run now have run. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
