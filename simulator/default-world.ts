/**
 * The event-driven world with this project's own timings: controllers outside the hosts, keepers that pet by quorum, leases as
 * heartbeats. Finer than rounds, and with faults that the round-based world has not: the API away, frozen processes, broken watchdogs.
 *
 * It watches what must hold in every run, see invariants.ts, and prints an event of class `violation` where it does not.
 */
import type { DoubtLimits } from "../agent/keeper/index.ts";
import { deriveTimings, effectiveToken, type ServiceRecord } from "../controllers/ha/index.ts";
import { QuorateError } from "../errors.ts";
import { Corosync } from "./corosync.ts";
import { Controllers, type ControllersParts } from "./default-controllers.ts";
import { DefaultHost } from "./default-host.ts";
import { type Defect, defectNamed } from "./defects.ts";
import { EventQueue } from "./event-queue.ts";
import { applyFault } from "./faults.ts";
import { Guests } from "./guests.ts";
import { restoreState } from "./initial-state.ts";
import { Invariants } from "./invariants.ts";
import { applyToObjects } from "./operations.ts";
import { Recorder, type SimEvent } from "./recorder.ts";
import type { Op, Scenario } from "./scenario.ts";
import { SharedObjects } from "./shared-objects.ts";

const POWER_OFF_AFTER_EXIT = 1000;
const REBOOT = 10_000;
/** Seconds before `settled_at`; who was up at one of them is. */
const SETTLING = [20, 15, 10, 5];
/** As the agent configures its keeper: consensus and this. */
const SETTLE_MARGIN = 500;

export function simulateDefault(scenario: Scenario): SimEvent[] {
  const world = new DefaultWorld(scenario);
  world.run();
  return world.recorder.events;
}

export class DefaultWorld implements ControllersParts {
  readonly queue = new EventQueue();
  readonly recorder = new Recorder();
  readonly objects: SharedObjects;
  readonly guests: Guests;
  readonly corosync: Corosync;
  readonly timings: ControllersParts["timings"];
  readonly votes: Readonly<Record<string, number>>;
  readonly qdeviceVotes: number;
  readonly nodes: readonly string[];
  readonly hosts = new Map<string, DefaultHost>();
  readonly controllers: Controllers;
  readonly version = { count: 0 };
  readonly doubt: DoubtLimits;
  readonly defect: Defect;
  readonly #scenario: Scenario;
  readonly #invariants: Invariants;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.defect = defectNamed(scenario.defect);
    this.objects = new SharedObjects(scenario);
    this.guests = new Guests(scenario);
    this.nodes = Object.keys(scenario.nodes).sort();
    this.votes = Object.fromEntries(this.nodes.map((name) => [name, scenario.nodes[name]?.votes ?? 1]));
    this.qdeviceVotes = scenario.cluster.qdevice ? 1 : 0;
    this.timings = timingsOf(scenario, this.nodes.length);
    const token = effectiveToken(this.nodes.length, scenario.cluster.tokenMilliseconds);
    const membershipChange = this.timings.membershipChange.milliseconds;
    const consensus = membershipChange - token;
    this.doubt = { tokenMilliseconds: token, settleMilliseconds: consensus + SETTLE_MARGIN };
    this.#invariants = new Invariants({
      scenario,
      recorder: this.recorder,
      guests: this.guests,
      objects: this.objects,
      now: () => this.queue.now / 1000,
      runs: (node) => this.hosts.get(node)?.frozen === false,
    });
    this.corosync = new Corosync(
      this.queue,
      this.votes,
      { membershipChange, token, consensus },
      scenario.cluster.qdevice,
      (name) => {
        this.version.count += 1;
        this.hosts.get(name)?.watchdog.check();
        this.hosts.get(name)?.nudge();
      },
    );
    if (scenario.initialState) restoreState(scenario.initialState, this.objects);
    this.nodes.forEach((name, i) => {
      this.hosts.set(name, new DefaultHost(name, i, this));
    });
    this.controllers = new Controllers(this);
    for (const [name, node] of Object.entries(scenario.nodes)) if (node.power) this.powerOn(name);
  }

  run(): void {
    const { batches, endTime, settledAt } = this.#scenario;
    for (const batch of batches) {
      this.queue.at(batch.at * 1000, () => {
        for (const op of batch.ops) this.#inject(op);
      });
    }
    if (settledAt !== undefined) {
      for (const before of SETTLING) this.queue.at((settledAt - before) * 1000, () => this.#invariants.settling());
      this.queue.at(settledAt * 1000, () => this.#invariants.settled());
    }
    this.controllers.start();
    this.queue.runUntil(endTime * 1000, () => this.#invariants.afterEvent());
    this.#finals();
  }

  host(name: string): DefaultHost {
    const host = this.hosts.get(name);
    if (!host)
      throw new QuorateError("user", "UnknownNode", `an operation names node "${name}", which is not in the scenario`);
    return host;
  }

  touched(node?: string, urgent?: "urgent"): void {
    this.version.count += 1;
    if (urgent) this.controllers.nudge();
    if (node !== undefined) this.hosts.get(node)?.nudge();
  }

  hostReset(host: DefaultHost, cause: string): void {
    this.env("inject", { cmd: { op: "node.power", node: host.name, on: false }, cause });
    this.powerOff(host);
    this.env("node.self-fenced", { subject: host.name });
  }

  /** The agent has ended its orderly stop. */
  hostDown(host: DefaultHost): void {
    const kind = host.shutdown;
    host.shutdown = undefined;
    if (kind === "agent-restart") {
      host.startAgent();
      return;
    }
    this.queue.after(POWER_OFF_AFTER_EXIT, () => {
      if (!host.power) return;
      this.env("inject", { cmd: { op: "node.power", node: host.name, on: false }, cause: kind ?? "shutdown" });
      this.powerOff(host);
      if (kind !== "reboot") return;
      this.queue.after(REBOOT, () => {
        this.env("inject", { cmd: { op: "node.power", node: host.name, on: true }, cause: "reboot" });
        this.powerOn(host.name);
      });
    });
  }

  powerOffByDevice(node: string): void {
    const host = this.host(node);
    if (!host.power) return;
    this.env("inject", { cmd: { op: "node.power", node, on: false }, cause: "fence-device" });
    this.powerOff(host);
  }

  powerOn(name: string): void {
    const host = this.host(name);
    if (host.power) return;
    host.apiReachable = true;
    this.corosync.set(name, { running: true, frozen: false, cell: "all" });
    host.powerOn();
    const device = this.controllers?.hardware.get(name);
    if (device) device.confirmed = false;
  }

  powerOff(host: DefaultHost): void {
    if (!host.power) return;
    host.powerOff();
    this.corosync.set(host.name, { running: false });
  }

  recordWritten(service: string, record: ServiceRecord): void {
    this.#invariants.recordWritten(service, record);
  }

  agentStarted(node: string): void {
    this.#invariants.agentStarted(node);
  }

  guestStarted(id: string, node: string, holdsLease: boolean): void {
    this.#invariants.guestStarted(id, node, holdsLease);
  }

  env(kind: string, data: Readonly<Record<string, unknown>>): void {
    this.recorder.add(this.queue.now / 1000, { actor: "env", class: "env", kind, ...data });
  }

  #inject(op: Op): void {
    this.recorder.add(this.queue.now / 1000, { actor: "env", class: "input", kind: "inject", cmd: op });
    this.#invariants.injected(op);
    if (op.op === "service.moved-outside")
      for (const node of this.nodes) this.guests.setRunning(String(op.service), node, false);
    if (!applyToObjects(op, this.objects, this.guests)) applyFault(op, this);
    for (const node of this.nodes) this.touched(node, "urgent");
  }

  #finals(): void {
    for (const id of [...this.objects.services.keys()].sort()) {
      const record = this.objects.crm?.services[id];
      this.recorder.add(this.#scenario.endTime, {
        class: "final",
        kind: "final",
        subject: id,
        node: this.objects.services.get(id)?.node ?? null,
        running_on: this.guests.nodesOf(id)[0] ?? null,
        ...(record === undefined ? {} : { state: record.state }),
      });
    }
  }
}

function timingsOf(scenario: Scenario, nodes: number): ControllersParts["timings"] {
  const { tokenMilliseconds, watchdogSeconds, qdevice } = scenario.cluster;
  const derived = deriveTimings({
    nodes,
    tokenMilliseconds,
    watchdogSeconds,
    ...(qdevice ? { qdevice: { timeoutMilliseconds: 3000, syncTimeoutMilliseconds: 5000 } } : {}),
  });
  if (!derived.ok) throw new QuorateError("user", derived.reason, derived.message);
  return derived.timings;
}
