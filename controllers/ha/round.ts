/**
 * What one CRM step works on: records that are copied when they change, the load of the nodes as the choices so far leave it, and
 * the effects and events so far. Only the step that made it sees it.
 */
import { haEvent } from "./events.ts";
import { Records } from "./records.ts";
import type { CompiledRules } from "./rules.ts";
import type {
  CrmEffect,
  CrmParameters,
  CrmState,
  CrmView,
  DisarmRecord,
  EventLevel,
  HaEvent,
  LeftBehind,
  Milliseconds,
  NodeRecord,
  ServiceRecord,
  ServiceState,
} from "./types.ts";
import { Usage } from "./usage.ts";

export interface StateChange {
  readonly node?: string;
  readonly target?: string;
  readonly home?: string | undefined;
  readonly triedNodes?: readonly string[];
  readonly stopTimeoutSeconds?: number;
  readonly failover?: ServiceRecord["failover"];
  readonly guarded?: boolean;
  readonly moveBackoff?: ServiceRecord["moveBackoff"];
  /** Fields of the event; by default none. */
  readonly shown?: Readonly<Record<string, unknown>>;
}

export class Round {
  readonly now: Milliseconds;
  readonly view: CrmView;
  readonly parameters: CrmParameters;
  readonly rules: CompiledRules;
  readonly services: Records;
  readonly nodes: Map<string, NodeRecord>;
  readonly left: Map<string, LeftBehind>;
  disarm: DisarmRecord | undefined;
  imbalancedRounds: number;
  /** Nodes that may be chosen: online, not about to be fenced, and their agent is there to act. Sorted. */
  placeable: readonly string[] = [];
  usage: Usage;
  /** This step counts as a round: what would repeat with every step is said once a round. */
  newRound = false;
  /** Nodes whose watchdog is armed for certain: an agent says that a guest runs only when it is. */
  #armed = new Set<string>();
  /** Services for which the way out of a maintained node was tried in this step. */
  readonly leftMaintenance = new Set<string>();
  readonly effects: CrmEffect[] = [];
  readonly events: HaEvent[] = [];
  readonly #bound = new Map<string, string>();
  readonly #before: CrmState;
  #commandCount: number;

  constructor(state: CrmState, view: CrmView, rules: CompiledRules, parameters: CrmParameters, now: Milliseconds) {
    this.now = now;
    this.view = view;
    this.rules = rules;
    this.parameters = parameters;
    this.services = new Records(state.services);
    this.nodes = new Map(Object.entries(state.nodes));
    this.left = new Map(Object.entries(state.left ?? {}));
    this.disarm = state.disarm;
    this.imbalancedRounds = state.imbalancedRounds;
    this.usage = new Usage(view, []);
    this.#before = state;
    this.#commandCount = state.commandCount;
  }

  get reference(): boolean {
    return this.parameters.behaviour === "reference";
  }

  /** Ids in plain string order, in which all services are handled. */
  serviceIds(): readonly string[] {
    return this.services.ids;
  }

  /** After nodes and services are known: counts what runs where. */
  recount(): void {
    this.placeable = [...this.nodes]
      .filter(([name, { state }]) => state === "Online" && this.view.nodes[name]?.agentAlive && !this.isLost(name))
      .map(([name]) => name)
      .sort();
    this.usage = new Usage(this.view, this.placeable);
    this.#armed = new Set();
    for (const id of this.services.ids) {
      const record = this.services.get(id);
      if (!record) continue;
      this.usage.count(id, record, 1);
      const result = this.view.services[id]?.result;
      if (record.state === "Started" && result?.outcome === "Ok" && result.uid === record.command.uid)
        this.#armed.add(record.node);
    }
  }

  /** A fence of its node by time-outs is a proof for this service too: where it may run, a watchdog is armed. */
  isGuarded(id: string): boolean {
    const record = this.services.get(id);
    if (!record) return false;
    const result = this.view.services[id]?.result;
    const answered = result?.uid === record.command.uid && (result.outcome === "Ok" || result.outcome === "Failed");
    const confirmed = this.view.nodes[record.node]?.fence.confirmedOff === true;
    return this.reference || record.guarded === true || answered || confirmed || this.#armed.has(record.node);
  }

  isOnline(node: string): boolean {
    const state = this.nodes.get(node)?.state;
    return this.view.nodes[node]?.member === true && (state === "Online" || state === "Maintenance");
  }

  /** The node has been away so long, or so certainly, that its services must be fenced. Never on a mere absence from the view. */
  isLost(node: string): boolean {
    const record = this.nodes.get(node);
    const view = this.view.nodes[node];
    if (!record || !view) return false;
    if (record.state === "Fence") return true;
    const away = !view.member && this.now - record.lastOnline >= this.parameters.fenceDelay;
    if (this.reference) return away;
    return view.lease === "crm" || (!view.member && view.fence.proven) || (view.hardwareFencing && away);
  }

  adopt(id: string, record: Omit<ServiceRecord, "command" | "since" | "triedNodes" | "relocations">): void {
    const adopted: ServiceRecord = {
      ...record,
      since: this.now,
      triedNodes: [],
      relocations: 0,
      command: this.#command(record.state, record.target),
    };
    this.left.delete(id);
    this.services.add(id, adopted);
    this.usage.count(id, adopted, 1);
  }

  drop(id: string, reason: "deleted" | "ignored"): void {
    this.forget(id, reason);
    this.effects.push({ type: "dropService", service: id, reason });
  }

  /** As `drop`, for one that is adopted anew in the same step: what is on record of it then is that. */
  forget(id: string, reason: "deleted" | "ignored"): void {
    const old = this.services.get(id);
    if (old && reason === "deleted" && old.state !== "Stopped") {
      const { node, guestUid } = old;
      this.left.set(id, { node, ...(guestUid === undefined ? {} : { guestUid }) });
    }
    this.services.drop(id);
    this.event("service.drop", "service", id, { reason });
  }

  /** The node that the binding names, with what this step has decided so far. */
  owner(id: string): string | undefined {
    return this.#bound.get(id) ?? this.view.services[id]?.owner;
  }

  /**
   * Gives the guest to `node`. A step may decide again, when that node turns out to be fenced too: one write is left of it, from what the
   * view has, or none.
   */
  bind(id: string, node: string): void {
    const from = this.view.services[id]?.owner;
    if (from === undefined) return;
    this.#bound.set(id, node);
    if (!this.reference) {
      const earlier = this.effects.findIndex((effect) => effect.type === "setNodeOwner" && effect.service === id);
      if (earlier >= 0) this.effects.splice(earlier, 1);
      if (node === from) return;
    }
    this.effects.push({ type: "setNodeOwner", service: id, node, from });
  }

  /** A change of state: new command, queued request gone, usage updated, event written. */
  setState(id: string, to: ServiceState, change: StateChange = {}): void {
    const old = this.services.get(id);
    if (!old) return;
    const { queued: _queued, target: _target, processed: _processed, moveBackoff, home, ...kept } = old;
    const nextHome = "home" in change ? change.home : home;
    const backoff = "moveBackoff" in change ? change.moveBackoff : moveBackoff;
    const record: ServiceRecord = {
      ...kept,
      state: to,
      since: this.now,
      node: change.node ?? old.node,
      ...(change.target === undefined ? {} : { target: change.target }),
      triedNodes: change.triedNodes ?? old.triedNodes,
      relocations: change.triedNodes === undefined ? old.relocations : change.triedNodes.length,
      ...(nextHome === undefined ? {} : { home: nextHome }),
      ...(backoff === undefined ? {} : { moveBackoff: backoff }),
      ...(change.failover === undefined ? {} : { failover: change.failover }),
      ...(change.guarded === undefined ? {} : { guarded: change.guarded }),
      command: this.#command(to, change.target, change.stopTimeoutSeconds),
    };
    this.#put(id, old, record);
    this.event("service.state", "service", id, { from: old.state, to, ...change.shown });
  }

  /** A change that is no change of state. */
  amend(
    id: string,
    change: Partial<ServiceRecord>,
    remove: readonly ("home" | "queued" | "moveBackoff" | "balanceBackoff" | "processed")[] = [],
  ): void {
    const old = this.services.get(id);
    if (!old) return;
    const record: ServiceRecord = { ...old, ...change };
    for (const key of remove) delete (record as Partial<Record<typeof key, unknown>>)[key];
    this.#put(id, old, record);
  }

  /** The same state again under a new command, after a result was taken into account. */
  renewCommand(id: string): void {
    const old = this.services.get(id);
    if (old) this.amend(id, { command: this.#command(old.state, old.target) }, ["processed"]);
  }

  setNode(name: string, change: Partial<NodeRecord>): void {
    const old = this.nodes.get(name);
    if (!old) return;
    this.nodes.set(name, { ...old, ...change });
    if (change.state !== undefined && change.state !== old.state) {
      this.event("node.state", "node", name, { from: old.state, to: change.state });
    }
  }

  event(
    kind: string,
    about: HaEvent["about"],
    subject: string | undefined,
    data: Readonly<Record<string, unknown>> = {},
    level?: EventLevel,
  ): void {
    this.events.push(haEvent(kind, about, subject, data, level));
  }

  /** Records that differ from what the step was given become effects; see the order contract at CrmEffect. */
  finish(
    idleRounds: number,
    lastRoundAt: Milliseconds,
    goneSince: CrmState["goneSince"],
  ): { state: CrmState; effects: CrmEffect[] } {
    const bindings = this.effects.filter((effect) => BEFORE_RECORDS.has(effect.type));
    const last = this.effects.filter((effect) => !BEFORE_RECORDS.has(effect.type));
    const nodes: CrmEffect[] = [];
    const records: CrmEffect[] = [];
    for (const [node, record] of this.nodes) {
      if (record.state !== this.#before.nodes[node]?.state || record.fencedAt !== this.#before.nodes[node]?.fencedAt)
        nodes.push({ type: "setNode", node, record });
    }
    for (const [service, record] of this.services.changed()) records.push({ type: "setService", service, record });
    // Agents let go on the word that the CRM has agreed: not before it is on record that their guests are unguarded from now on.
    if (this.disarm !== this.#before.disarm) records.push({ type: "setDisarm", disarm: this.disarm });
    const state: CrmState = {
      services: this.services.after(),
      nodes: Object.fromEntries(this.nodes),
      ...(this.left.size === 0 ? {} : { left: Object.fromEntries(this.left) }),
      ...(this.disarm === undefined ? {} : { disarm: this.disarm }),
      commandCount: this.#commandCount,
      imbalancedRounds: this.imbalancedRounds,
      idleRounds,
      lastRoundAt,
      goneSince,
    };
    return { state, effects: [...nodes, ...bindings, ...records, ...last] };
  }

  #put(id: string, old: ServiceRecord, record: ServiceRecord): void {
    this.usage.count(id, old, -1);
    this.usage.count(id, record, 1);
    this.services.set(id, record);
  }

  #command(state: ServiceState, target: string | undefined, stopTimeoutSeconds?: number): ServiceRecord["command"] {
    this.#commandCount += 1;
    return {
      uid: `${this.view.incarnation}.${this.#commandCount}`,
      action: ACTIONS[state] ?? "None",
      ...(target === undefined ? {} : { target }),
      ...(stopTimeoutSeconds === undefined ? {} : { stopTimeoutSeconds }),
    };
  }
}

/** The fence record comes first. A binding is written before the status that lets the target's agent act on it: a CRM that dies in between decides again. */
const BEFORE_RECORDS = new Set<CrmEffect["type"]>(["setNodeOwner", "removeLock"]);

const ACTIONS: Partial<Record<ServiceState, ServiceRecord["command"]["action"]>> = {
  Started: "Start",
  RequestStop: "Stop",
  Stopped: "Stop",
  Migrate: "Migrate",
  Relocate: "Relocate",
  RequestStartBalance: "Relocate",
};
