/**
 * What the agent may hold: its lease under one epoch, and with it the armed watchdog. It gives both back when there is nothing to
 * guard, and lets the host reset when somebody took the lease while guests may run.
 */
import type { Turn } from "./turn.ts";

export function holdLease(turn: Turn): void {
  const { view, state } = turn;
  const { holder, epoch } = view.lease;
  if (
    state.epoch !== undefined &&
    view.storeReadable &&
    (holder === "crm" || holder === "other" || epoch !== state.epoch)
  ) {
    loseLease(turn, `${holder === "self" ? "this host" : holder} holds epoch ${epoch}, this agent has ${state.epoch}`);
    return;
  }
  if (state.epoch === undefined && view.storeReadable && holder === "crm" && turn.mayRun().length > 0) {
    expire(turn, "the lease was taken while guests of this host still run");
    return;
  }
  if (view.watchdog.expiring) return;
  if (state.epoch === undefined) {
    tryAcquire(turn);
    return;
  }
  if (!view.quorate || !view.storeReadable) {
    if (!view.quorate && state.mode !== "Idle") turn.setMode("Lost");
    return;
  }
  if (holder === "self") {
    turn.effect({ type: "renewLease" });
    activate(turn);
  } else {
    if (state.mode !== "Idle") turn.setMode("Lost");
    if (state.shutdownPlan === undefined) turn.effect({ type: "acquireLease" });
  }
}

/** The lease is also the heartbeat, so that an idle agent holds it too; the reference's agent takes it only for its guests. */
function tryAcquire(turn: Turn): void {
  const { view } = turn;
  if (!view.quorate || !view.storeReadable) return;
  if (view.lease.holder === "self") {
    turn.set({ epoch: view.lease.epoch, idleRounds: 0 });
    activate(turn);
    return;
  }
  const wanted = turn.parameters.behaviour === "default" || (turn.activeServices().length > 0 && !view.disarmed);
  if (wanted && turn.state.shutdownPlan === undefined && view.lease.holder === "none")
    turn.effect({ type: "acquireLease" });
}

/** Becomes active when there is something to guard: the watchdog is armed before anything starts. */
function activate(turn: Turn): void {
  const { view, state } = turn;
  const needed = turn.parameters.behaviour === "reference" || state.mode !== "Idle" || turn.activeServices().length > 0;
  if (!needed || view.disarmed) return;
  if (state.mode === "Idle") turn.set({ idleRounds: 0 });
  turn.setMode(inMaintenance(turn) ? "Maintenance" : "Active");
  if (!view.watchdog.armed) turn.effect({ type: "armWatchdog" });
}

/** Somebody who was entitled to took it: this host counts as fenced. */
function loseLease(turn: Turn, why: string): void {
  turn.setMode("Lost");
  if (turn.mayRun().length > 0) {
    expire(turn, why);
    return;
  }
  const { epoch: _epoch, ...rest } = turn.state;
  turn.state = rest;
  turn.setMode("Idle");
}

function expire(turn: Turn, why: string): void {
  if (turn.view.watchdog.expiring) return;
  turn.event("lease.lost", undefined, { why });
  turn.effect({ type: "expireWatchdog", why });
}

/** @returns true when the agent lets go of what it guards and begins nothing. */
export function letGo(turn: Turn): boolean {
  const { view, state } = turn;
  if (state.epoch === undefined || !turn.holdsLease || !view.quorate) return false;
  if (view.disarmed) {
    if (turn.workRuns() || !guards(turn) || !crmKnows(turn)) return true;
    release(turn, "disarm");
    return true;
  }
  if (state.shutdownPlan !== undefined || !guards(turn)) return false;
  if (turn.activeServices().length > 0 || turn.workRuns()) {
    turn.set({ idleRounds: 0 });
    return false;
  }
  if (!view.sameRound && turn.now - state.lastRoundAt >= turn.parameters.roundLength) {
    turn.set({ idleRounds: state.idleRounds + 1, lastRoundAt: turn.now });
  }
  const running = turn.parameters.behaviour === "default" && turn.mayRun().length > 0;
  if (running || turn.state.idleRounds <= turn.parameters.idleRounds) return false;
  turn.event("role.idle", undefined, { rounds: turn.parameters.idleRounds });
  release(turn, "idle");
  return true;
}

/**
 * The CRM counts no guest that runs here as guarded any more: it is frozen, or given up, or under a command that this agent has not
 * answered. Only then may the watchdog be closed: a fence by time-outs would prove nothing for it.
 */
function crmKnows(turn: Turn): boolean {
  if (turn.parameters.behaviour === "reference") return true;
  return Object.entries(turn.view.services).every(([id, service]) => {
    const answered = turn.state.done[id]?.uid === service.command.uid;
    const unguarded = service.state === "Freeze" || service.state === "Error";
    return service.node !== turn.view.node || service.running === false || unguarded || !answered;
  });
}

function guards(turn: Turn): boolean {
  return turn.parameters.behaviour === "reference" || turn.state.mode !== "Idle" || turn.view.watchdog.armed;
}

/**
 * Closes the watchdog, then gives the lease back: a host that reset between the two would otherwise hold no lease that says so. By
 * default the lease is kept as heartbeat, and given back only by an agent that stops when no guest runs here: a free lease proves that.
 */
export function release(turn: Turn, cause: "disarm" | "idle" | "shutdown"): void {
  turn.effect({ type: "disarmWatchdog", cause });
  const keep = turn.parameters.behaviour === "default" && (cause !== "shutdown" || turn.mayRun().length > 0);
  if (!keep) {
    turn.effect({ type: "releaseLease", cause });
    turn.event("lease.released", undefined, { lease: "agent", cause });
    const { epoch: _epoch, ...rest } = turn.state;
    turn.state = rest;
  }
  turn.set({ idleRounds: 0 });
  turn.setMode("Idle");
}

/** By the operator's flag, or because the host goes down and its guests are to leave. */
export function inMaintenance(turn: Turn): boolean {
  return turn.view.maintenance || turn.state.shutdownPlan === "drain" || turn.state.shutdownPlan === "already-drained";
}
