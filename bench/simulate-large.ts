/** A large cluster that loses a node, in virtual time: seconds and memory of `quorate simulate`. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { systemClock } from "../clock.ts";
import type { SimEvent } from "../simulator/recorder.ts";
import type { ChildResult } from "./simulate-child.ts";
import { median } from "./statistics.ts";
import { machine, megabytes, number, printTable } from "./table.ts";

const NODES = 29;
const SERVICES = 5000;
/** Seconds that the field's reference simulator takes for this world: a figure given to us, not measured by this file. */
const REFERENCE_SECONDS = 3711;
const CUT = "node3";
const CUT_AT = 1200;
const END = 3600;
const RUN_WITHIN_MS = 600_000;

interface Run extends ChildResult {
  readonly seconds: number;
  readonly events: number;
  readonly violations: number;
  readonly recovered: number;
}

export async function simulateLarge(options: { runs: number }): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-bench-"));
  try {
    const scenario = join(folder, "scenario.json");
    writeFileSync(scenario, JSON.stringify(largeScenario()));
    const rows: string[][] = [];
    for (const timings of ["file", "quorate"]) {
      const runs: Run[] = [];
      for (let i = 0; i < options.runs; i += 1) runs.push(await simulate(folder, scenario, timings));
      rows.push(row(timings, runs));
    }
    printTable(
      `simulate-large: ${NODES} nodes, ${SERVICES} services, ${CUT} cut at ${CUT_AT} of ${END} virtual s; ${machine()}; medians of ${options.runs}`,
      ["timings", "wall s", "CPU s", "peak MB", "events", "recovered", "violations", "reference s", "reference/wall"],
      rows,
    );
    console.log(
      `\nreference s: ${REFERENCE_SECONDS} s of the field's reference simulator, as given to us: its machine and length of run are not known\nhere. Timings "file" are its rounds, "quorate" our own with more to simulate, which it has no counterpart for.`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function row(timings: string, runs: readonly Run[]): string[] {
  const of = (field: keyof Run) => median(runs.map((run) => run[field]));
  return [
    timings,
    number(of("seconds")),
    number(of("cpuSeconds")),
    megabytes(of("maxRssBytes")),
    number(of("events"), 0),
    `${of("recovered")}/${ownedByCut()}`,
    number(of("violations"), 0),
    number(REFERENCE_SECONDS, 0),
    `${number(REFERENCE_SECONDS / of("seconds"), 0)} x`,
  ];
}

const owner = (i: number): string => `node${(i % NODES) + 1}`;
const serviceId = (i: number): string => `vm:${101 + i}`;
const indexes = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

function ownedByCut(): number {
  return indexes(SERVICES).filter((i) => owner(i) === CUT).length;
}

function largeScenario(): object {
  const nodes = indexes(NODES).map((i) => [owner(i), { power: true, network: true }]);
  const services = indexes(SERVICES).map((i) => [serviceId(i), { node: owner(i), want: "started" }]);
  return {
    name: "large",
    description: "a node of a large cluster is cut off",
    setup: { nodes: Object.fromEntries(nodes), services: Object.fromEntries(services) },
    steps: [[], [{ op: "node.network", node: CUT, up: false }]],
    step_times: [20, CUT_AT],
    end_time: END,
  };
}

async function simulate(folder: string, scenario: string, timings: string): Promise<Run> {
  const result = join(folder, "result.json");
  const output = join(folder, "events.jsonl");
  const from = systemClock.elapsedMs();
  const ended = await execa(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      join(import.meta.dirname, "simulate-child.ts"),
      result,
      scenario,
      "--timings",
      timings,
    ],
    { stdout: { file: output }, timeout: RUN_WITHIN_MS, reject: false },
  );
  // 3 says that a guest ran twice, which the table shows.
  if (ended.exitCode !== 0 && ended.exitCode !== 3) throw new Error(`simulate: ${ended.shortMessage}\n${ended.stderr}`);
  const seconds = (systemClock.elapsedMs() - from) / 1000;
  const events = readFileSync(output, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as SimEvent);
  const moved = new Set(
    indexes(SERVICES)
      .filter((i) => owner(i) === CUT)
      .map(serviceId),
  );
  const recovered = events.filter(
    ({ class: kind, subject = "", running_on: on, state }) =>
      kind === "final" && moved.has(subject) && state === "Started" && on !== CUT && on !== null && on !== undefined,
  );
  return {
    ...(JSON.parse(readFileSync(result, "utf8")) as ChildResult),
    seconds,
    events: events.length,
    violations: events.filter((event) => event.class === "violation").length,
    recovered: recovered.length,
  };
}
