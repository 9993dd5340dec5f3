/** Seeded pseudo-random numbers: the same seed gives the same sequence on every machine. For simulations only. */
export class Random {
  #state: number;

  /** @param seed any integers; each combination is a sequence of its own. */
  constructor(...seed: readonly number[]) {
    this.#state = 0x9e3779b9;
    for (const part of seed) {
      this.#state = Math.imul(this.#state ^ (part >>> 0), 0x85ebca6b) >>> 0;
      this.#next();
    }
  }

  /** Mulberry32. */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** From `min` up to, not including, `max`. */
  between(min: number, max: number): number {
    return min + this.#next() * (max - min);
  }

  /** A whole number, both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.#next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.#next() < probability;
  }

  /** @throws RangeError for an empty list. */
  pick<T>(list: readonly T[]): T {
    const index = this.int(0, list.length - 1);
    const found = list[index];
    if (found === undefined && !(index in list)) throw new RangeError("nothing to pick from");
    return found as T;
  }

  /** Each entry with the given probability, in their order. */
  some<T>(list: readonly T[], probability: number): T[] {
    return list.filter(() => this.chance(probability));
  }
}
