/**
 * The round-based world with the timings of the scenario file: rounds of max(20, 2 x nodes) seconds in which, node by node, the
 * coordinator and then the agent take one second each. For results that can be compared with the expected events.
 */
import { QuorateError } from "../errors.ts";
import { Guests } from "./guests.ts";
import { restoreState } from "./initial-state.ts";
import { applyToObjects } from "./operations.ts";
import { Recorder, type SimEvent } from "./recorder.ts";
import { type CoordinatorWorld, type LeaderLease, ReferenceCoordinator } from "./reference-coordinator.ts";
import { ReferenceHost } from "./reference-host.ts";
import type { Op, Scenario } from "./scenario.ts";
import { SharedObjects } from "./shared-objects.ts";

export function simulateReference(scenario: Scenario): SimEvent[] {
  const world = new ReferenceWorld(scenario);
  world.run();
  return world.recorder.events;
}

class ReferenceWorld implements CoordinatorWorld {
  readonly objects: SharedObjects;
  readonly guests: Guests;
  readonly recorder = new Recorder();
  readonly hosts = new Map<string, ReferenceHost>();
  readonly coordinators = new Map<string, ReferenceCoordinator>();
  readonly leader: LeaderLease = { holder: undefined, renewedAt: Number.NEGATIVE_INFINITY };
  readonly #scenario: Scenario;
  now = 0;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.objects = new SharedObjects(scenario);
    this.guests = new Guests(scenario);
    for (const name of Object.keys(scenario.nodes).sort()) {
      const host = new ReferenceHost(name, this);
      this.hosts.set(name, host);
      this.coordinators.set(name, new ReferenceCoordinator(host, this));
    }
    if (scenario.initialState) restoreState(scenario.initialState, this.objects);
    for (const [name, node] of Object.entries(scenario.nodes)) {
      if (node.power) this.#powerOn(name);
      const host = this.hosts.get(name);
      if (host) host.network = node.network;
    }
  }

  quorate(): boolean {
    let present = 0;
    for (const host of this.hosts.values()) if (host.power && host.network) present += 1;
    return present * 2 > this.hosts.size;
  }

  run(): void {
    const { batches, endTime } = this.#scenario;
    const length = Math.max(20, 2 * this.hosts.size);
    let next = 0;
    for (let start = batches[0]?.at ?? length; start < endTime; start += length) {
      this.now = start;
      for (; next < batches.length && (batches[next]?.at ?? 0) <= start; next += 1) {
        for (const op of batches[next]?.ops ?? []) this.#inject(op);
      }
      this.#round();
    }
    this.#finals();
  }

  #round(): void {
    for (const [name, host] of this.hosts) {
      const coordinator = this.coordinators.get(name);
      if (host.power && coordinator?.role !== undefined && !skipped(coordinator)) {
        const exited = coordinator.step();
        this.now += 1;
        if (exited && host.shutdown !== undefined) this.#goDown(host, host.shutdown);
      }
      if (host.power && host.agent && host.skipAgentRounds > 0) host.skipAgentRounds -= 1;
      else if (host.power && host.agent) {
        const exited = host.step();
        this.now += 1;
        if (exited) this.#agentExited(host);
        this.#checkWatchdogs();
      }
    }
  }

  #agentExited(host: ReferenceHost): void {
    host.agent = undefined;
    if (host.shutdown === "agent-restart") {
      host.shutdown = undefined;
      host.startAgent();
      return;
    }
    const cause = host.shutdown === "reboot" ? "reboot" : "shutdown";
    this.#env("inject", { cmd: { op: "coordinator.stop", node: host.name }, cause });
    this.#stopCoordinator(host.name);
  }

  #goDown(host: ReferenceHost, kind: string): void {
    if (host.agent) return;
    const cause = kind === "reboot" ? "reboot" : "shutdown";
    this.#env("inject", { cmd: { op: "node.power", node: host.name, on: false }, cause });
    this.#powerOff(host);
    if (kind !== "reboot") return;
    this.#env("inject", { cmd: { op: "node.power", node: host.name, on: true }, cause });
    this.#powerOn(host.name);
  }

  #checkWatchdogs(): void {
    for (const host of this.hosts.values()) {
      if (!host.power || !host.watchdogExpired(this.now)) continue;
      this.#env("inject", { cmd: { op: "node.power", node: host.name, on: false }, cause: "watchdog" });
      this.#powerOff(host);
      this.#env("node.self-fenced", { subject: host.name });
    }
  }

  #powerOn(name: string): void {
    const host = this.#host(name);
    if (host.power) return;
    host.power = true;
    host.network = true;
    host.shutdown = undefined;
    this.coordinators.get(name)?.start();
    host.startAgent();
  }

  #powerOff(host: ReferenceHost): void {
    if (!host.power) return;
    this.coordinators.get(host.name)?.lose();
    host.loseAgent();
    host.power = false;
    host.network = false;
    host.shutdown = undefined;
    host.watchdogs.agent = undefined;
    host.watchdogs.coordinator = undefined;
    this.guests.lose(host.name);
  }

  #stopCoordinator(name: string): void {
    const coordinator = this.coordinators.get(name);
    if (coordinator?.role === undefined) {
      const host = this.#host(name);
      if (host.shutdown !== undefined && !host.agent) this.#goDown(host, host.shutdown);
      return;
    }
    this.recorder.add(this.now, { actor: "coordinator", at: name, class: "role", kind: "role.stop-requested" });
    coordinator.stopping = true;
  }

  #inject(op: Op): void {
    this.recorder.add(this.now, { actor: "env", class: "input", kind: "inject", cmd: op });
    if (applyToObjects(op, this.objects, this.guests)) return;
    const name = String(op.node);
    switch (op.op) {
      case "node.power":
        if (op.on === true) this.#powerOn(name);
        else this.#powerOff(this.#host(name));
        return;
      case "node.network":
        this.#host(name).network = op.up === true;
        return;
      case "node.reboot":
        this.#host(name).ask("reboot");
        return;
      case "node.shutdown":
        this.#host(name).ask("power-off");
        return;
      case "agent.restart":
        this.#host(name).ask("agent-restart");
        return;
      case "coordinator.stop":
        this.#stopCoordinator(name);
        return;
      case "coordinator.start":
        if (this.#host(name).power) this.coordinators.get(name)?.start();
        return;
      case "store.fault":
        this.#host(name).storeFault = op.fail === true;
        return;
      case "skip-round":
        this.#skip(op);
        return;
      default:
        throw new QuorateError(
          "user",
          "UnknownOperation",
          `operation "${op.op}" is not known in the round-based world`,
        );
    }
  }

  #skip(op: Op): void {
    const rounds = Number(op.rounds ?? op.count ?? 1);
    const who = JSON.stringify(op);
    for (const [name, host] of this.hosts) {
      if (typeof op.node === "string" && op.node !== name) continue;
      const coordinator = this.coordinators.get(name);
      if (/agent|lrm/.test(who)) host.skipAgentRounds = rounds;
      else if (coordinator) coordinator.skipRounds = rounds;
    }
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

  #host(name: string): ReferenceHost {
    const host = this.hosts.get(name);
    if (!host)
      throw new QuorateError("user", "UnknownNode", `an operation names node "${name}", which is not in the scenario`);
    return host;
  }

  #env(kind: string, data: Readonly<Record<string, unknown>>): void {
    this.recorder.add(this.now, { actor: "env", class: "env", kind, ...data });
  }
}

function skipped(coordinator: ReferenceCoordinator): boolean {
  if (coordinator.skipRounds === 0) return false;
  coordinator.skipRounds -= 1;
  return true;
}
