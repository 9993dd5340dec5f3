/** The random worlds of the fault search: how many a second, and whether all that must hold held. */
import { simulateDefault } from "../simulator/default-world.ts";
import { scenarioOf } from "../simulator/random-world.ts";
import { countFaults, worldOf } from "../simulator/search.ts";
import { median, quantile, sum } from "./statistics.ts";
import { machine, number, printTable } from "./table.ts";

interface World {
  readonly milliseconds: number;
  readonly virtualSeconds: number;
  readonly faults: number;
  readonly events: number;
  /** Of what must hold in every run. */
  readonly violations: number;
}

export function simulateFaults(options: { worlds: number; seed: number }): void {
  const histories = Array.from({ length: options.worlds }, (_, index) => worldOf(options.seed, index));
  const cpuBefore = process.cpuUsage();
  const worlds = histories.map((history): World => {
    const scenario = scenarioOf(history);
    // Finer than the 10 ms of the host's clock: most worlds take less.
    const from = performance.now();
    const events = simulateDefault(scenario);
    const milliseconds = performance.now() - from;
    return {
      milliseconds,
      virtualSeconds: scenario.endTime,
      faults: countFaults(history),
      events: events.length,
      violations: events.filter((event) => event.class === "violation" && event.because === undefined).length,
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
      "faults/s",
      "faults p50",
      "events",
      "violations",
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
        number(sum(of("faults")) / seconds, 0),
        String(median(of("faults"))),
        String(sum(of("events"))),
        String(sum(of("violations"))),
      ],
    ],
  );
}
