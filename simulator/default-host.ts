/**
 * A host of the event-driven world: its watchdog, its keeper, and its agent (the shell around `lrmStep`). The keeper pets by the proof
 * of quorum alone; the agent can die, freeze or lose the API without touching it.
 */
import {
  DEFAULT_LRM_PARAMETERS,
  initialLrmState,
  type LrmEffect,
  type LrmServiceView,
  type LrmState,
  type LrmView,
  lrmStep,
  type ShutdownKind,
} from "../agent/ha/index.ts";
import type { DoubtLimits } from "../agent/keeper/index.ts";
import type { MembershipReport, ServiceRecord, ServiceResult, Timings } from "../controllers/ha/index.ts";
import { CLOSING_MS, CLOSING_RENEWAL_MS } from "../crds/index.ts";
import type { Corosync } from "./corosync.ts";
import type { Defect } from "./defects.ts";
import type { EventQueue } from "./event-queue.ts";
import type { Guests } from "./guests.ts";
import { HostWatchdog } from "./host-watchdog.ts";
import { HostWork } from "./host-work.ts";
import type { Recorder } from "./recorder.ts";
import { lrmService } from "./reference-host.ts";
import type { ScenarioService } from "./scenario.ts";
import type { SharedObjects } from "./shared-objects.ts";

const STEP = 2000;
const RESYNC = 10_000;
const PARAMETERS = { ...DEFAULT_LRM_PARAMETERS, maxMoves: 4 };

export interface DefaultWorldParts {
  readonly queue: EventQueue;
  readonly objects: SharedObjects;
  readonly guests: Guests;
  readonly recorder: Recorder;
  readonly corosync: Corosync;
  readonly timings: Timings;
  /** When a keeper believes corosync again. */
  readonly doubt: DoubtLimits;
  readonly defect: Defect;
  /** Objects changed: the CRM sees it in its next step. With a node: its agent looks at once; `urgent`: the CRM too. */
  touched(node?: string, urgent?: "urgent"): void;
  hostReset(host: DefaultHost, cause: string): void;
  hostDown(host: DefaultHost): void;
  agentStarted(node: string): void;
  guestStarted(id: string, node: string, holdsLease: boolean): void;
}

export class DefaultHost {
  readonly name: string;
  readonly #parts: DefaultWorldParts;
  readonly #phase: number;
  power = false;
  boot = 0;
  /** What its wall clock is wrong by, milliseconds; nothing may depend on it. */
  wallOffset = 0;
  frozen = false;
  apiReachable = true;
  agent: LrmState | undefined;
  agentFrozen = false;
  shutdown: ShutdownKind | undefined;
  readonly watchdog: HostWatchdog;
  readonly #work: HostWork;
  #renewedAt = Number.NEGATIVE_INFINITY;
  /** When it reported another membership than before. */
  #changedAt = Number.NEGATIVE_INFINITY;
  #reported = "";
  #life = 0;
  #stepPlanned = false;
  /** The last step found nothing to do and nothing has changed since: until `RESYNC` only the heartbeat goes on. */
  #quietSince: number | undefined;
  #provenBefore = false;
  readonly #views = new Map<
    string,
    { record: ServiceRecord; service: ScenarioService | undefined; view: LrmServiceView }
  >();

  constructor(name: string, index: number, parts: DefaultWorldParts) {
    this.name = name;
    this.#parts = parts;
    this.#phase = (index * 137) % STEP;
    this.watchdog = new HostWatchdog({
      queue: parts.queue,
      timings: parts.timings,
      runs: () => this.power && !this.frozen,
      corosync: () => parts.corosync.membership(name),
      doubt: parts.doubt,
      proves: (proven) => this.#pets(proven),
      fires: () => parts.hostReset(this, "watchdog"),
    });
    this.#work = new HostWork({
      queue: parts.queue,
      guests: parts.guests,
      corosync: parts.corosync,
      node: name,
      isFrozen: () => this.frozen,
      agentLife: () => {
        const life = this.#life;
        return () => life === this.#life && this.power;
      },
      guestStarted: (id) => {
        const { holder, boot, epoch } = parts.objects.lease(name);
        parts.guestStarted(id, name, holder === "agent" && boot === this.boot && epoch === this.agent?.epoch);
      },
      ended: () => this.nudge(),
    });
  }

  powerOn(): void {
    this.power = true;
    this.frozen = false;
    this.boot += 1;
    this.shutdown = undefined;
    this.#provenBefore = false;
    this.watchdog.reset();
    this.startAgent();
  }

  /** Everything of this boot is gone, guests included. */
  powerOff(): void {
    this.power = false;
    this.frozen = false;
    this.agent = undefined;
    this.#life += 1;
    this.watchdog.reset();
    this.#parts.guests.lose(this.name);
  }

  startAgent(): void {
    const results = Object.fromEntries(this.#parts.objects.agent(this.name).results);
    this.agent = initialLrmState(results);
    this.agentFrozen = false;
    this.#work.reset();
    this.#renewedAt = Number.NEGATIVE_INFINITY;
    this.#life += 1;
    this.#parts.agentStarted(this.name);
    const life = this.#life;
    const loop = (): void => {
      if (life !== this.#life || !this.agent) return;
      this.step();
      this.#parts.queue.after(STEP, loop);
    };
    this.#parts.queue.after(this.#phase, loop);
  }

  killAgent(): void {
    this.agent = undefined;
    this.#life += 1;
  }

  /** Look at the objects soon: something of this node changed. */
  nudge(): void {
    this.#quietSince = undefined;
    if (this.#stepPlanned || !this.agent) return;
    this.#stepPlanned = true;
    const life = this.#life;
    this.#parts.queue.after(50, () => {
      this.#stepPlanned = false;
      if (life === this.#life) this.step();
    });
  }

  #pets(proven: boolean): boolean {
    const pets = this.#parts.defect.pets;
    if (pets === undefined) return proven;
    this.#provenBefore ||= proven;
    return pets({ proven, provenBefore: this.#provenBefore, apiReachable: this.apiReachable });
  }

  /** The keeper ends. */
  killKeeper(): void {
    this.watchdog.keeper = "dead";
    if (this.#parts.defect.keeperCloses === true) this.watchdog.close();
    this.watchdog.check();
  }

  report(): MembershipReport {
    const { quorate, members, ringId, qdeviceVotes } = this.#parts.corosync.membership(this.name);
    return { quorate, members, ringId, qdeviceVotes };
  }

  step(): void {
    if (!this.agent || !this.power || this.frozen || this.agentFrozen) return;
    if (this.#quietSince !== undefined && this.#parts.queue.now - this.#quietSince < RESYNC) {
      const lease = this.#parts.objects.lease(this.name);
      const holds = lease.holder === "agent" && lease.boot === this.boot && lease.epoch === this.agent.epoch;
      if (holds && this.#parts.corosync.membership(this.name).quorate) this.#renew();
      if (holds) return;
    }
    let sameRound = false;
    for (let i = 0; i < 50; i += 1) {
      const before = this.agent;
      const { defect } = this.#parts;
      const seen = this.#view(sameRound);
      const view = defect.lrmView?.(seen, before) ?? seen;
      const result = lrmStep(before, view, this.#parts.queue.now, PARAMETERS);
      this.agent = defect.lrmState?.(result.state) ?? result.state;
      this.#parts.recorder.addStepEvents(this.#parts.queue.now / 1000, "agent", this.name, result.events);
      let again = false;
      for (const effect of result.effects) if (this.#apply(effect)) again = true;
      if (this.agent.exited) {
        this.killAgent();
        this.#parts.hostDown(this);
        return;
      }
      if (!again) {
        const quiet =
          result.effects.every((effect) => effect.type === "renewLease") &&
          Object.keys(this.#work.current).length === 0;
        this.#quietSince = quiet ? this.#parts.queue.now : undefined;
        return;
      }
      sameRound = true;
    }
  }

  #apply(effect: LrmEffect): boolean {
    const { objects, queue } = this.#parts;
    const lease = objects.lease(this.name);
    switch (effect.type) {
      case "acquireLease":
        if (!this.apiReachable || (lease.holder !== "none" && !(lease.holder === "agent" && lease.boot !== this.boot)))
          return false;
        Object.assign(lease, {
          holder: "agent",
          boot: this.boot,
          epoch: lease.epoch + 1,
          renewedAt: queue.now + this.wallOffset,
        });
        this.#writeReport();
        this.#event("role", "lease.taken", { lease: "agent", node: this.name });
        return true;
      case "renewLease":
        this.#renew();
        return false;
      case "releaseLease":
        if (!this.apiReachable) return false;
        lease.holder = "none";
        this.#parts.touched(undefined, "urgent");
        return false;
      case "armWatchdog":
        if (!this.watchdog.arm()) return false;
        this.#event("role", "watchdog.armed", {});
        return true;
      case "disarmWatchdog":
        if (this.watchdog.keeper === "runs") this.watchdog.close();
        return false;
      case "expireWatchdog":
        this.#event("role", "watchdog.expires", { why: effect.why });
        this.watchdog.expire();
        return false;
      case "setMode":
        if (this.apiReachable) objects.agent(this.name).mode = effect.mode;
        this.#parts.touched();
        return false;
      case "report":
        this.#report(effect.service, { uid: effect.uid, outcome: effect.outcome });
        return false;
      case "forgetWork":
        this.#work.forget(effect.service);
        return false;
      case "start":
      case "stop":
      case "move":
        this.#work.begin(effect);
        return false;
      case "exit":
        return false;
    }
  }

  /** A result must reach the objects: it is written again until it does. */
  #report(service: string, result: ServiceResult): void {
    const life = this.#life;
    const write = (): void => {
      if (life !== this.#life) return;
      if (!this.apiReachable || this.frozen) {
        if (this.#parts.defect.resultsOnce !== true) this.#parts.queue.after(STEP, write);
        return;
      }
      this.#parts.objects.agent(this.name).results.set(service, result);
      this.#parts.touched();
    };
    write();
  }

  #renew(): void {
    const { queue, objects, timings } = this.#parts;
    const report = JSON.stringify(this.report());
    const interval = this.#isClosing() ? CLOSING_RENEWAL_MS : timings.leaseRenewal.milliseconds;
    const due = queue.now - this.#renewedAt >= interval - 50;
    if (!this.apiReachable || (!due && report === this.#reported)) return;
    objects.lease(this.name).renewedAt = queue.now + this.wallOffset;
    this.#writeReport();
  }

  #writeReport(): void {
    this.#renewedAt = this.#parts.queue.now;
    const report = this.report();
    const changed = JSON.stringify(report) !== this.#reported;
    this.#reported = JSON.stringify(report);
    this.#parts.objects.reports.set(this.name, report);
    if (changed || this.#isClosing()) this.#parts.touched(undefined, "urgent");
    if (!changed) return;
    this.#changedAt = this.#renewedAt;
    this.#close();
  }

  #isClosing(): boolean {
    const since = this.#parts.queue.now - this.#changedAt - this.#parts.timings.fenceDelay.milliseconds;
    return since >= 0 && since < CLOSING_MS;
  }

  /** The words a proof ends with come between the steps too. */
  #close(): void {
    const [life, began] = [this.#life, this.#changedAt];
    const beat = (): void => {
      const { queue, objects, corosync } = this.#parts;
      if (life !== this.#life || began !== this.#changedAt || !this.#isClosing()) return;
      const lease = objects.lease(this.name);
      const holds = lease.holder === "agent" && lease.boot === this.boot && lease.epoch === this.agent?.epoch;
      const works = this.agent !== undefined && this.power && !this.frozen && !this.agentFrozen;
      if (works && holds && corosync.membership(this.name).quorate) this.#renew();
      queue.after(CLOSING_RENEWAL_MS, beat);
    };
    this.#parts.queue.after(this.#parts.timings.fenceDelay.milliseconds, beat);
  }

  #view(sameRound: boolean): LrmView {
    const { objects, guests, corosync } = this.#parts;
    const lease = objects.lease(this.name);
    const services: Record<string, LrmServiceView> = {};
    const crm = objects.crm;
    for (const id of objects.servicesOf(this.name)) {
      const record = crm?.services[id];
      if (record) services[id] = this.#serviceView(id, record);
    }
    const strays: string[] = [];
    for (const id of guests.runningOn(this.name))
      if (services[id] === undefined && crm?.services[id] !== undefined && this.#work.current[id] === undefined)
        strays.push(id);
    const reportedMode = objects.agent(this.name).mode;
    const holder = lease.holder === "agent" ? (lease.boot === this.boot ? "self" : "none") : lease.holder;
    return {
      node: this.name,
      quorate: corosync.membership(this.name).quorate,
      storeReadable: this.apiReachable,
      lease: { holder, epoch: lease.epoch },
      watchdog: { armed: this.watchdog.armed && this.watchdog.keeper === "runs", expiring: this.watchdog.expiring },
      services,
      strays,
      work: { ...this.#work.current },
      disarmed: crm?.disarm?.agreed === true,
      maintenance: objects.maintenance.has(this.name),
      ...(this.shutdown === undefined
        ? {}
        : { shutdown: { kind: this.shutdown, policy: objects.scenario.policy.onShutdown } }),
      ...(reportedMode === undefined ? {} : { reportedMode }),
      sameRound,
    };
  }

  /** The last view is given again while nothing in it changed. */
  #serviceView(id: string, record: ServiceRecord): LrmServiceView {
    const { objects, guests } = this.#parts;
    const service = objects.services.get(id);
    const known = this.#views.get(id);
    if (known?.record === record && known.service === service && known.view.running === guests.runsOn(id, this.name))
      return known.view;
    const view = lrmService(id, record, objects, guests, this.name);
    this.#views.set(id, { record, service, view });
    return view;
  }

  #event(eventClass: string, kind: string, data: Readonly<Record<string, unknown>>): void {
    this.#parts.recorder.add(this.#parts.queue.now / 1000, {
      actor: "agent",
      at: this.name,
      class: eventClass,
      kind,
      ...data,
    });
  }
}
