/** From a world in which something goes wrong to a small one in which the same goes wrong. */
import type { Timed } from "./random-faults.ts";
import type { World } from "./random-world.ts";

/** @param fails whether the same still goes wrong; asked at most `budget` times. */
export function shrink(world: World, fails: (world: World) => boolean, budget = 600): World {
  let best = world;
  let left = budget;
  const accept = (candidate: World): boolean => {
    if (left <= 0) return false;
    left -= 1;
    if (!fails(candidate)) return false;
    best = candidate;
    return true;
  };
  for (;;) {
    const before = best;
    shrinkHistory(best, accept);
    for (const simpler of SIMPLER) while (anyOf(simpler(best), accept));
    if (best === before || left <= 0) return best;
  }
}

function anyOf(worlds: Iterable<World>, accept: (world: World) => boolean): boolean {
  for (const world of worlds) if (accept(world)) return true;
  return false;
}

/** Leaves out ever smaller pieces of the history. */
function shrinkHistory(world: World, accept: (world: World) => boolean): void {
  let history = world.history;
  for (let size = Math.ceil(history.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let start = 0; start < history.length; ) {
      const shorter: readonly Timed[] = [...history.slice(0, start), ...history.slice(start + size)];
      if (accept({ ...world, history: shorter })) history = shorter;
      else start += size;
    }
  }
}

/** Each gives worlds that are simpler; the first in which the same goes wrong is taken, and asked again. */
const SIMPLER: readonly ((world: World) => Generator<World>)[] = [
  function* fewerServices(world) {
    for (const id of Object.keys(world.services)) {
      if (world.history.some(({ op }) => op.service === id)) continue;
      const { [id]: _gone, ...services } = world.services;
      const rules = world.rules
        .map((rule) => ({ ...rule, services: rule.services.filter((other) => other !== id) }))
        .filter((rule) => rule.services.length > 0);
      yield { ...world, services, rules };
    }
  },
  function* fewerNodes(world) {
    const last = world.nodes.at(-1);
    if (last === undefined || JSON.stringify([world.history, world.services]).includes(`"${last}"`)) return;
    yield { ...world, nodes: world.nodes.slice(0, -1) };
  },
  function* plainer(world) {
    if (world.rules.length > 0) yield { ...world, rules: [] };
    if (Object.keys(world.groups).length > 0) {
      const services = Object.fromEntries(
        Object.entries(world.services).map(([id, { group: _group, ...service }]) => [id, service]),
      );
      yield { ...world, groups: {}, services };
    }
    if (Object.keys(world.policy).length > 0) yield { ...world, policy: {} };
    for (const [key, value] of Object.entries(PLAIN_CLUSTER))
      if (world.cluster[key as keyof World["cluster"]] !== value)
        yield { ...world, cluster: { ...world.cluster, [key]: value } };
    for (const [id, service] of Object.entries(world.services)) {
      const plain = { node: service.node, want: "started" };
      if (Object.keys(service).length > 2) yield { ...world, services: { ...world.services, [id]: plain } };
      const { failure_model: model, ...works } = service;
      if (model !== undefined) yield { ...world, services: { ...world.services, [id]: works } };
    }
  },
  function* rounderTimes(world) {
    for (const [i, { at, op }] of world.history.entries()) {
      for (const unit of [10, 1]) {
        const rounded = Math.round(at / unit) * unit;
        const before = world.history[i - 1]?.at ?? 0;
        if (rounded === at || rounded < before || rounded > (world.history[i + 1]?.at ?? Number.POSITIVE_INFINITY))
          continue;
        yield { ...world, history: world.history.with(i, { at: rounded, op }) };
      }
    }
  },
];

const PLAIN_CLUSTER = { token_milliseconds: 3000, watchdog_seconds: 10, qdevice: false };
