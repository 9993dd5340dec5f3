import type { Clock } from "../../clock.ts";

/** How much may pass at once: a quarter of a second's worth. */
const BURST_SECONDS = 0.25;

/**
 * A token bucket. `take` resolves when so many bytes may pass; over any ten seconds what passed is the rate within 5 %.
 * Amounts above the bucket's size are allowed and waited for afterwards by the next one (the bucket goes below zero).
 */
export class RateLimit {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  readonly #burst: number;
  #tokens: number;
  #filledAtMs: number;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#burst = bytesPerSecond * BURST_SECONDS;
    this.#tokens = 0;
    this.#filledAtMs = clock.elapsedMs();
  }

  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    this.#fill();
    while (this.#tokens < 0) {
      // The clock ticks in 10 ms.
      await this.#clock.sleep(Math.max(10, Math.ceil(-this.#tokens / this.#bytesPerMs)), signal);
      this.#fill();
    }
    this.#tokens -= bytes;
  }

  #fill(): void {
    const now = this.#clock.elapsedMs();
    this.#tokens = Math.min(this.#burst, this.#tokens + (now - this.#filledAtMs) * this.#bytesPerMs);
    this.#filledAtMs = now;
  }
}
