/** Random histories of faults for property tests: what may happen, and how everything is repaired in the end. */
import fc from "fast-check";
import { type Op, parseScenario, type Scenario } from "./scenario.ts";

const HORIZON = 600;
/** Every host, process and link whole again, and everything restarted that lost power. */
const REPAIRED_AT = 700;
const END = 1100;

const NODES = ["node1", "node2", "node3", "node4", "node5"];
const node = fc.constantFrom(...NODES);

/** Everything that the design says is safe; a broken watchdog and an overridden quorum have scenarios of their own. */
const fault: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constant("node.network"), node, up: fc.boolean() }),
  fc.record({ op: fc.constant("node.ring"), node, up: fc.boolean() }),
  fc.record({ op: fc.constant("node.power"), node, on: fc.boolean() }),
  fc.record({ op: fc.constant("node.freeze"), node }),
  fc.record({ op: fc.constant("node.thaw"), node }),
  fc.record({ op: fc.constant("agent.kill"), node }),
  fc.record({ op: fc.constant("agent.start"), node }),
  fc.record({ op: fc.constant("agent.freeze"), node }),
  fc.record({ op: fc.constant("agent.thaw"), node }),
  fc.record({ op: fc.constant("keeper.kill"), node, restart: fc.boolean() }),
  fc.record({ op: fc.constant("keeper.freeze"), node }),
  fc.record({ op: fc.constant("keeper.thaw"), node }),
  fc.record({ op: fc.constant("api.reach"), nodes: fc.subarray(NODES), controllers: fc.boolean(), up: fc.boolean() }),
  fc.record({
    op: fc.constant("leader.crash"),
    after: fc.constantFrom(undefined, "takeLease", "setService", "setNode", "setNodeOwner", "releaseLease"),
  }),
  fc.record({ op: fc.constant("node.reboot"), node }),
  fc.record({ op: fc.constant("node.shutdown"), node }),
  fc.record({ op: fc.constant("agent.restart"), node }),
  fc.record({ op: fc.constant("maintenance"), node, enable: fc.boolean() }),
  fc.record({ op: fc.constant("clock.step"), node, seconds: fc.integer({ min: -100_000, max: 100_000 }) }),
  fc.record({ op: fc.constant("disarm"), mode: fc.constantFrom("freeze", "ignore") }),
  fc.record({ op: fc.constant("arm") }),
  fc.record({ op: fc.constant("fence.device"), node, works: fc.boolean() }),
  fc.record({
    op: fc.constant("service.move"),
    service: fc.constantFrom("vm:101", "vm:102", "ct:103"),
    target: node,
    mode: fc.constantFrom("live", "restart"),
  }),
  fc.record({
    op: fc.constant("service.want"),
    service: fc.constantFrom("vm:101", "vm:102", "ct:103"),
    state: fc.constantFrom("started", "stopped", "disabled"),
  }),
  fc.record({
    op: fc.constant("network.partition"),
    cells: fc.record(Object.fromEntries(NODES.map((name) => [name, fc.constantFrom("a", "b")]))),
  }),
);
export const history = fc.record({
  count: fc.integer({ min: 2, max: 5 }),
  qdevice: fc.boolean(),
  policy: fc.constantFrom("conditional", "freeze", "failover", "migrate"),
  faults: fc.array(fc.tuple(fc.integer({ min: 30, max: HORIZON }), fault), { minLength: 1, maxLength: 14 }),
});

/** @param faults [seconds, operation]; what names a node that is not there is left out. */
export function scenarioOf(
  count: number,
  qdevice: boolean,
  policy: string,
  faults: readonly (readonly [number, Op])[],
): Scenario {
  const names = NODES.slice(0, count);
  const known = (op: Op): boolean =>
    [op.node, op.target].every((name) => name === undefined || names.includes(String(name)));
  const within = (op: Op): Op => ({
    ...op,
    ...(Array.isArray(op.nodes) ? { nodes: op.nodes.filter((name) => names.includes(String(name))) } : {}),
    ...(op.op === "network.partition"
      ? {
          cells: Object.fromEntries(
            Object.entries(op.cells as Record<string, string>).filter(([name]) => names.includes(name)),
          ),
        }
      : {}),
  });
  const applied = faults.filter(([, op]) => known(op)).map(([at, op]) => [at, [within(op)]] as const);
  const ids = ["vm:101", "vm:102", "ct:103"];
  const repair: Op[] = [
    { op: "arm" },
    { op: "api.reach", nodes: names, up: true },
    { op: "network.partition", cells: Object.fromEntries(names.map((name) => [name, "all"])) },
    ...names.flatMap((name): Op[] => [
      { op: "node.thaw", node: name },
      { op: "keeper.thaw", node: name },
      { op: "agent.thaw", node: name },
      { op: "maintenance", node: name, enable: false },
      { op: "fence.device", node: name, works: true },
    ]),
    ...ids.map((service): Op => ({ op: "service.want", service, state: "disabled" })),
  ];
  const restart = names.flatMap((name): Op[] => [
    { op: "node.power", node: name, on: true },
    { op: "agent.ensure", node: name },
  ]);
  const batches = [
    ...applied,
    [REPAIRED_AT, repair] as const,
    [REPAIRED_AT + 60, restart] as const,
    [REPAIRED_AT + 100, restart] as const, // who went down in order meanwhile
    [REPAIRED_AT + 150, ids.map((service): Op => ({ op: "service.want", service, state: "started" }))] as const,
  ].sort((a, b) => a[0] - b[0]);
  return parseScenario({
    name: "random",
    cluster: { qdevice },
    setup: {
      nodes: Object.fromEntries(names.map((name) => [name, { power: true, network: true }])),
      services: Object.fromEntries(ids.map((id, i) => [id, { node: names[i % names.length], want: "started" }])),
      policy: { on_shutdown: policy },
    },
    steps: batches.map(([, ops]) => ops),
    step_times: batches.map(([at]) => at),
    end_time: END,
  });
}
