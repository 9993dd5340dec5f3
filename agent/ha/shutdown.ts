/** How the agent, or its host, goes down in order: what happens to the guests is the cluster's shutdown policy. */
import { release } from "./lease.ts";
import type { Turn } from "./turn.ts";
import type { LrmView, ShutdownKind, ShutdownPlan, ShutdownPolicy } from "./types.ts";

/** conditional: a reboot keeps the guests for this host, a power-off gives them away. */
export function choosePlan(kind: ShutdownKind, policy: ShutdownPolicy): ShutdownPlan {
  if (kind === "agent-restart" || policy === "freeze") return "freeze";
  if (policy === "migrate") return "drain";
  if (policy === "failover") return "stop";
  return kind === "reboot" ? "freeze" : "stop";
}

/** Once: from then on the plan is reported, so that the CRM does its part. */
export function planShutdown(turn: Turn): void {
  const { view, state } = turn;
  if (!view.shutdown || state.shutdownPlan !== undefined) return;
  const { kind, policy } = view.shutdown;
  const chosen = choosePlan(kind, policy);
  const drained = state.mode === "Maintenance" && kind !== "agent-restart" && turn.activeServices().length === 0;
  const plan = drained ? "already-drained" : chosen;
  if (kind !== "agent-restart") turn.event("shutdown.requested", undefined, { policy });
  turn.event("shutdown.plan", undefined, { op: operation(kind, chosen), plan, ...(drained ? { policy } : {}) });
  turn.set({ shutdownPlan: plan });
}

export function shutDown(turn: Turn): void {
  const plan = turn.state.shutdownPlan;
  if (plan === undefined || turn.state.exited) return;
  if (turn.state.epoch === undefined) {
    if (turn.state.mode === "Idle" && !turn.workRuns()) exit(turn);
    return;
  }
  if (!turn.holdsLease || !turn.view.quorate) {
    const running = runningHere(turn.view);
    if (running.length > 0) turn.event("role.stop-blocked", undefined, { services: running.length, repeats: true });
    else exit(turn);
    return;
  }
  const waiting = plan === "stop" ? [] : turn.activeServices();
  if (waiting.length > 0) return;
  if (stopsGuests(turn)) stopGuests(turn);
  if (turn.workRuns() || turn.effects.some((effect) => effect.type === "stop")) return;
  const stillRunning = runningHere(turn.view).filter(
    (id) => stopsGuests(turn) || plan !== "freeze" || turn.view.services[id]?.state !== "Freeze",
  );
  if (stillRunning.length === 0) release(turn, "shutdown"); // else lease and watchdog stay as they are: guests may run
  exit(turn);
}

/** Frozen guests of an agent restart run on; those of a host that goes down do not. */
function stopsGuests(turn: Turn): boolean {
  const plan = turn.state.shutdownPlan;
  return plan === "stop" || (plan === "freeze" && turn.view.shutdown?.kind !== "agent-restart");
}

function stopGuests(turn: Turn): void {
  for (const id of runningHere(turn.view)) {
    const service = turn.view.services[id];
    if (!service || turn.state.shutdownStops.includes(id) || turn.view.work[id] !== undefined) continue;
    turn.set({ shutdownStops: [...turn.state.shutdownStops, id] });
    turn.event("stop.begin", id, {});
    turn.effect({ type: "stop", service: id, uid: service.command.uid, why: "shutdown" });
  }
}

function exit(turn: Turn): void {
  turn.event("role.exit", undefined);
  turn.effect({ type: "exit" });
  turn.set({ exited: true });
}

function runningHere(view: LrmView): string[] {
  return Object.keys(view.services)
    .filter((id) => view.services[id]?.node === view.node && view.services[id]?.running !== false)
    .sort();
}

function operation(kind: ShutdownKind, plan: ShutdownPlan): string {
  if (kind === "agent-restart") return kind;
  return plan === "freeze" && kind === "reboot" ? "reboot" : "shutdown";
}
