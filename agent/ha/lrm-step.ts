/**
 * One step of the LRM, pure. First what may be held (lease, watchdog), then what ended, then what is begun.
 *
 * Invariants, each checked by a property test: nothing is started unless, in this very view, the lease is this boot's under the epoch
 * it acquired, the partition is quorate, the objects are fresh and the watchdog is armed; a lease found taken makes the watchdog
 * expire while any guest may still run; the watchdog is closed only when no HA guest runs here, or all are frozen or suspended.
 */
import { holdLease, inMaintenance, letGo } from "./lease.ts";
import { planShutdown, shutDown } from "./shutdown.ts";
import { Turn } from "./turn.ts";
import type { LrmParameters, LrmState, LrmStepResult, LrmView, Milliseconds, Outcome, ReportedMode } from "./types.ts";
import { beginWork, takeEndedWork } from "./work.ts";

export const DEFAULT_LRM_PARAMETERS: LrmParameters = {
  behaviour: "default",
  maxWorkers: 4,
  maxMoves: 1,
  roundLength: 10_000,
  idleRounds: 60,
};

/** What an agent begins with. @param results HAResource.status.result of the services here: their commands are not repeated. */
export function initialLrmState(results: Readonly<Record<string, { uid: string; outcome: Outcome }>> = {}): LrmState {
  return {
    mode: "Idle",
    done: results,
    startRetries: {},
    idleRounds: 0,
    lastRoundAt: Number.NEGATIVE_INFINITY,
    begun: [],
    shutdownStops: [],
    exited: false,
  };
}

export function lrmStep(state: LrmState, view: LrmView, now: Milliseconds, parameters: LrmParameters): LrmStepResult {
  const turn = new Turn(state, view, now, parameters);
  if (!state.exited) {
    if (!view.sameRound) turn.set({ begun: [], done: stillHere(turn) });
    planShutdown(turn);
    holdLease(turn);
    takeEndedWork(turn);
    if (!letGo(turn)) beginWork(turn);
    shutDown(turn);
    reportMode(turn);
  }
  return { state: turn.state, effects: turn.effects, events: turn.events };
}

/**
 * The agent is asked to stop: makes the plan and reports it, before the next step acts on it. For a shell that must answer at once.
 */
export function requestShutdown(
  state: LrmState,
  view: LrmView,
  now: Milliseconds,
  parameters: LrmParameters,
): LrmStepResult {
  const turn = new Turn(state, view, now, parameters);
  planShutdown(turn);
  reportMode(turn);
  return { state: turn.state, effects: turn.effects, events: turn.events };
}

/** What ended for services that have left is forgotten. */
function stillHere(turn: Turn): LrmState["done"] {
  const { services } = turn.view;
  if (Object.keys(turn.state.done).every((id) => services[id] !== undefined)) return turn.state.done;
  return Object.fromEntries(Object.entries(turn.state.done).filter(([id]) => services[id] !== undefined));
}

function reportMode(turn: Turn): void {
  const mode = reported(turn);
  if (mode !== turn.view.reportedMode) turn.effect({ type: "setMode", mode });
}

function reported(turn: Turn): ReportedMode {
  if (turn.state.shutdownPlan === "freeze") return "Restart";
  if (inMaintenance(turn)) return "Maintenance";
  if (turn.state.shutdownPlan === "stop") return "Shutdown";
  if (turn.view.disarmed && turn.state.mode === "Idle") return "Disarmed";
  return turn.state.mode;
}
