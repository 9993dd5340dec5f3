/** How the agent, or its host, goes down in order: what happens to the guests is the cluster's shutdown policy. */
import { release } from "./lease.ts";
import type { Turn } from "./turn.ts";
import type { LrmView, Milliseconds, ShutdownKind, ShutdownPlan, ShutdownPolicy } from "./types.ts";

/** How long a host that goes down waits for the CRM: to be heard at all, to freeze the guests, to have moved them away. */
const WITHOUT_CRM: Milliseconds = 20_000;
const PATIENCE: Readonly<Record<ShutdownPlan, Milliseconds>> = {
  stop: 0,
  freeze: 60_000,
  drain: 540_000,
  "already-drained": 60_000,
};
/** After the last stop has ended, until the guests are seen to be gone. */
const SETTLES: Milliseconds = 15_000;

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
  turn.set({ shutdownPlan: plan, shutdownSince: turn.now, shutdownHeardAt: turn.now });
}

/** The host itself goes down: its guests end with it, whatever the plan. */
export function hostGoesDown(turn: Turn): boolean {
  return turn.view.shutdown !== undefined && turn.view.shutdown.kind !== "agent-restart";
}

export function shutDown(turn: Turn): void {
  const plan = turn.state.shutdownPlan;
  if (plan === undefined || turn.state.exited) return;
  if (turn.parameters.behaviour === "default" && hostGoesDown(turn)) {
    endHost(turn, plan);
    return;
  }
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
  if (turn.workRuns()) return;
  const stillRunning = runningHere(turn.view).filter(
    (id) => stopsGuests(turn) || plan !== "freeze" || turn.view.services[id]?.state !== "Freeze",
  );
  if (stillRunning.length === 0) release(turn, "shutdown"); // else lease and watchdog stay as they are: guests may run
  exit(turn);
}

/**
 * The CRM does its part first (freezes the guests, or moves them), but the host waits for it only so long. Then the guests are stopped,
 * and only when none is left the watchdog is closed and the lease given back. Else both stay as they are: the host resets when its
 * corosync stops, and the CRM waits as for any lost host.
 */
function endHost(turn: Turn, plan: ShutdownPlan): void {
  const { view, state } = turn;
  const heard = turn.holdsLease && view.quorate && view.storeReadable;
  if (heard) turn.set({ shutdownHeardAt: turn.now });
  if (state.shutdownGivenUp !== true && plan !== "stop") {
    const guarded = state.epoch !== undefined || turn.mayRun().length > 0;
    const waitsFor = guarded ? turn.activeServices() : [];
    const waited = turn.now - (state.shutdownSince ?? turn.now);
    const unheard = turn.now - (turn.state.shutdownHeardAt ?? turn.now);
    if (waitsFor.length > 0) {
      if (waited < PATIENCE[plan] && unheard < WITHOUT_CRM) return;
      turn.event("shutdown.given-up", undefined, { plan, services: waitsFor.length, heard });
      turn.set({ shutdownGivenUp: true });
    }
  }
  stopGuests(turn);
  if (turn.workRuns()) return;
  if (turn.mayRun().length > 0) {
    if (turn.state.shutdownStoppedAt === undefined) turn.set({ shutdownStoppedAt: turn.now });
    if (turn.now - (turn.state.shutdownStoppedAt ?? turn.now) < SETTLES) return;
    turn.event("role.stop-blocked", undefined, { services: turn.mayRun().length });
  } else if (!view.watchdog.expiring) {
    // A host whose guests were to wait for it, but which the CRM has not frozen, keeps its lease: it may be back in time.
    const neverHeld = turn.before.epoch === undefined && (view.lease.holder === "none" || view.lease.holder === "self");
    if (turn.holdsLease && !(plan === "freeze" && turn.state.shutdownGivenUp === true)) release(turn, "shutdown");
    else if (turn.holdsLease || neverHeld) turn.effect({ type: "disarmWatchdog", cause: "shutdown" });
  }
  exit(turn);
}

/** The host that goes down stops its guests by now, and moves none of them any more. */
export function endsGuests(turn: Turn): boolean {
  return hostGoesDown(turn) && (turn.state.shutdownPlan === "stop" || turn.state.shutdownGivenUp === true);
}

/** Frozen guests of an agent restart run on; those of a host that goes down do not. */
function stopsGuests(turn: Turn): boolean {
  const plan = turn.state.shutdownPlan;
  return plan === "stop" || (plan === "freeze" && turn.view.shutdown?.kind !== "agent-restart");
}

function stopGuests(turn: Turn): void {
  const begun = turn.begun();
  for (const id of runningHere(turn.view)) {
    const service = turn.view.services[id];
    if (!service || turn.state.shutdownStops.includes(id) || turn.view.work[id] !== undefined || begun.includes(id))
      continue;
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
