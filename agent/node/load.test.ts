import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "../../clock.ts";
import type { Guest } from "../../crds/index.ts";
import { FakeHost } from "../host/index.ts";
import { follow, hostSample, NodeLoad, type Usage } from "./load.ts";

const MIB = 1024 * 1024;
type Course = ReturnType<typeof follow>;

/** Ten seconds each: millicores used, MiB held. @returns what is shown after each */
function shown(steps: readonly (readonly [number, number])[]): (Usage | undefined)[] {
  let course: Course | undefined;
  let used = 5_000;
  return steps.map(([millicores, mebibytes], i) => {
    used += millicores * 10;
    course = follow(course, { cpuMilliseconds: used, memoryBytes: mebibytes * MIB }, i * 10_000, `at ${i}`);
    return course.shown?.usage;
  });
}

describe("the load of a guest", () => {
  it("is shown from the second look on", () => {
    const [first, second] = shown([
      [0, 100],
      [1500, 100],
    ]);
    assert.equal(first, undefined);
    assert.deepEqual(second, { cpuMillicores: 1500, memoryBytes: 100 * MIB, measuredAt: "at 1" });
  });

  it("is smoothed: a peak of ten seconds is no load, one of three minutes is", () => {
    const quiet = Array.from({ length: 10 }, () => [100, 100] as const);
    const peak = shown([...quiet, [4000, 100], ...quiet]).map((usage) => usage?.cpuMillicores ?? 0);
    assert.ok(Math.max(...peak) < 800, `${Math.max(...peak)}`);
    const long = shown([...quiet, ...Array.from({ length: 18 }, () => [4000, 100] as const)]).at(-1);
    assert.ok((long?.cpuMillicores ?? 0) > 3300, `${long?.cpuMillicores}`);
  });

  it("is written anew only for a change that matters, and not more often than each half minute", () => {
    const steady = shown(Array.from({ length: 60 }, (_, i) => [1000 + (i % 3) * 40, 500 + (i % 5)] as const));
    assert.equal(new Set(steady.slice(1).map((usage) => usage?.measuredAt)).size, 1);
    const growing = shown(Array.from({ length: 61 }, (_, i) => [1000, 500 + i * 50] as const));
    const writes = new Set(growing.slice(1).map((usage) => usage?.measuredAt)).size;
    assert.ok(writes > 5 && writes <= 20, `${writes} in ten minutes`);
  });

  it("begins anew with a process that was started anew", () => {
    const before: Course = follow(undefined, { cpuMilliseconds: 90_000, memoryBytes: MIB }, 0, "");
    const after = follow(before, { cpuMilliseconds: 10, memoryBytes: MIB }, 10_000, "");
    assert.equal(after.shown, undefined);
    assert.ok(
      (follow(after, { cpuMilliseconds: 5_010, memoryBytes: MIB }, 20_000, "").shown?.usage.cpuMillicores ?? 0) === 500,
    );
  });
});

it("the load of a host is what is not idle, and what is not available", () => {
  const stat = "cpu  100 20 30 9000 500 5 5 0 0 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n";
  const meminfo = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     600 kB\n";
  assert.deepEqual(hostSample(stat, meminfo), { cpuMilliseconds: 1600, memoryBytes: 400 * 1024 });
  assert.equal(hostSample("", meminfo), undefined);
  assert.equal(hostSample(stat, ""), undefined);
});

it("a guest that is not here any more has no load", async () => {
  using host = new FakeHost();
  let now = 0;
  let here = true;
  let cpuMilliseconds = 0;
  const clock: Clock = { elapsedMs: () => now, wallMs: () => 1_795_222_800_000 + now, sleep: async () => {} };
  const web1 = {
    metadata: { name: "web1" },
    spec: { vmid: 100, resources: { cpu: 1, memory: "1Gi" }, service: { unit: "web1.service" } },
  } as unknown as Guest;
  const load = new NodeLoad({
    namespace: "lab",
    host,
    clock,
    guests: () => (here ? [web1] : []),
    drivers: {
      loads: async (guests) => new Map(guests.map(({ name }) => [name, { cpuMilliseconds, memoryBytes: MIB }])),
    },
  });
  await load.measure();
  now = 10_000;
  cpuMilliseconds = 2_500;
  await load.measure();
  assert.deepEqual(load.ofGuest("web1"), { cpuMillicores: 250, memoryBytes: MIB, measuredAt: "2026-11-21T01:00:10Z" });
  assert.equal(load.ofHost(), undefined);
  here = false;
  await load.measure();
  assert.equal(load.ofGuest("web1"), undefined);
});
