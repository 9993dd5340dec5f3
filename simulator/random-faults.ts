/** A random history: motifs of faults as they happen to clusters, and commands of operators, some of them at once. */
import type { Random } from "./random.ts";
import type { Op } from "./scenario.ts";

export interface Timed {
  /** Virtual seconds. */
  readonly at: number;
  readonly op: Op;
}

interface Scene {
  readonly random: Random;
  readonly nodes: readonly string[];
  readonly services: readonly string[];
  readonly at: number;
  /** Most often what befalls a node befalls one that has trouble already. */
  readonly node: () => string;
}

type Motif = (scene: Scene) => Timed[];

/** @param first seconds of the first one. @returns the history in the order of its times. */
export function randomFaults(
  random: Random,
  nodes: readonly string[],
  services: readonly string[],
  first: number,
): Timed[] {
  const kind = random.int(0, 9);
  // By themselves the two kinds of loss that must never fence anybody, then everything.
  const motifs = kind === 0 ? API_MOTIFS : kind === 1 ? AGENT_MOTIFS : kind === 2 ? QUIET_MOTIFS : ALL_MOTIFS;
  const victim = random.pick(nodes);
  const node = (): string => (random.chance(0.5) ? victim : random.pick(nodes));
  const history: Timed[] = [];
  let at = first + random.between(0, 10);
  for (let i = random.int(2, 14); i > 0; i -= 1) {
    const motif = random.chance(0.2) ? random.pick(COMMAND_MOTIFS) : random.pick(motifs);
    history.push(...motif({ random, nodes, services, at, node }));
    at += random.chance(0.5) ? random.between(0, 3) : random.between(3, 40);
  }
  return history.map(({ at, op }) => ({ at: Math.round(at * 10) / 10, op })).sort((a, b) => a.at - b.at);
}

/** Something fails, and mostly ends by itself. */
function lasting(fails: (node: string) => Op, ends: (node: string) => Op, longest = 60): Motif {
  return ({ random, node, at }) => {
    const name = node();
    const start = { at, op: fails(name) };
    return random.chance(0.25) ? [start] : [start, { at: at + duration(random, longest), op: ends(name) }];
  };
}

function duration(random: Random, longest: number): number {
  return random.chance(0.4) ? random.between(0.1, longest / 6) : random.between(longest / 6, longest);
}

const apiForSome: Motif = ({ random, nodes, at }) => {
  const whom = random.pick([
    { nodes, controllers: true },
    { nodes: random.some(nodes, 0.5), controllers: random.chance(0.3) },
    { nodes: [], controllers: true },
  ]);
  return [
    { at, op: { op: "api.reach", ...whom, up: false } },
    ...(random.chance(0.8) ? [{ at: at + duration(random, 90), op: { op: "api.reach", ...whom, up: true } }] : []),
  ];
};

const agentGone = lasting(
  (node) => ({ op: "agent.kill", node }),
  (node) => ({ op: "agent.ensure", node }),
  120,
);
const agentFrozen = lasting(
  (node) => ({ op: "agent.freeze", node }),
  (node) => ({ op: "agent.thaw", node }),
  120,
);
const leaderDies: Motif = ({ random, at }) => {
  const effects = ["takeLease", "setService", "setNode", "setNodeOwner", "releaseLease", "removeLock"];
  const when = random.chance(0.2) ? { seconds: random.int(1, 20) } : { after: random.pick(effects) };
  return [{ at, op: { op: "leader.crash", ...when, standby: random.chance(0.6) } }];
};
const clockSteps: Motif = ({ random, node, at }) => [
  { at, op: { op: "clock.step", node: node(), seconds: random.int(-100_000, 100_000) } },
];

const cut = lasting(
  (node) => ({ op: "node.network", node, up: false }),
  (node) => ({ op: "node.network", node, up: true }),
  90,
);
const ringCut = lasting(
  (node) => ({ op: "node.ring", node, up: false }),
  (node) => ({ op: "node.ring", node, up: true }),
  90,
);
/** A link, or a host's whole network, that comes and goes. */
const flaps: Motif = ({ random, node, at }) => {
  const name = node();
  const op = random.pick(["node.network", "node.ring"]);
  const history: Timed[] = [];
  let time = at;
  for (let i = random.int(4, 12); i > 0; i -= 1) {
    history.push({ at: time, op: { op, node: name, up: i % 2 === 1 } });
    time += random.between(0.5, 20);
  }
  return history;
};
const partition: Motif = ({ random, nodes, at }) => {
  const half = Math.ceil(nodes.length / 2);
  const equal = random.chance(0.5);
  const cells = Object.fromEntries(
    nodes.map((node, i) => [node, equal ? (i < half ? "a" : "b") : random.pick(["a", "b", "b"])]),
  );
  const whole = Object.fromEntries(nodes.map((node) => [node, "all"]));
  const side = nodes.filter((node) => cells[node] === "b");
  const without = random.chance(0.3) ? { without_api: random.some(side, 0.8) } : {};
  return [
    { at, op: { op: "network.partition", cells, ...without } },
    ...(random.chance(0.75) ? [{ at: at + duration(random, 90), op: { op: "network.partition", cells: whole } }] : []),
  ];
};
const hostFrozen = lasting(
  (node) => ({ op: "node.freeze", node }),
  (node) => ({ op: "node.thaw", node }),
);
const keeperDead: Motif = ({ random, node, at }) => {
  const restart = random.chance(0.7);
  return [{ at, op: { op: "keeper.kill", node: node(), restart, ...(restart ? { seconds: random.int(1, 12) } : {}) } }];
};
const keeperFrozen = lasting(
  (node) => ({ op: "keeper.freeze", node }),
  (node) => ({ op: "keeper.thaw", node }),
);
const powerFails: Motif = ({ random, nodes, at }) =>
  random
    .some(nodes, random.pick([0.2, 0.5]))
    .flatMap((node) => [
      { at, op: { op: "node.power", node, on: false } },
      ...(random.chance(0.7) ? [{ at: at + duration(random, 120), op: { op: "node.power", node, on: true } }] : []),
    ]);
/** Where it does not fire only a fence device may prove that the node is off; sometimes nobody knew. */
const watchdogBroken: Motif = ({ random, node, at }) => {
  const name = node();
  const known = random.chance(0.9);
  return [
    ...(known ? [{ at, op: { op: "fence.device", node: name, works: random.chance(0.8), only: true } }] : []),
    { at: at + 0.1, op: { op: "watchdog.break", node: name } },
  ];
};
const fenceDevice: Motif = ({ random, node, at }) => [
  { at, op: { op: "fence.device", node: node(), works: random.chance(0.7), only: random.chance(0.3) } },
];
/** By somebody who believes that the others are off. */
const overridden: Motif = ({ random, nodes, node, at }) => {
  const name = node();
  const isCut = random.chance(0.6);
  return [
    { at, op: { op: "quorum.override", expected_votes: random.chance(0.6) ? 1 : random.int(1, nodes.length) } },
    ...(isCut ? [{ at: at + random.between(0, 20), op: { op: "node.network", node: name, up: false } }] : []),
    { at: at + random.between(5, 120), op: { op: "quorum.override" } },
  ];
};

const want: Motif = ({ random, services, at }) => [
  {
    at,
    op: {
      op: "service.want",
      service: random.pick(services),
      state: random.pick(["started", "started", "stopped", "disabled"]),
    },
  },
];
const move: Motif = ({ random, node, services, at }) => [
  {
    at,
    op: {
      op: "service.move",
      service: random.pick(services),
      target: node(),
      mode: random.pick(["live", "restart"]),
    },
  },
];
const stop: Motif = ({ random, services, at }) => [
  { at, op: { op: "service.stop", service: random.pick(services), timeout: random.int(0, 30) } },
];
const lock: Motif = ({ random, services, at }) => {
  const service = random.pick(services);
  return [
    { at, op: { op: "service.lock", service, lock: random.pick(["backup", "create", "migrate"]) } },
    { at: at + duration(random, 60), op: { op: "service.unlock", service } },
  ];
};
const maintenance = lasting(
  (node) => ({ op: "maintenance", node, enable: true }),
  (node) => ({ op: "maintenance", node, enable: false }),
  120,
);
const disarm: Motif = ({ random, at }) => [
  { at, op: { op: "disarm", mode: random.pick(["freeze", "ignore"]) } },
  { at: at + duration(random, 120), op: { op: "arm" } },
];
const goesDown: Motif = ({ random, node, at }) => [
  { at, op: { op: random.pick(["node.reboot", "node.shutdown", "agent.restart"]), node: node() } },
];
const agentRestarts: Motif = ({ node, at }) => [{ at, op: { op: "agent.restart", node: node() } }];

const API_MOTIFS = [apiForSome, apiForSome, leaderDies, clockSteps];
const AGENT_MOTIFS = [agentGone, agentFrozen, agentRestarts, clockSteps];
const QUIET_MOTIFS = [...API_MOTIFS, ...AGENT_MOTIFS];
const COMMAND_MOTIFS = [want, want, move, move, stop, lock, maintenance, disarm, agentRestarts];
const ALL_MOTIFS = [
  ...QUIET_MOTIFS,
  cut,
  cut,
  cut,
  ringCut,
  ringCut,
  flaps,
  partition,
  partition,
  hostFrozen,
  hostFrozen,
  keeperDead,
  keeperFrozen,
  powerFails,
  watchdogBroken,
  fenceDevice,
  overridden,
  goesDown,
];
