/** What the agent of a simulated host does to guests: starts, stops and moves take their time, fail, or never end. */
import type { LrmEffect, LrmWork } from "../agent/ha/index.ts";
import type { Corosync } from "./corosync.ts";
import type { EventQueue } from "./event-queue.ts";
import type { Guests } from "./guests.ts";

const START = 1000;
const STOP = 1000;
const MOVE = 3000;
/** A hung start is given up after this. */
const START_TIMEOUT = 60_000;
/** A host that stands still is looked at this often. */
const LOOK = 2000;

type GuestEffect = Extract<LrmEffect, { type: "start" | "stop" | "move" }>;

export interface WorkParts {
  readonly queue: EventQueue;
  readonly guests: Guests;
  readonly corosync: Corosync;
  readonly node: string;
  isFrozen(): boolean;
  /** @returns whether the agent that is there now is there still, and its host has power. */
  agentLife(): () => boolean;
  guestStarted(id: string): void;
  ended(): void;
}

export class HostWork {
  readonly #parts: WorkParts;
  /** By service; ended work stays until it is forgotten. */
  #work: Record<string, LrmWork> = {};

  constructor(parts: WorkParts) {
    this.#parts = parts;
  }

  get current(): Readonly<Record<string, LrmWork>> {
    return this.#work;
  }

  /** A new agent knows nothing of the work of the one before. */
  reset(): void {
    this.#work = {};
  }

  forget(service: string): void {
    delete this.#work[service];
  }

  begin(effect: GuestEffect): void {
    const { service, uid } = effect;
    const { guests, node } = this.#parts;
    if (effect.type === "start") this.#take(service, { uid, action: "start" }, START, () => this.#start(service));
    else if (effect.type === "stop")
      this.#take(service, { uid, action: "stop" }, STOP, () => guests.stop(service, node));
    else this.#take(service, { uid, action: "move", mode: effect.mode }, MOVE, () => this.#move(effect));
  }

  #take(service: string, work: LrmWork, duration: number, end: () => boolean | "hangs"): void {
    const { queue, isFrozen, agentLife } = this.#parts;
    this.#work[service] = work;
    const lives = agentLife();
    /** What would happen now happens when the host goes on, if it does in this life of the agent. */
    const onceAwake = (run: () => void): void => {
      if (!lives()) return;
      if (isFrozen()) queue.after(LOOK, () => onceAwake(run));
      else run();
    };
    const finish = (ok: boolean): void => {
      this.#work[service] = { ...work, outcome: ok ? "Ok" : "Failed" };
      this.#parts.ended();
    };
    const ended = (): void => {
      const outcome = end();
      if (outcome === "hangs") queue.after(START_TIMEOUT, () => onceAwake(() => finish(false)));
      else finish(outcome);
    };
    queue.after(duration, () => onceAwake(ended));
  }

  #start(id: string): boolean | "hangs" {
    const started = this.#parts.guests.start(id, this.#parts.node);
    if (started === true) this.#parts.guestStarted(id);
    return started;
  }

  #move({ service, target, mode }: Extract<GuestEffect, { type: "move" }>): boolean {
    const { guests, corosync, node } = this.#parts;
    if (!corosync.connected(node, target) || !guests.move(service, node)) return false;
    const ran = guests.runsOn(service, node);
    if (mode === "restart" && !guests.stop(service, node)) return false;
    guests.setRunning(service, node, false);
    if (mode === "live" && ran) guests.setRunning(service, target, true);
    return true;
  }
}
