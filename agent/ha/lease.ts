/**
 * What the agent may hold: its lease under one epoch, and with it the armed watchdog. It gives both back when there is nothing to
 * guard, and lets the host reset when somebody took the lease while guests may run.
 */
import type { Turn } from "./turn.ts";

export function holdLease(turn: Turn): void {
  const { view, state } = turn;
  const { holder, epoch } = view.lease;
  if (state.epoch !== undefined && view.storeReadable && (holder === "crm" || holder === "other" || epoch !== state.epoch)) {
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
    if (!view.quorate) turn.setMode("Lost");
    return;
  }
  if (holder === "self") {
    turn.setMode(inMaintenance(turn) ? "Maintenance" : "Active");
    turn.effect({ type: "renewLease" });
    if (!view.watchdog.armed && !view.disarmed) turn.effect({ type: "armWatchdog" });
  } else {
    turn.setMode("Lost");
    turn.effect({ type: "acquireLease" });
  }
}

function tryAcquire(turn: Turn): void {
  const { view } = turn;
  if (!view.quorate || !view.storeReadable) return;
  if (view.lease.holder === "self") {
    turn.set({ epoch: view.lease.epoch, idleRounds: 0 });
    turn.setMode(inMaintenance(turn) ? "Maintenance" : "Active");
    if (!view.watchdog.armed && !view.disarmed) turn.effect({ type: "armWatchdog" });
    return;
  }
  const needed = turn.activeServices().length > 0 && !view.disarmed && turn.state.shutdownPlan === undefined;
  if (needed && view.lease.holder === "none") turn.effect({ type: "acquireLease" });
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

/** @returns true when the agent lets go of everything and begins nothing. */
export function letGo(turn: Turn): boolean {
  const { view, state } = turn;
  if (state.epoch === undefined || !turn.holdsLease || !view.quorate) return false;
  if (view.disarmed) {
    if (turn.workRuns()) return true;
    release(turn, "disarm");
    return true;
  }
  if (state.shutdownPlan !== undefined) return false;
  if (turn.activeServices().length > 0 || turn.workRuns()) {
    turn.set({ idleRounds: 0 });
    return false;
  }
  if (!view.sameRound) turn.set({ idleRounds: state.idleRounds + 1 });
  const running = turn.parameters.behaviour === "default" && turn.mayRun().length > 0;
  if (running || turn.state.idleRounds <= turn.parameters.idleRounds) return false;
  turn.event("role.idle", undefined, { rounds: turn.parameters.idleRounds });
  release(turn, "idle");
  return true;
}

/** Watchdog first: a host that reset between the two would otherwise hold no lease that says so. */
export function release(turn: Turn, cause: "disarm" | "idle" | "shutdown"): void {
  turn.effect({ type: "disarmWatchdog", cause });
  turn.effect({ type: "releaseLease", cause });
  turn.event("lease.released", undefined, { lease: "agent", cause });
  const { epoch: _epoch, ...rest } = turn.state;
  turn.state = { ...rest, idleRounds: 0 };
  turn.setMode("Idle");
}

/** By the operator's flag, or because the host goes down and its guests are to leave. */
export function inMaintenance(turn: Turn): boolean {
  return turn.view.maintenance || turn.state.shutdownPlan === "drain" || turn.state.shutdownPlan === "already-drained";
}

