import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Clock } from "../../clock.ts";
import { RateLimit } from "./rate-limit.ts";

/** A clock that only moves when somebody sleeps, and that wakes sleepers late. */
class SleepyClock implements Clock {
  nowMs = 0;
  readonly #lateMs: () => number;
  constructor(lateMs: () => number = () => 0) {
    this.#lateMs = lateMs;
  }
  elapsedMs = () => this.nowMs;
  wallMs = () => this.nowMs;
  sleep = async (ms: number) => {
    this.nowMs += ms + this.#lateMs();
  };
}

test("over ten seconds the rate is held within 5 %, at any rate, with pieces of any size and late timers", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 500_000, max: 1_000_000_000 }),
      fc.array(fc.integer({ min: 1, max: 65_536 }), { minLength: 1, maxLength: 50 }),
      fc.integer({ min: 0, max: 20 }),
      async (bytesPerSecond, sizes, lateMs) => {
        const scale = Math.ceil(bytesPerSecond / 50_000_000);
        const clock = new SleepyClock(() => lateMs);
        const limit = new RateLimit(bytesPerSecond, clock);
        let bytes = 0;
        for (let i = 0; clock.nowMs < 10_000; i++) {
          const size = (sizes[i % sizes.length] ?? 1) * scale + 4096;
          await limit.take(size);
          bytes += size;
        }
        const rate = (bytes * 1000) / clock.nowMs;
        assert.ok(Math.abs(rate / bytesPerSecond - 1) < 0.05, `${rate} instead of ${bytesPerSecond}`);
      },
    ),
    { numRuns: 60 },
  );
});

test("after a pause no more than a quarter of a second's worth is made up", async () => {
  const clock = new SleepyClock();
  const limit = new RateLimit(1_000_000, clock);
  clock.nowMs = 60_000;
  let bytes = 0;
  while (clock.nowMs === 60_000) {
    await limit.take(1_000);
    bytes += 1_000;
  }
  assert.ok(bytes <= 252_000, `${bytes} bytes at once`);
});
