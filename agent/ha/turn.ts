/** What one LRM step works on, and the counts that several of its parts need. Only the step that made it sees it. */
import { lrmEvent } from "./events.ts";
import type { LrmEffect, LrmEvent, LrmParameters, LrmServiceState, LrmState, LrmView, Milliseconds } from "./types.ts";

export class Turn {
  readonly view: LrmView;
  readonly now: Milliseconds;
  readonly parameters: LrmParameters;
  /** As the step found it. */
  readonly before: LrmState;
  state: LrmState;
  readonly effects: LrmEffect[] = [];
  readonly events: LrmEvent[] = [];

  constructor(state: LrmState, view: LrmView, now: Milliseconds, parameters: LrmParameters) {
    this.before = state;
    this.state = state;
    this.view = view;
    this.now = now;
    this.parameters = parameters;
  }

  set(change: Partial<LrmState>): void {
    this.state = { ...this.state, ...change };
  }

  effect(effect: LrmEffect): void {
    this.effects.push(effect);
  }

  event(kind: string, subject: string | undefined, data: Readonly<Record<string, unknown>> = {}): void {
    this.events.push(lrmEvent(kind, subject, data));
  }

  setMode(mode: LrmState["mode"]): void {
    if (mode === this.state.mode) return;
    this.event("role.state", undefined, { from: this.state.mode.toLowerCase(), to: mode.toLowerCase() });
    this.set({ mode });
  }

  /** The lease is this boot's, under the epoch this agent acquired. */
  get holdsLease(): boolean {
    return this.view.lease.holder === "self" && this.state.epoch === this.view.lease.epoch;
  }

  /** Services that need this agent: here and not at rest, or on their way here. */
  activeServices(): string[] {
    const { node, services } = this.view;
    return Object.keys(services).filter((id) => {
      const service = services[id];
      return (
        service !== undefined && (service.target === node || (service.node === node && !AT_REST.has(service.state)))
      );
    });
  }

  /** HA guests of which it is not certain that they do not run here. */
  mayRun(): string[] {
    const { services, work, strays } = this.view;
    const here = Object.keys(services).filter((id) => services[id]?.running !== false || work[id]?.action === "start");
    return [...here, ...strays];
  }

  /** Also what this very step began. */
  workRuns(): boolean {
    return Object.values(this.view.work).some((work) => work.outcome === undefined) || this.begun().length > 0;
  }

  /** The services for which this step began work. */
  begun(): string[] {
    return this.effects.flatMap((effect) =>
      effect.type === "start" || effect.type === "stop" || effect.type === "move" ? [effect.service] : [],
    );
  }
}

const AT_REST = new Set<LrmServiceState>([
  "Stopped",
  "Freeze",
  "Error",
  "RequestStart",
  "Ignored",
  "Fence",
  "Recovery",
]);
