/**
 * Disarming the whole cluster, for work on its network: services are frozen, or left alone, and agents close their watchdogs. It
 * waits for what is under way; offline nodes do not hold it up.
 */
import type { Round } from "./round.ts";
import type { ServiceState } from "./types.ts";

const UNDER_WAY = new Set<ServiceState>(["Fence", "Recovery", "Migrate", "Relocate", "RequestStartBalance"]);

/** Before the services are handled. */
export function updateDisarm(round: Round): void {
  const wanted = round.view.policy.disarm;
  if (wanted === undefined) {
    if (round.disarm !== undefined) arm(round);
    return;
  }
  if (round.disarm === undefined) {
    round.event("command.accepted", "cluster", undefined, { op: "disarm", mode: wanted.toLowerCase() });
    round.disarm = { mode: wanted, phase: "Disarming", agreed: false };
  }
  const busy = round.serviceIds().find((id) => UNDER_WAY.has(round.services.get(id)?.state ?? "Started"));
  if (busy !== undefined && round.disarm.phase === "Disarming") {
    round.event("disarm.deferred", "service", busy, { state: round.services.get(busy)?.state?.toLowerCase() });
    return;
  }
  letGo(round, round.disarm.mode);
  if (round.disarm.phase === "Disarming" && agentsLetGo(round)) {
    round.disarm = { ...round.disarm, phase: "Disarmed" };
    round.event("disarm.complete", "cluster", undefined);
  }
}

/** Services are left alone: suspended in `Ignore`, nothing else to do for them. */
export function servicesSuspended(round: Round): boolean {
  return round.disarm?.mode === "Ignore" && round.disarm.agreed;
}

function letGo(round: Round, mode: "Freeze" | "Ignore"): void {
  const first = round.disarm?.agreed === false;
  for (const id of round.serviceIds()) {
    const state = round.services.get(id)?.state;
    if (mode === "Ignore") {
      if (first) round.event("service.suspended", "service", id, { cause: "disarm" });
    } else if (state !== "Freeze" && state !== "Error" && state !== undefined && !UNDER_WAY.has(state)) {
      round.setState(id, "Freeze", { shown: { cause: "disarm" } });
    }
  }
  if (round.disarm && first) round.disarm = { ...round.disarm, agreed: true };
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

/** While nobody watched, guests may have been moved by hand: their binding says where they are. */
function adoptOutsideMoves(round: Round): void {
  for (const id of round.serviceIds()) {
    const record = round.services.get(id);
    const owner = round.view.services[id]?.owner;
    if (!record || owner === undefined || owner === record.node) continue;
    round.event("service.relocated-outside", "service", id, { node: record.node, target: owner });
    round.amend(id, { node: owner });
    round.renewCommand(id);
  }
}
