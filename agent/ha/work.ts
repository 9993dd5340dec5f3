/**
 * Commands and their ends. A command is executed once for its uid; two things are kept true instead: a `Started` guest runs, a
 * `Stopped` one does not.
 */
import { endsGuests, hostGoesDown } from "./shutdown.ts";
import type { Turn } from "./turn.ts";
import type { LrmServiceView, LrmWork, Outcome } from "./types.ts";

/** Results of ended work: reported, or tried again here. */
export function takeEndedWork(turn: Turn): void {
  for (const id of Object.keys(turn.view.work).sort()) {
    const work = turn.view.work[id];
    if (!work || work.outcome === undefined) continue;
    turn.effect({ type: "forgetWork", service: id });
    const shown = work.message === undefined ? {} : { message: work.message };
    if (work.action === "start") endStart(turn, id, work, work.outcome, shown);
    else if (work.action === "stop") endStop(turn, id, work, work.outcome, shown);
    else endMove(turn, id, work, work.outcome, shown);
  }
}

function endStart(
  turn: Turn,
  id: string,
  work: LrmWork,
  outcome: Outcome,
  shown: Readonly<Record<string, unknown>>,
): void {
  if (outcome === "Ok") {
    turn.event("start.ok", id, shown);
    setRetries(turn, id, 0);
    report(turn, id, work.uid, "Ok", work.message);
    return;
  }
  if (outcome !== "Failed") {
    report(turn, id, work.uid, outcome, work.message);
    return;
  }
  turn.event("start.fail", id, shown);
  const retries = (turn.state.startRetries[id] ?? 0) + 1;
  const allowed = turn.view.services[id]?.maxRestart ?? 0;
  if (retries <= allowed) {
    turn.event("start.retry-here", id, { n: retries });
    setRetries(turn, id, retries);
    return;
  }
  turn.event("start.give-up", id, { retries: allowed });
  setRetries(turn, id, 0);
  report(turn, id, work.uid, "Failed", work.message);
}

function endStop(
  turn: Turn,
  id: string,
  work: LrmWork,
  outcome: Outcome,
  shown: Readonly<Record<string, unknown>>,
): void {
  if (outcome === "Ok") turn.event("stop.ok", id, shown);
  else turn.event("stop.fail", id, { ...shown, repeats: true });
  const service = turn.view.services[id];
  const commanded = service?.state === "RequestStop" && service.command.uid === work.uid;
  if (commanded) report(turn, id, work.uid, outcome, work.message);
}

function endMove(
  turn: Turn,
  id: string,
  work: LrmWork,
  outcome: Outcome,
  shown: Readonly<Record<string, unknown>>,
): void {
  const service = turn.view.services[id];
  const mode = work.mode ?? "restart";
  const target = service?.target ?? service?.command.target;
  turn.event(outcome === "Ok" ? "move.ok" : "move.fail", id, { mode, target, ...shown });
  // Told to go live it ran. If it no longer does, an earlier try may have carried it over: nobody may start it here.
  const vanished = service?.state === "Migrate" && service.canMoveLive && service.running !== true;
  const unknown = turn.parameters.behaviour === "default" && outcome === "Failed" && vanished;
  report(turn, id, work.uid, unknown ? "WrongNode" : outcome, work.message);
}

/** Begins what the commands ask for, as far as it is allowed now. */
export function beginWork(turn: Turn): void {
  const { view, state } = turn;
  for (const id of [...view.strays].sort()) if (!view.sameRound) turn.event("guest.stray", id);
  if (!turn.holdsLease || !view.quorate || !view.storeReadable || view.watchdog.expiring || view.disarmed) return;
  if (state.mode !== "Active" && state.mode !== "Maintenance") return;
  let workers = Object.values(view.work).filter((work) => work.outcome === undefined).length;
  let moves = Object.values(view.work).filter((work) => work.outcome === undefined && work.action === "move").length;
  for (const id of Object.keys(view.services).sort()) {
    const service = view.services[id];
    if (!service || service.node !== view.node || view.work[id] !== undefined || turn.state.begun.includes(id))
      continue;
    if (workers >= turn.parameters.maxWorkers) return;
    const before = turn.effects.length;
    handle(turn, id, service, moves < turn.parameters.maxMoves);
    const begun = turn.effects[before];
    if (begun === undefined) continue;
    if (begun.type !== "report") {
      workers += 1;
      if (begun.type === "move") moves += 1;
    }
    turn.set({ begun: [...turn.state.begun, id] });
  }
}

function handle(turn: Turn, id: string, service: LrmServiceView, mayMove: boolean): void {
  const { uid } = service.command;
  const done = turn.state.done[id];
  const ended = done?.uid === uid ? done.outcome : undefined;
  if (service.state === "Stopped") {
    if (service.running === true) beginStop(turn, id, service, uid);
    return;
  }
  if (service.state === "Error") {
    if (done?.outcome !== "TryAgain" || done.uid !== uid) {
      turn.event("notify.error-state", id);
      turn.set({ done: { ...turn.state.done, [id]: { uid, outcome: "TryAgain" } } });
    }
    return;
  }
  if (!COMMANDED.has(service.state)) return;
  if (ended !== undefined && (service.state !== "Started" || ended !== "Ok")) return;
  if (service.owner !== turn.view.node) {
    if (turn.parameters.behaviour === "default" && service.state === "Started") return; // the binding may reach us after the status
    turn.event("refused", id, { reason: "wrong-node" });
    report(turn, id, uid, "WrongNode", `the guest belongs to node ${service.owner}`);
    return;
  }
  if (
    turn.parameters.behaviour === "default" &&
    service.lock !== undefined &&
    !(service.state === "Started" && service.running === true)
  ) {
    return; // the lock ends, or somebody removes it; nothing is begun under it
  }
  if (service.state === "Started") beginStart(turn, id, service, uid, ended);
  else if (service.state === "RequestStop") {
    if (service.running === false) report(turn, id, uid, "Ok");
    else beginStop(turn, id, service, uid);
  } else if (mayMove) beginMove(turn, id, service, uid);
}

const COMMANDED = new Set(["Started", "RequestStop", "Migrate", "Relocate", "RequestStartBalance"]);

function beginStart(turn: Turn, id: string, service: LrmServiceView, uid: string, ended: Outcome | undefined): void {
  if (service.running === true) {
    // The answer says that the guest is guarded here, so it waits for the watchdog.
    if (ended === undefined && turn.view.watchdog.armed) report(turn, id, uid, "Ok");
    return;
  }
  if (service.running === "unknown" || !turn.view.watchdog.armed || turn.state.shutdownPlan === "stop") return;
  // The host ends it with itself: systemd starts nothing any more, and a failed start would count against the guest.
  if (turn.parameters.behaviour === "default" && hostGoesDown(turn)) return;
  turn.event("start.begin", id);
  turn.effect({ type: "start", service: id, uid });
}

function beginStop(turn: Turn, id: string, service: LrmServiceView, uid: string): void {
  const timeout = service.state === "RequestStop" ? service.command.stopTimeoutSeconds : undefined;
  turn.event("stop.begin", id, timeout === undefined ? {} : { timeout });
  turn.effect({
    type: "stop",
    service: id,
    uid,
    why: "command",
    ...(timeout === undefined ? {} : { timeoutSeconds: timeout }),
  });
}

function beginMove(turn: Turn, id: string, service: LrmServiceView, uid: string): void {
  const target = service.target ?? service.command.target;
  if (target === undefined) return;
  if (turn.parameters.behaviour === "default" && endsGuests(turn)) return;
  const live = service.state === "Migrate" && (service.canMoveLive || service.running === false);
  const mode = live ? "live" : "restart";
  turn.event("move.begin", id, { mode, target });
  turn.effect({ type: "move", service: id, uid, target, mode });
}

function report(turn: Turn, id: string, uid: string, outcome: Outcome, message?: string): void {
  turn.set({ done: { ...turn.state.done, [id]: { uid, outcome } } });
  turn.effect({ type: "report", service: id, uid, outcome, ...(message === undefined ? {} : { message }) });
}

function setRetries(turn: Turn, id: string, retries: number): void {
  const { [id]: _old, ...others } = turn.state.startRetries;
  turn.set({ startRetries: retries === 0 ? others : { ...others, [id]: retries } });
}
