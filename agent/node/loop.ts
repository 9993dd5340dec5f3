import type { Clock } from "../../clock.ts";
import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";

/** Works again and again, with this pause between, until the signal aborts. A failure is logged and ends nothing. */
export async function loop(
  what: string,
  pauseMs: number,
  work: () => Promise<unknown>,
  { clock, log, signal }: { clock: Clock; log: Logger; signal: AbortSignal },
): Promise<void> {
  let last = "";
  while (!signal.aborted) {
    try {
      await work();
      last = "";
    } catch (error) {
      const failure = classify(error);
      // A lasting problem is said once, not once a second.
      if (failure.message !== last)
        log.error(
          { loop: what, reason: failure.reason, ...(failure.class === "bug" ? { err: failure } : {}) },
          failure.message,
        );
      last = failure.message;
    }
    await clock.sleep(pauseMs, signal).catch(() => undefined);
  }
}
