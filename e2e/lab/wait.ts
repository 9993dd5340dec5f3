import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";

export interface WaitOptions {
  /** How often to look [100 ms]. */
  intervalMs?: number;
  /** Errors of the condition are "not yet" [true]; false ends the wait with the first. */
  ignoreErrors?: boolean;
  clock?: Clock;
}

/**
 * Looks until the condition gives something other than false, undefined or null, and returns that.
 *
 * @param what finishes the sentence "waited in vain for …" of the error.
 * @throws QuorateError `environment` DeadlineExceeded, with the last error of the condition.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  deadlineMs: number,
  what: string,
  options: WaitOptions = {},
): Promise<NonNullable<Exclude<T, false>>> {
  const clock = options.clock ?? systemClock;
  const started = clock.elapsedMs();
  for (;;) {
    let lastError: string | undefined;
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<Exclude<T, false>>;
    } catch (error) {
      if (options.ignoreErrors === false) throw error;
      lastError = classify(error).message;
    }
    if (clock.elapsedMs() - started >= deadlineMs) {
      const because = lastError === undefined ? "" : `; the last look failed: ${lastError}`;
      throw new QuorateError(
        "environment",
        "DeadlineExceeded",
        `waited ${deadlineMs} ms in vain for ${what}${because}`,
      );
    }
    await clock.sleep(options.intervalMs ?? 100);
  }
}
