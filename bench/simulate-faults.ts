/** Random histories of faults: how many worlds a second, and whether any guest ran twice. */
import fc from "fast-check";
import { simulateDefault } from "../simulator/default-world.ts";
import { history, scenarioOf } from "../simulator/random-history.ts";
import { median, quantile, sum } from "./statistics.ts";
import { machine, number, printTable } from "./table.ts";

interface World {
  readonly milliseconds: number;
  readonly virtualSeconds: number;
  readonly faults: number;
  readonly events: number;
  readonly violations: number;
  /** Guests that do not run where they belong in the end, when everything is repaired. */
  readonly notAsAsked: number;
}

export function simulateFaults(options: { worlds: number; seed: number }): void {
  const histories = fc.sample(history, { seed: options.seed, numRuns: options.worlds });
  const cpuBefore = process.cpuUsage();
  const worlds = histories.map(({ count, qdevice, policy, faults }): World => {
    const scenario = scenarioOf(count, qdevice, policy, faults);
    const repairs = scenarioOf(count, qdevice, policy, []).batches.length;
    // Finer than the 10 ms of the host's clock: most worlds take less.
    const from = performance.now();
    const events = simulateDefault(scenario);
    const milliseconds = performance.now() - from;
    const finals = events.filter((event) => event.class === "final");
    return {
      milliseconds,
      virtualSeconds: scenario.endTime,
      faults: scenario.batches.length - repairs,
      events: events.length,
      violations: events.filter((event) => event.class === "violation").length,
      notAsAsked: finals.filter((final) => final.state !== "Started" || final.running_on !== final.node).length,
    };
  });
  const cpu = process.cpuUsage(cpuBefore);
  const cpuSeconds = (cpu.user + cpu.system) / 1e6;
  const of = (field: keyof World) => worlds.map((world) => world[field]);
  const seconds = sum(of("milliseconds")) / 1000;
  printTable(
    `simulate-faults: ${options.worlds} random worlds, seed ${options.seed}; ${machine()}`,
    [
      "worlds",
      "worlds/s",
      "worlds/CPU s",
      "ms p50",
      "ms p99",
      "virtual/wall",
      "faults",
      "faults p50",
      "events",
      "violations",
      "not as asked",
    ],
    [
      [
        String(worlds.length),
        number(worlds.length / seconds),
        number(worlds.length / cpuSeconds),
        number(median(of("milliseconds"))),
        number(quantile(of("milliseconds"), 0.99)),
        `${number(sum(of("virtualSeconds")) / seconds, 0)} x`,
        String(sum(of("faults"))),
        String(median(of("faults"))),
        String(sum(of("events"))),
        String(sum(of("violations"))),
        String(sum(of("notAsAsked"))),
      ],
    ],
  );
}
