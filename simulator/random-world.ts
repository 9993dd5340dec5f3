/**
 * Random worlds for the search: a cluster with its guests and rules, and a history of faults and commands. Everything is repaired in the
 * end. A world is plain data in the words of a scenario file, so that it can be shrunk and written down.
 */
import type { Random } from "./random.ts";
import { randomFaults, type Timed } from "./random-faults.ts";
import { type Op, parseScenario, type Scenario } from "./scenario.ts";

export interface World {
  readonly cluster: {
    readonly token_milliseconds: number;
    readonly watchdog_seconds: number;
    readonly qdevice: boolean;
  };
  readonly nodes: readonly string[];
  readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly groups: Readonly<
    Record<string, { readonly nodes: Readonly<Record<string, number>>; readonly [field: string]: unknown }>
  >;
  readonly rules: readonly {
    readonly id: string;
    readonly services: readonly string[];
    readonly [field: string]: unknown;
  }[];
  readonly policy: Readonly<Record<string, unknown>>;
  /** In the order of their times, seconds. */
  readonly history: readonly Timed[];
  readonly defect?: string;
}

export const FIRST_FAULT = 40;
/** Seconds after the last fault at which everything is repaired: at once, when doomed hosts are down, and when the slowest shutdown is over. */
const REPAIRS = [10, 90, 170];
/** Seconds after the last repair by which every guest that is wanted must run: boots, failing and hanging starts, moves. */
const SETTLES = 150;

export function randomWorld(random: Random, defect?: string): World {
  const count = random.pick([2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7]);
  const nodes = Array.from({ length: count }, (_, i) => `node${i + 1}`);
  const even = count % 2 === 0;
  const groups = randomGroups(random, nodes);
  const services = randomServices(random, nodes, Object.keys(groups));
  return {
    cluster: {
      token_milliseconds: random.pick([1000, 3000, 3000, 3000, 5000]),
      watchdog_seconds: random.pick([5, 10, 10, 10, 15, 30]),
      qdevice: random.chance(even ? 0.5 : 0.1),
    },
    nodes,
    services,
    groups,
    rules: randomRules(random, nodes, Object.keys(services)),
    policy: randomPolicy(random),
    history: randomFaults(random, nodes, Object.keys(services), FIRST_FAULT),
    ...(defect === undefined ? {} : { defect }),
  };
}

/** The world as a scenario file. `until`: seconds at which it ends, without a repair. */
export function scenarioFile(world: World, name: string, description: string, until?: number): Record<string, unknown> {
  const last = world.history.at(-1)?.at ?? FIRST_FAULT;
  const repairs =
    until === undefined ? REPAIRS.map((after): Timed => ({ at: last + after, op: { op: "repair" } })) : [];
  const settled = last + Math.max(...REPAIRS) + SETTLES;
  const steps = [...world.history, ...repairs].filter(({ at }) => until === undefined || at <= until);
  return {
    name,
    description,
    timings: "quorate",
    ...(world.defect === undefined ? {} : { defect: world.defect }),
    cluster: world.cluster,
    setup: {
      nodes: Object.fromEntries(world.nodes.map((node) => [node, { power: true, network: true }])),
      services: world.services,
      groups: world.groups,
      rules: world.rules,
      policy: world.policy,
    },
    steps: steps.map(({ op }) => [op]),
    step_times: steps.map(({ at }) => at),
    ...(until === undefined ? { settled_at: settled } : {}),
    end_time: until ?? settled + 1,
  };
}

export function scenarioOf(world: World): Scenario {
  return parseScenario(scenarioFile(world, "random", ""));
}

function randomGroups(random: Random, nodes: readonly string[]): World["groups"] {
  if (!random.chance(0.35)) return {};
  const members = random.some(nodes, 0.6);
  if (members.length === 0) return {};
  const weighted = Object.fromEntries(members.map((node) => [node, random.int(0, 2)]));
  return { g1: { nodes: weighted, restricted: random.chance(0.4), nofailback: random.chance(0.3) } };
}

function randomServices(random: Random, nodes: readonly string[], groups: readonly string[]): World["services"] {
  const services: Record<string, Record<string, unknown>> = {};
  const count = random.int(1, 6);
  for (let i = 0; i < count; i += 1) {
    const model = randomFailures(random);
    services[`${random.chance(0.7) ? "vm" : "ct"}:${101 + i}`] = {
      node: random.pick(nodes),
      want: random.chance(0.9) ? "started" : "stopped",
      max_restart: random.int(0, 3),
      max_relocate: random.int(0, 3),
      ...(random.chance(0.2) ? { failback: false } : {}),
      ...(groups.length > 0 && random.chance(0.5) ? { group: random.pick(groups) } : {}),
      ...(model === undefined ? {} : { failure_model: model }),
    };
  }
  return services;
}

function randomFailures(random: Random): Record<string, unknown> | undefined {
  if (random.chance(0.75)) return undefined;
  const none = { start_failures: 0, move_failures: 0, cannot_stop: false };
  return random.pick([
    { ...none, start_hangs: true },
    { ...none, start_failures: random.int(1, 8) },
    { ...none, move_failures: random.int(1, 3) },
    { ...none, cannot_stop: true },
  ]);
}

function randomRules(random: Random, nodes: readonly string[], services: readonly string[]): World["rules"] {
  const rules: World["rules"][number][] = [];
  const some = random.some(services, 0.5);
  if (some.length > 1 && random.chance(0.25))
    rules.push({ id: "r1", kind: random.pick(["keep-together", "keep-apart"]), services: some });
  const members = random.some(nodes, 0.5);
  const bound = random.some(services, 0.4);
  if (members.length > 0 && bound.length > 0 && random.chance(0.25)) {
    const weighted = Object.fromEntries(members.map((node) => [node, random.int(0, 1)]));
    rules.push({ id: "r2", kind: "prefer-nodes", services: bound, nodes: weighted, strict: random.chance(0.4) });
  }
  return rules;
}

function randomPolicy(random: Random): World["policy"] {
  const scheduler = random.pick(["basic", "basic", "static", "dynamic"]);
  return {
    on_shutdown: random.pick(["conditional", "freeze", "failover", "migrate"]),
    scheduler,
    ...(random.chance(0.3) ? { place_on_start: true } : {}),
    ...(scheduler !== "basic" && random.chance(0.4)
      ? {
          auto_rebalance: {
            method: random.pick(["bruteforce", "topsis"]),
            threshold: 0.2,
            hold_rounds: 2,
            margin: 0.1,
          },
        }
      : {}),
  };
}

/** Commands of operators; everything else that happens is a fault. */
const COMMANDS = new Set([
  "service.want",
  "service.move",
  "service.stop",
  "service.lock",
  "service.unlock",
  "maintenance",
  "disarm",
  "arm",
  "agent.restart",
  "node.reboot",
  "node.shutdown",
  "fence.device",
  "repair",
]);

export function isFault({ op }: Op): boolean {
  return !COMMANDS.has(op);
}
