/** Exponential growth with an upper limit. Pure: the caller counts and sleeps. */
export interface BackoffLimits {
  baseMs: number;
  maxMs: number;
}

/** The wait before try number `failures + 1`, `failures` >= 1: base, 2 base, 4 base … max. */
export function backoffMs(failures: number, limits: BackoffLimits): number {
  // 2^30 is beyond any sensible limit; the cap keeps the power finite.
  return Math.min(limits.maxMs, limits.baseMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
}

/** Between half of `ms` and all of it, so that many clients do not come back in step. `random` is in [0, 1). */
export function jittered(ms: number, random: () => number = Math.random): number {
  return ms * (0.5 + random() / 2);
}
