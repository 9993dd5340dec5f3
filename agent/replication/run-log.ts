import type { Clock } from "../../clock.ts";

const KEPT = 20;
const LONGEST = 2_000;

/** The last lines of a run, for people: they become part of the job's status. */
export class RunLog {
  readonly #clock: Clock;
  readonly #lines: string[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get lines(): readonly string[] {
    return [...this.#lines];
  }

  add(line: string): void {
    const time = new Date(this.#clock.wallMs()).toISOString();
    this.#lines.push(`${time} ${line}`.slice(0, LONGEST));
    if (this.#lines.length > KEPT) this.#lines.shift();
  }
}
