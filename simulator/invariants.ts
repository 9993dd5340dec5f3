/**
 * What must hold in every run of the event-driven world, looked at after each event. What does not becomes an event of class `violation`:
 *
 * - guest.runs-twice: on two hosts that both run.
 * - guest.started-without-lease: on a node whose lease its agent no longer holds.
 * - guest.not-running: wanted, and not up where it belongs, when the scenario says that all must be well again (`settled_at`).
 * - guest.in-error: given up although nothing of it ever failed.
 * - start.too-often: tried again more often on a node, or on more nodes, than its policy allows.
 * - decision.failed: an exception in a decision.
 * - fence.without-cause: while only API servers, agents and controllers failed.
 *
 * With `because` it is no fault of the decisions: a watchdog that does not fire makes a fence by time-outs wrong, as documented, and nobody
 * moves other guests to make room for one.
 */
import { compileRules, type ServiceRecord } from "../controllers/ha/index.ts";
import type { Guests } from "./guests.ts";
import type { Recorder, SimEvent } from "./recorder.ts";
import type { Op, Scenario } from "./scenario.ts";
import type { SharedObjects } from "./shared-objects.ts";

/** Operations that must never fence a node, however they are combined. */
const HARMLESS = new Set([
  "api.reach",
  "store.fault",
  "agent.kill",
  "agent.start",
  "agent.ensure",
  "agent.freeze",
  "agent.thaw",
  "agent.restart",
  "leader.crash",
  "coordinator.stop",
  "coordinator.start",
  "clock.step",
  "maintenance",
  "disarm",
  "arm",
  "service.want",
  "service.move",
  "service.stop",
  "service.add",
  "service.delete",
  "service.lock",
  "service.unlock",
  "service.stats",
  "fence.device",
  "watchdog.break",
  "watchdog.mend",
  "delay",
  "skip-round",
  "repair",
]);

const FENCES = new Set(["node.self-fenced", "fence.acknowledged", "fence.device.confirmed"]);
const FAILURES = new Set(["start.fail", "stop.fail", "move.fail"]);

export interface WatchedParts {
  readonly scenario: Scenario;
  readonly recorder: Recorder;
  readonly guests: Guests;
  readonly objects: SharedObjects;
  /** Virtual seconds. */
  now(): number;
  /** The host has power and does not stand still. */
  runs(node: string): boolean;
}

export class Invariants {
  readonly #parts: WatchedParts;
  readonly #seen = new Set<string>();
  #mayFence: boolean;
  readonly #broken = new Set<string>();
  readonly #byDeviceOnly = new Set<string>();
  /** A host whose watchdog was broken while a fence by time-outs was believed. */
  #unfit: string | undefined;
  /** `service@node` -> failed starts in a row under one agent. */
  readonly #failedHere = new Map<string, number>();
  readonly #wasUp = new Set<string>();
  /** Services of which anything has failed. */
  readonly #failed = new Set<string>();

  constructor(parts: WatchedParts) {
    this.#parts = parts;
    const { nodes, initialState } = parts.scenario;
    this.#mayFence = initialState !== undefined || Object.values(nodes).some((node) => !node.power);
    parts.recorder.onEvent = (event) => this.#look(event);
  }

  injected(op: Op): void {
    if (!HARMLESS.has(op.op)) this.#mayFence = true;
    const node = String(op.node);
    if (op.op === "fence.device") {
      if (op.only === true) this.#byDeviceOnly.add(node);
      else this.#byDeviceOnly.delete(node);
    }
    if (op.op === "watchdog.break") this.#broken.add(node);
    if (op.op === "watchdog.mend") this.#broken.delete(node);
    if (op.op === "repair") this.#broken.clear();
    this.#unfit ??= [...this.#broken].find((name) => !this.#byDeviceOnly.has(name));
  }

  agentStarted(node: string): void {
    for (const key of this.#failedHere.keys()) if (key.endsWith(`@${node}`)) this.#failedHere.delete(key);
  }

  guestStarted(id: string, node: string, holdsLease: boolean): void {
    if (!holdsLease) this.#violated("guest.started-without-lease", id, { node });
  }

  /** The CRM wrote it. */
  recordWritten(id: string, { state, triedNodes }: ServiceRecord): void {
    const allowed = this.#parts.objects.services.get(id)?.max_relocate;
    if (allowed === undefined || state === "Error" || triedNodes.length <= allowed) return;
    this.#violated("start.too-often", id, { tried: triedNodes, allowed });
  }

  afterEvent(): void {
    const { guests, runs } = this.#parts;
    if (guests.onSeveral.size === 0) return;
    for (const id of guests.onSeveral) {
      const nodes = guests.nodesOf(id).filter(runs);
      if (nodes.length > 1) this.#violated("guest.runs-twice", id, { nodes });
    }
  }

  /** Notes who is up: a guest may be on its way just when all is settled. */
  settling(): void {
    for (const id of this.#parts.objects.services.keys()) if (this.#isUp(id)) this.#wasUp.add(id);
  }

  /** Nothing fails any more, and there was time to get well. */
  settled(): void {
    const { objects, guests } = this.#parts;
    this.settling();
    for (const [id, service] of objects.services) {
      const state = objects.crm?.services[id]?.state ?? "none";
      if (service.want !== "started" || this.#wasUp.has(id)) continue;
      const shown = { state, node: service.node, nodes: guests.nodesOf(id) };
      const because = this.#hasRoom(id) ? {} : { because: "its rules leave it no node as the others are placed" };
      if (state !== "Error") this.#violated("guest.not-running", id, { ...shown, ...because });
      else if (!this.#failed.has(id)) this.#violated("guest.in-error", id, {});
    }
  }

  /** Some node is allowed for it, with all of them online and every other guest left where it is. */
  #hasRoom(id: string): boolean {
    const { scenario, objects } = this.#parts;
    const nodes = Object.keys(scenario.nodes);
    const groupOf = new Map([...objects.services].flatMap(([each, { group }]) => (group ? [[each, group]] : [])));
    const { compiled } = compileRules(objects.rules(), nodes.length, scenario.groups, groupOf);
    const preference = compiled.preference.get(id);
    const allowed = preference?.strict === true ? nodes.filter((node) => node in preference.nodes) : nodes;
    const partners = (compiled.apart.get(id) ?? []).map((partner) => objects.crm?.services[partner]);
    return allowed.some((node) => !partners.some((record) => record?.node === node || record?.target === node));
  }

  /** It runs where it belongs and nowhere else. */
  #isUp(id: string): boolean {
    const { objects, guests } = this.#parts;
    const on = guests.nodesOf(id);
    const record = objects.crm?.services[id];
    return on.length === 1 && on[0] === record?.node && (record?.state === "Started" || record?.state === "Migrate");
  }

  #look(event: SimEvent): void {
    const id = event.subject ?? "";
    if (FENCES.has(event.kind) && !this.#mayFence) this.#violated("fence.without-cause", id, { by: event.kind });
    if (event.kind === "service.skipped") this.#violated("decision.failed", id, { error: event.error });
    if (FAILURES.has(event.kind)) this.#failed.add(id);
    const service = this.#parts.objects.services.get(id);
    if (!service) return;
    const here = `${id}@${event.at}`;
    if (event.kind === "start.ok" || event.kind === "start.give-up") this.#failedHere.delete(here);
    if (event.kind === "start.fail") this.#countFailure(here, id, service.max_restart + 1, event.at);
  }

  #countFailure(here: string, id: string, allowed: number, node: string | undefined): void {
    const failed = (this.#failedHere.get(here) ?? 0) + 1;
    this.#failedHere.set(here, failed);
    if (failed > allowed) this.#violated("start.too-often", id, { node, failed, allowed });
  }

  /** Once for the same guest and place. */
  #violated(kind: string, subject: string, shown: Readonly<Record<string, unknown>>): void {
    const key = `${kind} ${subject} ${String(shown.nodes ?? shown.node ?? "")}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const { recorder, now } = this.#parts;
    const because = this.#unfit === undefined ? {} : { because: `the watchdog of ${this.#unfit} does not fire` };
    recorder.add(now(), { actor: "env", class: "violation", kind, subject, ...shown, ...because });
  }
}
