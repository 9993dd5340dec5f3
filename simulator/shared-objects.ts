/**
 * The objects that all parts of a simulated cluster share: what users asked for, what the CRM and the agents wrote, the leases. Both
 * worlds use it; they differ in who may read and write it when.
 */
import type {
  AgentMode,
  CrmState,
  DisarmMode,
  DisarmRecord,
  HaPolicy,
  MembershipReport,
  NodeRecord,
  Rule,
  ServiceRecord,
  ServiceRequest,
  ServiceResult,
  ServiceView,
} from "../controllers/ha/index.ts";
import type { Guests } from "./guests.ts";
import {
  DEFAULT_DEFINED,
  DEFAULT_MEASURED,
  parseService,
  type Scenario,
  type ScenarioService,
  type Usage,
  type Want,
} from "./scenario.ts";

export interface Lease {
  holder: "agent" | "crm" | "none";
  /** Which boot of the host holds it. */
  boot: number;
  epoch: number;
  /** Virtual milliseconds of the last renewal. */
  renewedAt: number;
}

export interface AgentStatus {
  mode?: AgentMode;
  readonly results: Map<string, ServiceResult>;
}

export class SharedObjects {
  readonly services = new Map<string, ScenarioService>();
  readonly defined = new Map<string, Usage>();
  readonly measured = new Map<string, Usage>();
  readonly maintenance = new Set<string>();
  readonly leases = new Map<string, Lease>();
  readonly agents = new Map<string, AgentStatus>();
  /** Membership annotations of the leases. */
  readonly reports = new Map<string, MembershipReport>();
  disarm: DisarmMode | undefined;
  requests: ServiceRequest[] = [];
  /** What the CRM wrote. */
  crm: CrmState | undefined;
  /** The last view of each service, given again while nothing in it changed. */
  readonly #views = new Map<string, { service: ScenarioService; view: ServiceView }>();
  readonly #seen: Record<string, ServiceView> = {};
  readonly #byNode = new Map<string, Set<string>>();
  readonly scenario: Scenario;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    for (const [id, service] of Object.entries(scenario.services)) this.services.set(id, service);
    for (const [id, usage] of Object.entries(scenario.defined)) this.defined.set(id, usage);
    for (const [id, usage] of Object.entries(scenario.measured)) this.measured.set(id, usage);
  }

  lease(node: string): Lease {
    const lease = this.leases.get(node) ?? { holder: "none", boot: 0, epoch: 0, renewedAt: Number.NEGATIVE_INFINITY };
    this.leases.set(node, lease);
    return lease;
  }

  agent(node: string): AgentStatus {
    const status = this.agents.get(node) ?? { results: new Map() };
    this.agents.set(node, status);
    return status;
  }

  /** The status of one service, written as one object; undefined: it is gone. */
  writeService(id: string, record: ServiceRecord | undefined): void {
    const services = this.#stored().services as Record<string, ServiceRecord>;
    const old = services[id];
    for (const node of old ? [old.node, old.target] : []) if (node !== undefined) this.#byNode.get(node)?.delete(id);
    if (record === undefined) {
      delete services[id];
      return;
    }
    services[id] = record;
    for (const node of [record.node, record.target]) {
      if (node === undefined) continue;
      const ids = this.#byNode.get(node) ?? new Set<string>();
      this.#byNode.set(node, ids.add(id));
    }
  }

  writeNode(name: string, record: NodeRecord): void {
    (this.#stored().nodes as Record<string, NodeRecord>)[name] = record;
  }

  writeDisarm(disarm: DisarmRecord | undefined): void {
    const { disarm: _old, ...rest } = this.#stored();
    this.crm = { ...rest, ...(disarm === undefined ? {} : { disarm }) };
  }

  /** Services whose status names the node as node or target. */
  servicesOf(node: string): ReadonlySet<string> {
    return this.#byNode.get(node) ?? NO_SERVICES;
  }

  /** The whole CRM state at once, as the round-based world writes it. */
  writeState(state: CrmState): void {
    this.crm = state;
    this.#byNode.clear();
    for (const id in state.services) {
      const record = state.services[id];
      if (!record) continue;
      for (const node of record.target === undefined || record.target === record.node
        ? [record.node]
        : [record.node, record.target]) {
        const ids = this.#byNode.get(node);
        if (ids) ids.add(id);
        else this.#byNode.set(node, new Set([id]));
      }
    }
  }

  #stored(): CrmState {
    this.crm ??= {
      services: {},
      nodes: {},
      commandCount: 0,
      imbalancedRounds: 0,
      idleRounds: 0,
      lastRoundAt: 0,
      goneSince: {},
    };
    return this.crm;
  }

  change(id: string, change: Partial<ScenarioService>): void {
    const service = this.services.get(id);
    if (service) this.services.set(id, { ...service, ...change });
  }

  unlock(id: string): void {
    const service = this.services.get(id);
    if (!service) return;
    const { lock: _lock, ...rest } = service;
    this.services.set(id, rest);
  }

  add(id: string, given: Record<string, unknown>): void {
    this.services.set(id, parseService(given));
  }

  rules(): readonly Rule[] {
    return this.scenario.rules as readonly Rule[];
  }

  policy(): HaPolicy {
    const { scheduler, placeOnStart, autoRebalance } = this.scenario.policy;
    return {
      scheduler,
      rebalanceOnStart: placeOnStart,
      ...(autoRebalance ? { autoRebalance } : {}),
      ...(this.disarm === undefined ? {} : { disarm: this.disarm }),
    };
  }

  /** How the CRM sees all of them: one record for the whole run, brought up to date, so good until the next call. */
  serviceViews(guests: Guests): Readonly<Record<string, ServiceView>> {
    for (const id in this.#seen) if (!this.services.has(id)) delete this.#seen[id];
    for (const [id, service] of this.services) {
      const view = this.#serviceView(id, service, guests);
      if (this.#seen[id] !== view) this.#seen[id] = view;
    }
    return this.#seen;
  }

  /** How the CRM sees one service. */
  #serviceView(id: string, service: ScenarioService, guests: Guests): ServiceView {
    const recordNode = this.crm?.services[id]?.node ?? service.node;
    const result = this.agents.get(recordNode)?.results.get(id);
    const running = guests.runsOn(id, service.node);
    const measured = this.measured.get(id) ?? DEFAULT_MEASURED;
    const defined = this.defined.get(id) ?? DEFAULT_DEFINED;
    const known = this.#views.get(id);
    if (
      known?.service === service &&
      known.view.result === result &&
      known.view.running === running &&
      known.view.measured === measured &&
      known.view.defined === defined
    ) {
      return known.view;
    }
    const view: ServiceView = {
      requested: REQUESTED[service.want],
      owner: service.node,
      maxRestart: service.max_restart,
      maxRelocate: service.max_relocate,
      failback: service.failback,
      running,
      canMoveLive: guests.isMachine(id),
      defined,
      measured,
      ...(service.group === undefined ? {} : { group: service.group }),
      ...(service.lock === undefined ? {} : { lock: service.lock }),
      ...(result === undefined ? {} : { result }),
    };
    this.#views.set(id, { service, view });
    return view;
  }

  /** Sum of what runs on the node of the services that the CRM knows. */
  measuredOn(node: string, guests: Guests): Usage {
    let cpu = 0;
    let memory = 0;
    for (const id of guests.runningOn(node)) {
      if (this.crm?.services[id] === undefined) continue;
      const usage = this.measured.get(id) ?? DEFAULT_MEASURED;
      cpu += usage.cpu;
      memory += usage.memory;
    }
    return { cpu, memory };
  }
}

const NO_SERVICES: ReadonlySet<string> = new Set();

const REQUESTED = {
  started: "Started",
  stopped: "Stopped",
  disabled: "Disabled",
  ignored: "Ignored",
} as const satisfies Record<Want, string>;
