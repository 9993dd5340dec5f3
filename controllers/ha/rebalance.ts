/**
 * Auto-rebalance: when the load has been uneven for a while and nothing moves, the one move that helps most, if it helps enough.
 * Then look again.
 */
import { keepApart, onlineClasses } from "./placement.ts";
import type { Round } from "./round.ts";
import { takeMove } from "./commands.ts";
import { topsis } from "./topsis.ts";
import { criteria, type Load, relative, WEIGHTS } from "./usage.ts";
import type { AutoRebalance, ServiceState } from "./types.ts";

interface Move {
  /** First member of the unit. */
  readonly service: string;
  readonly source: string;
  readonly target: string;
  readonly after: readonly Load[];
  readonly imbalance: number;
}

const MOVING = new Set<ServiceState>(["Migrate", "Relocate", "RequestStartBalance", "Fence", "Recovery"]);

export function rebalance(round: Round): void {
  const { autoRebalance, scheduler } = round.view.policy;
  if (!autoRebalance || scheduler === "basic" || round.disarm !== undefined) return;
  const busy = [...round.services.values()].some((record) => MOVING.has(record.state) || record.queued?.op === "move");
  const before = busy ? 0 : imbalance([...round.usage.nodes.values()].map((node) => relative(node, node.capacity)));
  if (before <= autoRebalance.threshold) {
    round.imbalancedRounds = 0;
    return;
  }
  round.imbalancedRounds += 1;
  if (round.imbalancedRounds < autoRebalance.holdRounds) return;
  const best = bestMove(allowedMoves(round), autoRebalance.method);
  if (!best || !(before - best.imbalance >= autoRebalance.margin * before)) return;
  round.imbalancedRounds = 0;
  const mode = round.view.services[best.service]?.canMoveLive === false ? "restart" : "live";
  round.event("service.move.balance", "service", best.service, { mode, target: best.target, imbalance: [cents(before), cents(best.imbalance)] });
  takeMove(round, { op: "move", service: best.service, target: best.target, mode });
}

function bestMove(moves: readonly Move[], method: AutoRebalance["method"]): Move | undefined {
  if (method === "bruteforce") return moves.reduce<Move | undefined>((best, move) => (best && best.imbalance <= move.imbalance ? best : move), undefined);
  const scores = topsis(moves.map((move) => criteria(move.after)), WEIGHTS);
  let best: number | undefined;
  moves.forEach((_, i) => {
    if (best === undefined || (scores[i] ?? 0) > (scores[best] ?? 0)) best = i;
  });
  return best === undefined ? undefined : moves[best];
}

/** In the order service, source, target, so that the first of equal ones wins. */
function allowedMoves(round: Round): Move[] {
  const names = [...round.usage.nodes.keys()];
  const loads = names.map((name) => round.usage.nodes.get(name)).filter((node) => node !== undefined);
  const now = loads.map((node) => relative(node, node.capacity));
  const moves: Move[] = [];
  for (const id of round.serviceIds()) {
    const source = round.services.get(id)?.node;
    const unit = unitOf(round, id);
    if (source === undefined || unit === undefined || !round.usage.nodes.has(source)) continue;
    const size = unitSize(round, unit, source);
    for (const target of targetsOf(round, unit, source)) {
      const after = now.map((load, i) => {
        const node = loads[i];
        if (!node || (names[i] !== source && names[i] !== target)) return load;
        const sign = names[i] === source ? -1 : 1;
        const moved = names[i] === source ? size : unitSize(round, unit, target);
        return relative({ cpu: node.cpu + sign * moved.cpu, memory: node.memory + sign * moved.memory }, node.capacity);
      });
      moves.push({ service: id, source, target, after, imbalance: imbalance(after) });
    }
  }
  return moves;
}

/** The services that move as one, if `id` is the first of them and all run on its node. */
function unitOf(round: Round, id: string): readonly string[] | undefined {
  const unit = [id, ...(round.rules.together.get(id) ?? [])].filter((member) => round.services.has(member)).sort();
  const node = round.services.get(id)?.node;
  const whole = unit.every((member) => {
    const record = round.services.get(member);
    return record?.state === "Started" && record.node === node && round.view.services[member]?.running !== false;
  });
  return whole && unit[0] === id ? unit : undefined;
}

function targetsOf(round: Round, unit: readonly string[], source: string): readonly string[] {
  let targets: readonly string[] = round.placeable.filter((node) => node !== source);
  for (const member of unit) {
    const best = onlineClasses(round, member)[0]?.nodes ?? [];
    targets = keepApart(round, member, targets.filter((node) => best.includes(node)));
  }
  return targets;
}

function unitSize(round: Round, unit: readonly string[], node: string): Load {
  const capacity = round.usage.nodes.get(node)?.capacity ?? { cpu: 0, memory: 0 };
  return unit
    .map((member) => round.usage.sizeOn(round.view.services[member], capacity))
    .reduce((sum, size) => ({ cpu: sum.cpu + size.cpu, memory: sum.memory + size.memory }), { cpu: 0, memory: 0 });
}

/** Coefficient of variation of the nodes' loads; 0 for fewer than two nodes or no load. Truncated, so that equal sums compare equal. */
export function imbalance(loads: readonly Load[]): number {
  if (loads.length < 2) return 0;
  const means = loads.map((load) => (load.cpu + load.memory) / 2);
  const mean = means.reduce((sum, value) => sum + value, 0) / means.length;
  if (mean <= 0) return 0;
  const variance = means.reduce((sum, value) => sum + (value - mean) ** 2, 0) / means.length;
  return truncate(Math.sqrt(variance) / mean);
}

function truncate(value: number): number {
  return Number(value.toPrecision(15));
}

function cents(value: number): number {
  return Math.round(value * 100) / 100;
}
