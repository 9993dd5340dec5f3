/**
 * Time as an input. Everything that waits or measures takes a Clock, so that tests run in virtual time.
 *
 * `elapsedMs` never steps and counts suspend (CLOCK_BOOTTIME): use it for every duration, lease age and fence timing.
 * `wallMs` is for humans and for timestamps in objects; it may step and must never decide anything.
 */
export interface Clock {
  /** Milliseconds since some fixed point, monotonic, counting suspend. */
  elapsedMs(): number;
  /** Milliseconds since the epoch, as the host believes. */
  wallMs(): number;
  /** Resolves after `ms` milliseconds, or rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

/**
 * The host's clock. `/proc/uptime` follows CLOCK_BOOTTIME with a resolution of 10 ms, which `performance.now()`
 * does not: it stops while the machine is suspended.
 */
export const systemClock: Clock = {
  elapsedMs: () => Math.round(Number.parseFloat(readFileSync("/proc/uptime", "utf8")) * 1000),
  wallMs: () => Date.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
};
