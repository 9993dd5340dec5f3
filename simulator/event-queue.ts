/** Virtual time: a heap of what happens when. Events of the same time happen in the order in which they were put in. */
export class EventQueue {
  #heap: { at: number; order: number; run: () => void }[] = [];
  #order = 0;
  /** Virtual milliseconds. */
  now = 0;

  at(time: number, run: () => void): void {
    const entry = { at: Math.max(time, this.now), order: this.#order++, run };
    this.#heap.push(entry);
    let i = this.#heap.length - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(i, parent)) break;
      this.#swap(i, parent);
      i = parent;
    }
  }

  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run);
  }

  /** Runs everything that is due before `end`, and `after` after each. */
  runUntil(end: number, after?: () => void): void {
    for (;;) {
      const first = this.#heap[0];
      if (!first || first.at >= end) break;
      this.#pop();
      this.now = first.at;
      first.run();
      after?.();
    }
    this.now = end;
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (!last || this.#heap.length === 0) return;
    this.#heap[0] = last;
    let i = 0;
    for (;;) {
      const left = 2 * i + 1;
      if (left >= this.#heap.length) return;
      const right = left + 1;
      const child = right < this.#heap.length && this.#before(right, left) ? right : left;
      if (!this.#before(child, i)) return;
      this.#swap(i, child);
      i = child;
    }
  }

  #before(i: number, j: number): boolean {
    const a = this.#heap[i];
    const b = this.#heap[j];
    return a !== undefined && b !== undefined && (a.at < b.at || (a.at === b.at && a.order < b.order));
  }

  #swap(i: number, j: number): void {
    const a = this.#heap[i];
    const b = this.#heap[j];
    if (a && b) {
      this.#heap[i] = b;
      this.#heap[j] = a;
    }
  }
}
