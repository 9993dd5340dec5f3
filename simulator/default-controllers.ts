/**
 * The CRM of the event-driven world: a Deployment with one leader and a standby that watches the Leases too. The shell around `crmStep`
 * and the fence gate; a new leader starts with the records in the objects and what it has watched itself.
 */
import {
  type CrmEffect,
  type CrmState,
  type CrmView,
  crmStep,
  currentMembership,
  DEFAULT_CRM_PARAMETERS,
  type FenceObservations,
  type FenceVerdict,
  fenceGate,
  type GateParameters,
  initialCrmState,
  type LeaseSample,
  type MembershipView,
  type NodeView,
  observeLeases,
  type ServiceRecord,
} from "../controllers/ha/index.ts";
import type { DefaultWorldParts } from "./default-host.ts";

const STEP = 500;
/** Without any change the services are looked at this often. */
const RESYNC = 10_000;

export interface ControllersParts extends DefaultWorldParts {
  readonly nodes: readonly string[];
  readonly votes: Readonly<Record<string, number>>;
  readonly qdeviceVotes: number;
  /** Changes with whatever the CRM looks at. */
  readonly version: { count: number };
  powerOffByDevice(node: string): void;
  recordWritten(service: string, record: ServiceRecord): void;
}

export class Controllers {
  readonly #parts: ControllersParts;
  readonly #gate: GateParameters;
  /** What the leader has in memory; the objects have what it wrote. */
  #state: CrmState | undefined;
  #leaderships = 0;
  #life = 0;
  #observations: FenceObservations = {};
  /** The same, but begun anew after every moment with a quorum override: time under it proves nothing. Absent: there was none. */
  #sinceOverride: FenceObservations | undefined;
  /** When the replica that leads next began to watch, and the one after it. */
  #standbySince = 0;
  #replacementSince = 0;
  #lastFull = Number.NEGATIVE_INFINITY;
  #lastSeen = "";
  #stepSoon = false;
  leads = false;
  apiReachable = true;
  /** Die right after applying an effect of this type. */
  crashAfter: { readonly effect: CrmEffect["type"]; readonly standby: boolean } | undefined;
  readonly hardware = new Map<string, { works: boolean; only: boolean; confirmed: boolean; asked: boolean }>();

  constructor(parts: ControllersParts) {
    this.#parts = parts;
    const { fenceDelay, leaseDuration, reportFreshness } = parts.timings;
    const gate = {
      fenceDelay: fenceDelay.milliseconds,
      leaseDuration: leaseDuration.milliseconds,
      reportFreshness: reportFreshness.milliseconds,
    };
    this.#gate = parts.defect.gate?.(gate) ?? gate;
  }

  /** The replicas start. */
  start(): void {
    const { queue } = this.#parts;
    const loop = (): void => {
      if (this.leads) this.step();
      else if (this.apiReachable) this.#observe();
      queue.after(STEP, loop);
    };
    this.lead();
    queue.after(STEP, loop);
  }

  /** A replica becomes leader now. */
  lead(): void {
    const { objects } = this.#parts;
    this.#leaderships += 1;
    this.#life += 1;
    this.leads = true;
    this.#observations = seenSince(this.#observations, this.#standbySince);
    if (this.#sinceOverride !== undefined) this.#sinceOverride = seenSince(this.#sinceOverride, this.#standbySince);
    this.#standbySince = this.#replacementSince;
    this.#lastFull = Number.NEGATIVE_INFINITY;
    const old = objects.crm;
    const nodes = Object.fromEntries(Object.entries(old?.nodes ?? {}).map(([name, record]) => [name, record.state]));
    this.#state = initialCrmState(withoutVolatile(old?.services ?? {}), nodes, this.#now(), old?.disarm);
    this.#event("role.state", { from: "standby", to: "leader" });
  }

  /** The leader dies, and the standby too unless there is one; who leads after `delay` milliseconds has watched as long as it ran. */
  crash(delay: number, standby = true): void {
    if (!this.leads) return;
    const { now } = this.#parts.queue;
    this.leads = false;
    this.#life += 1;
    this.#event("role.killed", {});
    this.#replacementSince = now;
    if (!standby) this.#standbySince = now;
    this.#parts.queue.after(delay, () => this.lead());
  }

  nudge(): void {
    if (this.#stepSoon) return;
    this.#stepSoon = true;
    const life = this.#life;
    this.#parts.queue.after(50, () => {
      this.#stepSoon = false;
      if (life === this.#life) this.step();
    });
  }

  step(): void {
    if (!this.leads || !this.apiReachable) return;
    const { objects, recorder, queue } = this.#parts;
    this.#observe();
    const requests = objects.requests;
    const membership = currentMembership(this.#observations, this.#now(), this.#gate);
    if (!membership.quorate || !this.#due(membership)) return;
    let view = this.#view(false, requests);
    objects.requests = [];
    let result = crmStep(
      this.#state ?? initialCrmState({}, {}, this.#now()),
      view,
      this.#now(),
      DEFAULT_CRM_PARAMETERS,
    );
    for (let i = 0; i < 20; i += 1) {
      recorder.addStepEvents(queue.now / 1000, "coordinator", undefined, result.events);
      const took = this.#applyAll(result.effects);
      if (took === "crashed") return;
      this.#state = result.state;
      if (!took) break;
      view = this.#view(true, []);
      result = crmStep(result.state, view, this.#now(), DEFAULT_CRM_PARAMETERS);
    }
    this.#lastFull = queue.now;
  }

  #observe(): void {
    const { corosync, defect, nodes } = this.#parts;
    const samples = this.#samples();
    this.#observations = observeLeases(this.#observations, samples, nodes, this.#now(), this.#gate);
    if (defect.overrideTimeCounts === true) return;
    if (corosync.override !== undefined) this.#sinceOverride = {};
    else if (this.#sinceOverride !== undefined)
      this.#sinceOverride = observeLeases(this.#sinceOverride, samples, nodes, this.#now(), this.#gate);
  }

  /** Nothing changed and nothing is pending: the services would stay as they are. */
  #due({ members, alive }: MembershipView): boolean {
    const { queue, version, objects, nodes } = this.#parts;
    let seen = `${version.count}`;
    for (const name of nodes) {
      const [member, speaks] = [members.has(name), alive.has(name)];
      // Nothing is decided by the proof for a node that is there in every way.
      const whole = member && speaks && objects.lease(name).holder === "agent" && !this.hardware.has(name);
      seen += whole ? ",here" : `,${member}${speaks}${this.#fence(name).proven}`;
    }
    const pending = objects.requests.length > 0 || queue.now - this.#lastFull >= RESYNC;
    if (seen === this.#lastSeen && !pending) return false;
    this.#lastSeen = seen;
    return true;
  }

  #applyAll(effects: readonly CrmEffect[]): boolean | "crashed" {
    let took = false;
    for (const effect of effects) {
      if (this.#apply(effect)) took = true;
      if (this.crashAfter?.effect === effect.type) {
        const { standby } = this.crashAfter;
        this.crashAfter = undefined;
        this.crash(5000, standby);
        return "crashed";
      }
    }
    return took;
  }

  #apply(effect: CrmEffect): boolean {
    const { objects, defect } = this.#parts;
    if (effect.type === defect.loses) return false;
    switch (effect.type) {
      case "takeLease": {
        const lease = objects.lease(effect.node);
        Object.assign(lease, { holder: "crm", epoch: lease.epoch + 1 });
        this.#event("lease.taken", { lease: "agent", node: effect.node, cause: "fence", why: effect.why });
        return true;
      }
      case "releaseLease":
        if (objects.lease(effect.node).holder === "crm") objects.lease(effect.node).holder = "none";
        return false;
      case "setNodeOwner":
        objects.change(effect.service, { node: effect.node });
        return false;
      case "removeLock":
        objects.unlock(effect.service);
        return false;
      case "setService":
        objects.writeService(effect.service, effect.record);
        this.#parts.recordWritten(effect.service, effect.record);
        this.#parts.touched(effect.record.node);
        if (effect.record.target !== undefined) this.#parts.touched(effect.record.target);
        return false;
      case "dropService":
        objects.writeService(effect.service, undefined);
        return false;
      case "setNode":
        objects.writeNode(effect.node, effect.record);
        return false;
      case "setDisarm":
        objects.writeDisarm(effect.disarm);
        for (const node of this.#parts.nodes) this.#parts.touched(node);
        return false;
      case "fenceHardware":
        this.#fenceByDevice(effect.node);
        return false;
      default:
        return false;
    }
  }

  #fenceByDevice(node: string): void {
    const device = this.hardware.get(node);
    if (!device || device.asked) return;
    device.asked = true;
    this.#parts.queue.after(3000, () => {
      if (device.works) {
        this.#parts.powerOffByDevice(node);
        device.confirmed = true;
      }
      this.#event(device.works ? "fence.device.confirmed" : "fence.device.failed", { subject: node });
      this.#parts.queue.after(10_000, () => {
        device.asked = false;
      });
      this.nudge();
    });
  }

  #samples(): LeaseSample[] {
    const { objects, nodes } = this.#parts;
    return nodes.map((node) => {
      const lease = objects.lease(node);
      const report = objects.reports.get(node);
      return {
        node,
        token: `${lease.holder}/${lease.boot}/${lease.epoch}/${lease.renewedAt}`,
        holder: lease.holder,
        ...(report ? { report } : {}),
      };
    });
  }

  #view(sameRound: boolean, requests: CrmView["requests"]): CrmView {
    const { objects, guests, defect, nodes } = this.#parts;
    const { members, alive, quorate } = currentMembership(this.#observations, this.#now(), this.#gate);
    const view: CrmView = {
      incarnation: `leader-${this.#leaderships}`,
      quorate,
      nodes: Object.fromEntries(nodes.map((name) => [name, this.#nodeView(name, members.has(name), alive.has(name))])),
      sameRound,
      services: objects.serviceViews(guests),
      groups: objects.scenario.groups,
      rules: objects.rules(),
      policy: objects.policy(),
      requests,
    };
    return defect.crmView?.(view) ?? view;
  }

  #nodeView(name: string, member: boolean, agentAlive: boolean): NodeView {
    const { objects, guests } = this.#parts;
    const node = objects.scenario.nodes[name];
    return {
      member,
      agentAlive: agentAlive && objects.lease(name).holder === "agent",
      agentMode: objects.agent(name).mode ?? "Idle",
      maintenance: objects.maintenance.has(name),
      lease: objects.lease(name).holder,
      fence: this.#fence(name),
      hardwareFencing: this.hardware.has(name),
      capacity: { cpu: node?.cpus ?? 24, memory: node?.memory ?? 0 },
      measured: objects.measuredOn(name, guests),
    };
  }

  #fence(name: string): FenceVerdict {
    const { corosync, votes, qdeviceVotes } = this.#parts;
    const device = this.hardware.get(name);
    return fenceGate(
      {
        observations: this.#sinceOverride ?? this.#observations,
        node: name,
        votes,
        qdeviceVotes,
        quorumOverride: corosync.override !== undefined,
        fencing: device === undefined ? "Watchdog" : device.only ? "Hardware" : "Both",
        ...(device?.confirmed === true ? { hardwareConfirmed: { device: "power" } } : {}),
      },
      this.#now(),
      this.#gate,
    );
  }

  /** The replicas' clock: its zero is nobody else's. */
  #now(): number {
    return this.#parts.queue.now + CLOCK_OFFSET;
  }

  #event(kind: string, data: Readonly<Record<string, unknown>>): void {
    const eventClass = kind.startsWith("fence.device") ? "env" : "role";
    this.#parts.recorder.add(this.#parts.queue.now / 1000, { actor: "coordinator", class: eventClass, kind, ...data });
  }
}

/** What a replica that began at `since` has seen of what others saw before. */
function seenSince(observations: FenceObservations, since: number): FenceObservations {
  const begin = since + CLOCK_OFFSET;
  return Object.fromEntries(
    Object.entries(observations).map(([node, seen]) => [
      node,
      {
        ...seen,
        renewed: seen.renewed && seen.changedAt > begin,
        changedAt: Math.max(seen.changedAt, begin),
        lacking: Object.fromEntries(
          Object.entries(seen.lacking).map(([name, { since: from, until }]) => [
            name,
            { since: Math.max(from, begin), until: Math.max(until, begin) },
          ]),
        ),
      },
    ]),
  );
}

const CLOCK_OFFSET = 1000;

/** What a restart loses. */
function withoutVolatile(services: CrmState["services"]): CrmState["services"] {
  return Object.fromEntries(
    Object.entries(services).map(([id, record]) => {
      const { queued: _queued, processed: _processed, moveBackoff: _move, balanceBackoff: _balance, ...kept } = record;
      return [id, kept];
    }),
  );
}
