import { mkdirSync, writeFileSync } from "node:fs";
import { systemClock } from "../../clock.ts";
import { rfc3339 } from "../../kube/index.ts";
import type { Installed } from "../installed/index.ts";
import { type LabHost, waitFor } from "../lab/index.ts";

const TIMELINES = new URL("../../build/timelines", import.meta.url).pathname;

/** Measured moments of a scenario, in seconds since the fault. */
export class Timeline {
  readonly #began = systemClock.elapsedMs();
  readonly #what: string;
  readonly #moments: { readonly moment: string; readonly seconds: number }[] = [];

  constructor(what: string) {
    this.#what = what;
  }

  get seconds(): number {
    return (systemClock.elapsedMs() - this.#began) / 1000;
  }

  mark(moment: string): number {
    const { seconds } = this;
    this.#moments.push({ moment, seconds: Math.round(seconds * 10) / 10 });
    return seconds;
  }

  /** Prints it, and keeps it in the file of its name in `build/timelines`, in place of what was measured before. */
  record(): void {
    const moments = this.#moments.map(({ moment, seconds }) => `${moment} ${seconds.toFixed(1)} s`);
    process.stdout.write(`    ${this.#what}: ${moments.join(", ")}\n`);
    mkdirSync(TIMELINES, { recursive: true });
    const name = this.#what.replaceAll(/[^A-Za-z0-9]+/g, "-");
    const measured = { what: this.#what, measuredAt: rfc3339(systemClock.wallMs()), moments: this.#moments };
    writeFileSync(`${TIMELINES}/${name}.json`, `${JSON.stringify(measured, null, 2)}\n`);
  }
}

/** Waits until the guest was recovered from `from` and runs elsewhere. Marks when it was decided and when it ran. */
export async function untilRecovered(
  installed: Installed,
  from: LabHost,
  timeline: Timeline,
  deadlineMs = 90_000,
): Promise<LabHost> {
  const to = await waitFor(
    async () => {
      const { node, state } = (await installed.resource()).status ?? {};
      return node !== from.name && (state === "Started" || state === "Starting") && node;
    },
    deadlineMs,
    `web1 to be recovered from ${from.name}`,
    { intervalMs: 100 },
  );
  timeline.mark(`start ordered on ${to}`);
  await installed.untilRunning("web1", 60_000, to);
  timeline.mark("runs");
  return installed.lab.host(to);
}
