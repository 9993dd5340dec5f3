/**
 * Disarming the whole cluster, for work on its network: services are frozen, or left alone, and agents close their watchdogs. It
 * waits for what is under way; offline nodes do not hold it up.
 */
import type { Round } from "./round.ts";
import type { ServiceRecord, ServiceState } from "./types.ts";

const UNDER_WAY = new Set<ServiceState>(["Fence", "Recovery", "Migrate", "Relocate", "RequestStartBalance"]);

/** Before the services are handled. @returns whether anything may have changed. */
export function updateDisarm(round: Round): boolean {
  const wanted = round.view.policy.disarm;
  if (wanted === undefined) {
    if (round.disarm === undefined) return false;
    arm(round);
    return true;
  }
  if (round.disarm === undefined) {
    round.event("command.accepted", "cluster", undefined, { op: "disarm", mode: wanted.toLowerCase() });
    round.disarm = { mode: wanted, phase: "Disarming", agreed: false };
  }
  // Once agreed, agents begin nothing more: what has no answer then would be waited for in vain.
  const waits = round.reference || !round.disarm.agreed;
  const busy = waits ? round.serviceIds().find((id) => isUnderWay(round, id)) : undefined;
  if (busy !== undefined && round.disarm.phase === "Disarming") {
    round.event("disarm.deferred", "service", busy, { state: round.services.get(busy)?.state?.toLowerCase() });
    return true;
  }
  letGo(round, round.disarm.mode);
  if (round.disarm.phase === "Disarming" && agentsLetGo(round)) {
    round.disarm = { ...round.disarm, phase: "Disarmed" };
    round.event("disarm.complete", "cluster", undefined);
  }
  return true;
}

/** By default also a guest that was just given to its node and is not up yet: frozen now, it would stay down until arm. */
function isUnderWay(round: Round, id: string): boolean {
  const record = round.services.get(id);
  const view = round.view.services[id];
  if (!record || !view) return false;
  if (UNDER_WAY.has(record.state)) return true;
  return (
    !round.reference &&
    record.state === "Started" &&
    !view.running &&
    !isAnswered(round, id) &&
    round.placeable.includes(record.node)
  );
}

function isAnswered(round: Round, id: string): boolean {
  const { result } = round.view.services[id] ?? {};
  return result !== undefined && result.uid === round.services.get(id)?.command.uid;
}

/** Services are left alone until HA is armed again. The reference goes on with those that it did not freeze. */
export function servicesSuspended(round: Round): boolean {
  return round.disarm?.agreed === true && (round.disarm.mode === "Ignore" || !round.reference);
}

function letGo(round: Round, mode: "Freeze" | "Ignore"): void {
  const first = round.disarm?.agreed === false;
  for (const id of round.serviceIds()) {
    const record = round.services.get(id);
    if (!record) continue;
    if (mode === "Ignore" && first) round.event("service.suspended", "service", id, { cause: "disarm" });
    if (mode === "Freeze" && mayFreeze(round, record)) {
      round.setState(id, "Freeze", { guarded: false, shown: { cause: "disarm" } });
    } else if (!round.reference && (record.guarded !== false || isAnswered(round, id)) && isHeard(round, record.node)) {
      // Its watchdog is about to be closed while it runs, and its agent closes it only under a command that it has not answered.
      round.amend(id, { guarded: false });
      round.renewCommand(id);
    }
  }
  if (round.disarm && first) round.disarm = { ...round.disarm, agreed: true };
}

/** By default only where the agent hears of it: a guest on a lost node is fenced and recovered when HA is armed again. */
function mayFreeze(round: Round, { state, node }: ServiceRecord): boolean {
  if (state === "Freeze" || state === "Error" || UNDER_WAY.has(state)) return false;
  return round.reference || isHeard(round, node);
}

function isHeard(round: Round, node: string): boolean {
  return round.view.nodes[node]?.member === true;
}

function agentsLetGo(round: Round): boolean {
  return Object.values(round.view.nodes).every((node) => {
    if (!node.member || !node.agentAlive) return true;
    return node.agentMode === "Disarmed" || (node.agentMode === "Maintenance" && node.lease !== "agent");
  });
}

function arm(round: Round): void {
  round.event("command.accepted", "cluster", undefined, { op: "arm" });
  if (round.disarm?.agreed === true && (round.disarm.mode === "Ignore" || !round.reference)) adoptOutsideMoves(round);
  round.disarm = undefined;
  round.event("disarm.ended", "cluster", undefined);
}

/**
 * While nobody watched, guests may have been moved by hand: their binding says where they are. By default only once the agent there says
 * that it runs: a Guest that was made anew names any node, and still runs where it was. What is left is given up where it was.
 */
function adoptOutsideMoves(round: Round): void {
  for (const id of round.serviceIds()) {
    const record = round.services.get(id);
    const view = round.view.services[id];
    if (!record || !view || view.owner === record.node) continue;
    if (!round.reference && !view.running) continue;
    const { owner } = view;
    round.event("service.relocated-outside", "service", id, { node: record.node, target: owner });
    round.amend(id, { node: owner });
    round.renewCommand(id);
  }
}
