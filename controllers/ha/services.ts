/**
 * The state machine of one service: what its state becomes, given its node, what the user wants and what its agent reported. A
 * handler changes the state at most once; the step calls them again until nothing changes.
 */
import { place } from "./placement.ts";
import { fence, freeze, recovery } from "./recovery.ts";
import type { Round } from "./round.ts";
import { type Case, fail, fenceIfLost, takeResult } from "./service-case.ts";
import type { ServiceRecord, ServiceState, ServiceView } from "./types.ts";

type Handler = (service: Case) => void;

const HANDLERS: Readonly<Record<ServiceState, Handler>> = {
  RequestStart: requestStart,
  RequestStartBalance: moving,
  Started: started,
  RequestStop: requestStop,
  Stopped: stopped,
  Fence: fence,
  Recovery: recovery,
  Freeze: freeze,
  Migrate: moving,
  Relocate: moving,
  Error: error,
  Ignored: () => undefined,
};

/** Lets one service take its next step. A service that is not in the view is left as it is. */
export function stepService(round: Round, id: string): void {
  const record = round.services.get(id);
  const view = round.view.services[id];
  if (record && view) HANDLERS[record.state]({ round, id, record, view });
}

function requestStart({ round, id, record, view }: Case): void {
  const { policy } = round.view;
  if (policy.rebalanceOnStart && policy.scheduler !== "basic" && round.isOnline(record.node)) {
    if (!round.reference && waitsForAgents(round, record)) return;
    const { node } = place(round, id, record, "start");
    if (node !== undefined && round.disarm === undefined) {
      round.event("service.place", "service", id, { node, cause: "start", moved: node !== record.node });
      if (node !== record.node) {
        round.setState(id, "RequestStartBalance", { target: node, shown: { node: record.node, target: node } });
        return;
      }
    }
  }
  if (view.requested === "Started") round.setState(id, "Started", { shown: { node: record.node } });
  else round.setState(id, "RequestStop");
}

/** Just after the start of a cluster some agents are not there yet: what is placed now would crowd the others' nodes. */
function waitsForAgents(round: Round, record: ServiceRecord): boolean {
  const missing = Object.values(round.view.nodes).some((node) => node.member && !node.agentAlive);
  return missing && round.now - record.since < round.parameters.startGrace;
}

function started(service: Case): void {
  const { round, id, record, view } = service;
  if (fenceIfLost(service)) return;
  if (!round.isOnline(record.node)) return;
  if (freezeForRestart(service)) return;
  if (obeyRequest(service)) return;
  if (view.requested !== "Started") {
    round.setState(id, "RequestStop", stopChange(view));
    return;
  }
  if (!round.reference && view.owner !== record.node && round.now - record.since > BINDING_GRACE) {
    // Somebody moved it by hand, or made it anew: where it runs is for a person to say.
    round.event("service.bound-elsewhere", "service", id, { node: record.node, owner: view.owner });
    round.setState(id, "Error");
    return;
  }
  const result = takeResult(service);
  if (result === "Failed") {
    afterFailedStart(service);
    return;
  }
  if (result === "WrongNode") {
    fail(service, "start", { reason: "wrong-node" });
    return;
  }
  if (result === "Ok" && record.triedNodes.length > 0) {
    round.event("service.start-ok-after-failures", "service", id, { node: record.node, tried: record.triedNodes });
    round.amend(id, { triedNodes: [], relocations: 0 });
  } else if (result === "Ok" && record.balanceBackoff !== undefined) {
    round.amend(id, {}, ["balanceBackoff"]);
  }
  if (round.disarm === undefined) stayOrMove(service);
}

/** A binding that was just written may reach this view after the status. */
const BINDING_GRACE = 10_000;

/** An agent that restarts, or a host that reboots, keeps its guests: they are frozen until it is back. */
function freezeForRestart({ round, id, record }: Case): boolean {
  if (round.view.nodes[record.node]?.agentMode !== "Restart") return false;
  round.setState(id, "Freeze");
  return true;
}

function stayOrMove({ round, id, record, view }: Case): void {
  const home = homeAfterChecks(round, id, record);
  const agentLost = round.view.nodes[record.node]?.agentAlive === false;
  if (agentLost) return; // nobody is there to move it away
  if (!round.reference && record.moveBackoff && round.now < record.moveBackoff.notBefore) return;
  const { node } = place(round, id, { ...record, ...(home === undefined ? {} : { home }) }, "stay");
  if (node === undefined || node === record.node) return;
  if (node === home) round.event("service.move.back", "service", id, { target: node, cause: "maintenance-end" });
  startMove(round, id, record, node, movesLive(round, view) ? "live" : "restart", "placement");
}

/** What does not run is not carried live: its agent takes a live move for the word that it did. */
function movesLive(round: Round, view: ServiceView): boolean {
  return view.canMoveLive && (round.reference || view.running);
}

/** Marks the home of a service whose node is in maintenance, and forgets it when the service is at home on an online node. */
function homeAfterChecks(round: Round, id: string, record: ServiceRecord): string | undefined {
  const state = round.nodes.get(record.node)?.state;
  if (state === "Maintenance" && record.home === undefined) {
    round.amend(id, { home: record.node });
    return record.node;
  }
  if (state === "Online" && record.home === record.node) {
    round.event("service.home.cleared", "service", id, { node: record.node });
    round.amend(id, {}, ["home"]);
    return undefined;
  }
  return record.home;
}

function startMove(
  round: Round,
  id: string,
  record: ServiceRecord,
  target: string,
  mode: "live" | "restart",
  cause: string,
): void {
  round.event("service.move.chosen", "service", id, { target, mode, cause });
  const to = mode === "live" ? "Migrate" : "Relocate";
  round.setState(id, to, { target, shown: { node: record.node, target } });
}

/** @returns true when a queued request of the operator was acted on. */
function obeyRequest({ round, id, record, view }: Case): boolean {
  const request = record.queued;
  if (!request || round.disarm !== undefined) return false;
  if (request.op === "stop") {
    if (record.state === "Stopped") {
      round.event("command.ignored", "service", id, { op: "stop", reason: "already-stopped" });
      round.amend(id, {}, ["queued"]);
      return false;
    }
    round.event("service.stop.requested", "service", id, { timeout: request.timeout });
    round.setState(id, "RequestStop", { stopTimeoutSeconds: request.timeout, shown: { timeout: request.timeout } });
    return true;
  }
  if (request.target === record.node || !round.placeable.includes(request.target)) {
    const reason = request.target === record.node ? "already-there" : "target-not-online";
    round.event("command.ignored", "service", id, { op: "move", mode: request.mode, target: request.target, reason });
    round.amend(id, {}, ["queued"]);
    return false;
  }
  if (!round.reference && record.home !== undefined) round.amend(id, {}, ["home"]); // the operator knows better than the home mark
  if (record.state === "Stopped") {
    const to = request.mode === "live" && round.reference ? "Migrate" : "Relocate";
    round.setState(id, to, { target: request.target, shown: { node: record.node, target: request.target } });
    return true;
  }
  const mode = request.mode === "live" && !round.reference && !movesLive(round, view) ? "restart" : request.mode;
  startMove(round, id, round.services.get(id) ?? record, request.target, mode, "command");
  return true;
}

function afterFailedStart(service: Case): void {
  const { round, id, record, view } = service;
  if (!round.reference && record.triedNodes.length === 0)
    round.amend(id, { balanceBackoff: nextBalance(round, record) });
  const triedNodes = [...record.triedNodes, record.node];
  if (triedNodes.length > view.maxRelocate) {
    round.event("service.start-failed", "service", id, { next: "error", tried: triedNodes }, "err");
    round.setState(id, "Error", { triedNodes });
    return;
  }
  round.event("service.start-failed", "service", id, { node: record.node, next: "try-next-node" }, "warning");
  const { node } = place(round, id, { ...record, triedNodes }, "retry");
  if (node === undefined || node === record.node) {
    round.event("service.start-failed", "service", id, { next: "retry-here", tried: triedNodes }, "warning");
    round.amend(id, { triedNodes, relocations: triedNodes.length });
    round.renewCommand(id);
    return;
  }
  round.event("service.move.chosen", "service", id, { target: node, mode: "restart", cause: "placement" });
  round.setState(id, "Relocate", { target: node, triedNodes, shown: { node: record.node, target: node } });
}

function moving(service: Case): void {
  const { round, id, record, view } = service;
  if (fenceIfLost(service)) return;
  if (!round.isOnline(record.node) || record.target === undefined) return;
  const result = takeResult(service);
  if (result === undefined || result === "TryAgain" || result === "Locked") return;
  if (result === "WrongNode") {
    fail(service, "move", { reason: "wrong-node" });
    return;
  }
  const next: ServiceState = view.requested === "Started" ? "Started" : "RequestStop";
  if (result === "Ok") {
    const node = record.target;
    round.bind(id, node);
    const home = node === record.home ? { home: undefined } : {};
    // What arrived live runs already; what arrived stopped is started by an agent with an armed watchdog.
    const guarded = record.state !== "Migrate";
    round.setState(id, next, { node, ...home, guarded, moveBackoff: undefined, shown: { node } });
    return;
  }
  round.event("service.failed", "service", id, { what: "move", code: 1 });
  const moveBackoff = nextBackoff(round, record);
  if (moveBackoff)
    round.event("service.move.postponed", "service", id, {
      failures: moveBackoff.failures,
      seconds: (moveBackoff.notBefore - round.now) / 1000,
    });
  round.setState(id, next, { node: record.node, moveBackoff, shown: { node: record.node } });
}

/** A guest that does not start elsewhere would be pulled down again and again for the sake of the balance. */
function nextBalance(round: Round, { balanceBackoff }: ServiceRecord): ServiceRecord["balanceBackoff"] & object {
  const failures = (balanceBackoff?.failures ?? 0) + 1;
  const pause = BALANCE_PAUSES * round.parameters.moveRetryDelay;
  return { failures, notBefore: round.now + pause * 2 ** Math.min(failures - 1, 5) };
}

/** In pauses after a failed move: five minutes with the defaults. */
const BALANCE_PAUSES = 30;

function nextBackoff(round: Round, record: ServiceRecord): ServiceRecord["moveBackoff"] {
  if (round.reference) return undefined;
  const failures = (record.moveBackoff?.failures ?? 0) + 1;
  return { failures, notBefore: round.now + round.parameters.moveRetryDelay * 2 ** Math.min(failures - 1, 5) };
}

function requestStop(service: Case): void {
  const { round, id, record } = service;
  if (fenceIfLost(service)) return;
  if (!round.isOnline(record.node)) return;
  const result = takeResult(service);
  if (result === "Ok") round.setState(id, "Stopped");
  else if (result === "Failed") fail(service, "stop", { code: 1 });
  else if (result === "WrongNode") fail(service, "stop", { reason: "wrong-node" });
  else freezeForRestart(service);
}

function stopped(service: Case): void {
  const { round, id, record, view } = service;
  const maintained = round.nodes.get(record.node)?.state === "Maintenance"; // what is stopped there waits for its end
  if (view.requested === "Stopped" && !maintained && fenceIfLost(service)) return;
  if (round.isOnline(record.node)) {
    if (freezeForRestart(service)) return;
    if (obeyRequest(service)) return;
  }
  if (view.requested === "Started") round.setState(id, "RequestStart", { shown: { node: record.node } });
}

/** A service in Error is left alone; the way out is to disable it, so that somebody has looked at it. */
function error({ round, id, view }: Case): void {
  // Its agent had nothing more to do for it, and may have closed the watchdog while it runs.
  if (view.requested === "Disabled") round.setState(id, "Stopped", { triedNodes: [], guarded: false });
}

function stopChange(view: ServiceView): { stopTimeoutSeconds?: number } {
  return view.stopTimeoutSeconds === undefined ? {} : { stopTimeoutSeconds: view.stopTimeoutSeconds };
}
