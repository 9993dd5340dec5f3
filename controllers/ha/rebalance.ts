/**
 * Auto-rebalance: when the load has been uneven for a while and nothing moves, the one move that helps most, if it helps enough.
 * Then look again.
 */

import { takeMove } from "./commands.ts";
import { keepApart, onlineClasses } from "./placement.ts";
import type { Round } from "./round.ts";
import { topsis } from "./topsis.ts";
import type { AutoRebalance, ServiceState } from "./types.ts";
import { criteria, type Load, relative, WEIGHTS } from "./usage.ts";

interface Move {
  /** First member of the unit. */
  readonly service: string;
  readonly source: string;
  readonly target: string;
  readonly imbalance: number;
  /** Of the situation after it; for the ranking by TOPSIS only. */
  readonly criteria: readonly number[];
}

const MOVING = new Set<ServiceState>(["Migrate", "Relocate", "RequestStartBalance", "Fence", "Recovery"]);

export function rebalance(round: Round): void {
  const { autoRebalance, scheduler } = round.view.policy;
  if (!autoRebalance || scheduler === "basic" || round.disarm !== undefined) return;
  const busy = round.serviceIds().some((id) => {
    const record = round.services.get(id);
    return record !== undefined && (MOVING.has(record.state) || record.queued?.op === "move");
  });
  const before = busy ? 0 : imbalance([...round.usage.nodes.values()].map((node) => relative(node, node.capacity)));
  if (before <= autoRebalance.threshold) {
    round.imbalancedRounds = 0;
    return;
  }
  round.imbalancedRounds += 1;
  if (round.imbalancedRounds < autoRebalance.holdRounds) return;
  const best = bestMove(allowedMoves(round, autoRebalance.method), autoRebalance.method);
  if (!best || !(before - best.imbalance >= autoRebalance.margin * before)) return;
  round.imbalancedRounds = 0;
  const mode = round.view.services[best.service]?.canMoveLive === false ? "restart" : "live";
  round.event("service.move.balance", "service", best.service, {
    mode,
    target: best.target,
    imbalance: [cents(before), cents(best.imbalance)],
  });
  takeMove(round, { op: "move", service: best.service, target: best.target, mode });
}

function bestMove(moves: readonly Move[], method: AutoRebalance["method"]): Move | undefined {
  if (method === "bruteforce")
    return moves.reduce<Move | undefined>(
      (best, move) => (best && best.imbalance <= move.imbalance ? best : move),
      undefined,
    );
  const scores = topsis(
    moves.map((move) => move.criteria),
    WEIGHTS,
  );
  let best: number | undefined;
  moves.forEach((_, i) => {
    if (best === undefined || (scores[i] ?? 0) > (scores[best] ?? 0)) best = i;
  });
  return best === undefined ? undefined : moves[best];
}

/** In the order service, source, target, so that the first of equal ones wins. */
function allowedMoves(round: Round, method: AutoRebalance["method"]): Move[] {
  const names = [...round.usage.nodes.keys()];
  const nodes = [...round.usage.nodes.values()];
  const loads = nodes.map((node) => relative(node, node.capacity));
  const moves: Move[] = [];
  for (const id of round.serviceIds()) {
    const source = round.services.get(id)?.node;
    const unit = unitOf(round, id);
    const from = names.indexOf(source ?? "");
    const sourceNode = nodes[from];
    const before = loads[from];
    if (source === undefined || unit === undefined || !sourceNode || !before) continue;
    const left = unitSize(round, unit, source);
    loads[from] = relative(
      { cpu: sourceNode.cpu - left.cpu, memory: sourceNode.memory - left.memory },
      sourceNode.capacity,
    );
    for (const target of targetsOf(round, unit, source)) {
      const to = names.indexOf(target);
      const targetNode = nodes[to];
      const targetBefore = loads[to];
      if (!targetNode || !targetBefore) continue;
      const added = unitSize(round, unit, target);
      loads[to] = relative(
        { cpu: targetNode.cpu + added.cpu, memory: targetNode.memory + added.memory },
        targetNode.capacity,
      );
      moves.push({
        service: id,
        source,
        target,
        imbalance: imbalance(loads),
        criteria: method === "topsis" ? criteria(loads) : [],
      });
      loads[to] = targetBefore;
    }
    loads[from] = before;
  }
  return moves;
}

/** The services that move as one, if `id` is the first of them and all run on its node. */
function unitOf(round: Round, id: string): readonly string[] | undefined {
  const unit = [id, ...(round.rules.together.get(id) ?? [])].filter((member) => round.services.has(member)).sort();
  const node = round.services.get(id)?.node;
  const whole = unit.every((member) => {
    const record = round.services.get(member);
    if (record?.balanceBackoff !== undefined && round.now < record.balanceBackoff.notBefore) return false;
    return record?.state === "Started" && record.node === node && round.view.services[member]?.running !== false;
  });
  return whole && unit[0] === id ? unit : undefined;
}

function targetsOf(round: Round, unit: readonly string[], source: string): readonly string[] {
  let targets: readonly string[] = round.placeable.filter((node) => node !== source);
  for (const member of unit) {
    const best = onlineClasses(round, member)[0]?.nodes ?? [];
    targets = keepApart(
      round,
      member,
      targets.filter((node) => best.includes(node)),
    );
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
  const count = loads.length;
  if (count < 2) return 0;
  let sum = 0;
  for (const load of loads) sum += (load.cpu + load.memory) / 2;
  const mean = sum / count;
  if (mean <= 0) return 0;
  let squares = 0;
  for (const load of loads) squares += ((load.cpu + load.memory) / 2 - mean) ** 2;
  return truncate(Math.sqrt(squares / count) / mean);
}

function truncate(value: number): number {
  return Number(value.toPrecision(15));
}

function cents(value: number): number {
  return Math.round(value * 100) / 100;
}
