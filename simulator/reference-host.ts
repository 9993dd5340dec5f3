/**
 * A host of the round-based world and its agent: the shell around `lrmStep` with the timings of the scenario file. Work is done
 * inline, so the step is called again until it asks for nothing more.
 */
import {
  initialLrmState,
  type LrmEffect,
  type LrmServiceView,
  type LrmState,
  type LrmView,
  type LrmWork,
  lrmStep,
  requestShutdown,
  type ShutdownKind,
} from "../agent/ha/index.ts";
import type { ServiceRecord } from "../controllers/ha/index.ts";
import type { Guests } from "./guests.ts";
import type { Recorder } from "./recorder.ts";
import type { SharedObjects } from "./shared-objects.ts";

export const LEASE_SECONDS = 120;
export const WATCHDOG_SECONDS = 60;
const PARAMETERS = {
  behaviour: "reference",
  maxWorkers: Number.POSITIVE_INFINITY,
  maxMoves: Number.POSITIVE_INFINITY,
  roundLength: 0,
  idleRounds: 60,
} as const;

export interface World {
  readonly objects: SharedObjects;
  readonly guests: Guests;
  readonly recorder: Recorder;
  /** Virtual seconds. */
  now: number;
  quorate(): boolean;
}

export class ReferenceHost {
  readonly name: string;
  readonly #world: World;
  power = false;
  network = false;
  boot = 0;
  agent: LrmState | undefined;
  /** Last renewal of the watchdog by the agent, and by the coordinator while it leads. */
  readonly watchdogs: { agent: number | undefined; coordinator: number | undefined } = {
    agent: undefined,
    coordinator: undefined,
  };
  shutdown: ShutdownKind | undefined;
  storeFault = false;
  skipAgentRounds = 0;
  #work: Record<string, LrmWork> = {};

  constructor(name: string, world: World) {
    this.name = name;
    this.#world = world;
  }

  get online(): boolean {
    return this.power && this.network && this.#world.quorate();
  }

  startAgent(): void {
    this.agent = initialLrmState();
    this.boot += 1;
    this.#work = {};
    this.#event("role", "role.state", { from: "startup", to: "idle" });
  }

  loseAgent(): void {
    if (this.agent) this.#event("role", "role.killed", {});
    this.agent = undefined;
  }

  /** The agent is told at once; it acts in its next step. */
  ask(kind: ShutdownKind): void {
    this.shutdown = kind;
    if (!this.agent || !this.power) return;
    const result = requestShutdown(this.agent, this.#view(false), this.#world.now * 1000, PARAMETERS);
    this.agent = result.state;
    this.#world.recorder.addStepEvents(this.#world.now, "agent", this.name, result.events);
    for (const effect of result.effects) this.#apply(effect);
  }

  /** One round of the agent. @returns true when it exited. */
  step(): boolean {
    if (!this.agent) return false;
    if (this.storeFault) {
      const lease = this.#world.objects.lease(this.name);
      if (lease.holder === "agent" && this.online) {
        lease.renewedAt = this.#world.now * 1000;
        if (this.watchdogs.agent !== undefined) this.watchdogs.agent = this.#world.now;
      }
      return false;
    }
    let sameRound = false;
    for (;;) {
      const result = lrmStep(this.agent, this.#view(sameRound), this.#world.now * 1000, PARAMETERS);
      this.agent = result.state;
      this.#world.recorder.addStepEvents(this.#world.now, "agent", this.name, result.events);
      let again = false;
      for (const effect of result.effects) if (this.#apply(effect)) again = true;
      if (this.agent.exited) return true;
      if (!again) return false;
      sameRound = true;
    }
  }

  watchdogExpired(now: number): boolean {
    const { agent, coordinator } = this.watchdogs;
    return (
      (agent !== undefined && now - agent > WATCHDOG_SECONDS) ||
      (coordinator !== undefined && now - coordinator > WATCHDOG_SECONDS)
    );
  }

  /** @returns true when the step must see what came of it. */
  #apply(effect: LrmEffect): boolean {
    const { objects, now } = this.#world;
    const lease = objects.lease(this.name);
    switch (effect.type) {
      case "acquireLease":
        if (!this.online) return false;
        Object.assign(lease, { holder: "agent", boot: this.boot, epoch: lease.epoch + 1, renewedAt: now * 1000 });
        this.#event("role", "lease.taken", { lease: "agent", node: this.name });
        return true;
      case "renewLease":
        lease.renewedAt = now * 1000;
        if (this.watchdogs.agent !== undefined) this.watchdogs.agent = now;
        return false;
      case "armWatchdog":
        this.watchdogs.agent = now;
        return true;
      case "disarmWatchdog":
        this.watchdogs.agent = undefined;
        return false;
      case "releaseLease":
        lease.holder = "none";
        return false;
      case "setMode":
        if (this.online) objects.agent(this.name).mode = effect.mode;
        return false;
      case "report":
        if (this.online)
          objects.agent(this.name).results.set(effect.service, { uid: effect.uid, outcome: effect.outcome });
        return false;
      case "forgetWork":
        delete this.#work[effect.service];
        return false;
      case "start":
        this.#work[effect.service] = {
          uid: effect.uid,
          action: "start",
          outcome:
            this.#locked(effect.service) || this.#world.guests.start(effect.service, this.name) !== true
              ? "Failed"
              : "Ok",
        };
        return true;
      case "stop":
        this.#work[effect.service] = {
          uid: effect.uid,
          action: "stop",
          outcome:
            this.#locked(effect.service) || !this.#world.guests.stop(effect.service, this.name) ? "Failed" : "Ok",
        };
        return true;
      case "move":
        this.#work[effect.service] = {
          uid: effect.uid,
          action: "move",
          mode: effect.mode,
          outcome: this.#move(effect.service, effect.target, effect.mode) ? "Ok" : "Failed",
        };
        return true;
      default:
        return false;
    }
  }

  #move(id: string, target: string, mode: "live" | "restart"): boolean {
    const { guests, objects } = this.#world;
    if (this.#locked(id) || !guests.move(id, this.name)) return false;
    if (mode === "restart" && guests.runsOn(id, this.name)) {
      this.#event("action", "stop.begin", { subject: id, cause: "move" });
      if (!guests.stop(id, this.name)) {
        this.#event("action", "stop.fail", { subject: id, repeats: true });
        return false;
      }
      this.#event("action", "stop.ok", { subject: id });
    }
    guests.setRunning(id, this.name, false);
    objects.change(id, { node: target });
    return true;
  }

  #locked(id: string): boolean {
    return this.#world.objects.services.get(id)?.lock !== undefined;
  }

  #view(sameRound: boolean): LrmView {
    const { objects, guests } = this.#world;
    const lease = objects.lease(this.name);
    const expired = this.#world.now * 1000 - lease.renewedAt > LEASE_SECONDS * 1000;
    const services: Record<string, LrmServiceView> = {};
    for (const id of objects.servicesOf(this.name)) {
      const record = objects.crm?.services[id];
      if (record) services[id] = lrmService(id, record, objects, guests, this.name);
    }
    const reportedMode = objects.agent(this.name).mode;
    return {
      node: this.name,
      quorate: this.online,
      storeReadable: true,
      lease: {
        holder:
          expired || lease.holder === "none"
            ? "none"
            : lease.holder === "crm"
              ? "crm"
              : lease.boot === this.boot
                ? "self"
                : "none",
        epoch: lease.epoch,
      },
      watchdog: { armed: this.watchdogs.agent !== undefined, expiring: false },
      services,
      strays: [],
      work: { ...this.#work },
      disarmed: objects.crm?.disarm !== undefined,
      maintenance: objects.maintenance.has(this.name),
      ...(this.shutdown === undefined
        ? {}
        : { shutdown: { kind: this.shutdown, policy: objects.scenario.policy.onShutdown } }),
      ...(reportedMode === undefined ? {} : { reportedMode }),
      sameRound,
    };
  }

  #event(eventClass: string, kind: string, data: Readonly<Record<string, unknown>>): void {
    this.#world.recorder.add(this.#world.now, { actor: "agent", at: this.name, class: eventClass, kind, ...data });
  }
}

/** A service as the objects show it to the agent of `node`. */
export function lrmService(
  id: string,
  record: ServiceRecord,
  objects: SharedObjects,
  guests: Guests,
  node: string,
): LrmServiceView {
  const service = objects.services.get(id);
  return {
    state: record.state,
    node: record.node,
    ...(record.target === undefined ? {} : { target: record.target }),
    command: record.command,
    maxRestart: service?.max_restart ?? 0,
    owner: service?.node ?? record.node,
    running: guests.runsOn(id, node),
    canMoveLive: guests.canMoveLive(id),
    ...(service?.lock === undefined ? {} : { lock: service.lock }),
  };
}
