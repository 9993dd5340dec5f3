/** For tests of what follows an object: a clock that never waits, an API that shows one moment after another. */
import type { Clock } from "../../clock.ts";

/** A clock on which each sleep passes at once; what it wakes is the next of a list of moments. */
export function stepping(): Clock {
  let now = 0;
  return {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
}

/** An API whose object is another one at each look, and stays the last one. */
export function moments<T>(...objects: (T | undefined)[]) {
  let looks = 0;
  return { get: async () => objects[Math.min(looks++, objects.length - 1)] as never };
}

/** A printer that keeps what it is given; progress is marked with a tilde. */
export function collected() {
  const lines: string[] = [];
  return {
    lines,
    printer: { line: (text: string) => lines.push(text), progress: (text: string) => lines.push(`~${text}`) },
  };
}
