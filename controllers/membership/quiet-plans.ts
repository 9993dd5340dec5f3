/** When nothing can have changed what was planned for a namespace, so that the plan need not be made again. */

/** For what changes without an object: names that resolve to others, and guests that only show whether a node is removable. */
export const QUIET_PLAN_MS = 5_000;

interface Rest {
  readonly known: string;
  readonly atMs: number;
}

/** Counts changes by namespace; a plan that found nothing to do holds until the next one, and for a few seconds at most. */
export class QuietPlans {
  readonly #changes = new Map<string, number>();
  readonly #rests = new Map<string, Rest>();

  changed(namespace: string): void {
    this.#changes.set(namespace, (this.#changes.get(namespace) ?? 0) + 1);
  }

  /** What is known now, in one word. To be asked before anything is read for a plan: then no change in between is lost. */
  known(namespace: string, sights: readonly unknown[]): string {
    return JSON.stringify([this.#changes.get(namespace) ?? 0, sights]);
  }

  isDue(namespace: string, known: string, nowMs: number): boolean {
    const rest = this.#rests.get(namespace);
    return rest?.known !== known || nowMs - rest.atMs >= QUIET_PLAN_MS;
  }

  /** @param isAtRest nothing failed, and nothing is under way that time alone moves on; what was written comes back as a change */
  planned(namespace: string, known: string, nowMs: number, isAtRest: boolean): void {
    if (isAtRest) this.#rests.set(namespace, { known, atMs: nowMs });
    else this.#rests.delete(namespace);
  }

  forget(namespace: string): void {
    this.#rests.delete(namespace);
    this.#changes.delete(namespace);
  }
}
