/**
 * A CRM replica of the round-based world: it lives on a host, competes for the leader's lease, and leads with `crmStep`. The shell
 * around the step with the timings of the scenario file.
 */
import { type CrmEffect, type CrmView, crmStep, initialCrmState, type NodeView } from "../controllers/ha/index.ts";
import { LEASE_SECONDS, type ReferenceHost, type World } from "./reference-host.ts";

const PARAMETERS = {
  behaviour: "reference",
  fenceDelay: 60_000,
  roundLength: 0,
  idleRounds: 90,
  startGrace: 0,
  forgetNodeAfter: 3_600_000,
  moveRetryDelay: 0,
} as const;

export interface LeaderLease {
  holder: string | undefined;
  renewedAt: number;
}

export interface CoordinatorWorld extends World {
  readonly hosts: ReadonlyMap<string, ReferenceHost>;
  readonly leader: LeaderLease;
}

export class ReferenceCoordinator {
  readonly host: ReferenceHost;
  readonly #world: CoordinatorWorld;
  role: "waiting" | "standby" | "leader" | undefined;
  stopping = false;
  skipRounds = 0;
  #incarnation = "";
  #slept = false;

  constructor(host: ReferenceHost, world: CoordinatorWorld) {
    this.host = host;
    this.#world = world;
  }

  start(): void {
    this.stopping = false;
    this.role = "waiting";
    this.#event("role.state", { from: "startup", to: "waiting" });
  }

  lose(): void {
    if (this.role !== undefined) this.#event("role.killed", {});
    this.role = undefined;
  }

  /** One round. @returns true when it exited. */
  step(): boolean {
    if (this.role === undefined) return false;
    if (this.stopping) {
      if (this.role === "leader") {
        this.#world.leader.holder = undefined;
        this.#event("lease.released", { lease: "leader" });
        this.host.watchdogs.coordinator = undefined;
      }
      this.#world.recorder.add(this.#world.now + 1, {
        actor: "coordinator",
        at: this.host.name,
        class: "role",
        kind: "role.exit",
      });
      this.role = undefined;
      return true;
    }
    if (this.role === "leader" && !this.#renew()) {
      this.#setRole("lost");
      this.#setRole("waiting");
      return false;
    }
    if (this.role === "waiting" || this.role === "standby") this.#compete();
    if (this.role === "leader") this.#lead();
    return false;
  }

  #compete(): void {
    if (!this.host.online) {
      if (this.role === "standby") this.#setRole("waiting");
      return;
    }
    if (!this.#hasWork() || this.host.storeFault || this.#ownGuestsInFence()) {
      if (this.role === "standby") this.#setRole("waiting");
      return;
    }
    const { leader, now } = this.#world;
    const own = leader.holder === this.host.name;
    const free = leader.holder === undefined || now - leader.renewedAt > LEASE_SECONDS;
    if (!own && !free) {
      this.#setRole("standby");
      return;
    }
    if (!own || free) this.#event("lease.taken", { lease: "leader" });
    leader.holder = this.host.name;
    leader.renewedAt = now;
    this.#setRole("leader");
    this.#takeOver();
  }

  #takeOver(): void {
    const { objects, now } = this.#world;
    this.#incarnation = `${this.host.name}-${now}`;
    const state = objects.crm;
    const nodes = Object.fromEntries(Object.entries(state?.nodes ?? {}).map(([name, record]) => [name, record.state]));
    objects.writeState(initialCrmState(state?.services ?? {}, nodes, now * 1000, state?.disarm));
    if (state?.disarm === undefined) this.host.watchdogs.coordinator = now;
  }

  #renew(): boolean {
    const { leader, now } = this.#world;
    if (!this.host.online || leader.holder !== this.host.name) return false;
    leader.renewedAt = now;
    if (this.host.watchdogs.coordinator !== undefined) this.host.watchdogs.coordinator = now;
    return true;
  }

  #lead(): void {
    if (this.host.storeFault) return;
    const { objects, recorder, now } = this.#world;
    let sameRound = false;
    const requests = objects.requests;
    objects.requests = [];
    for (;;) {
      const state = objects.crm ?? initialCrmState({}, {}, now * 1000);
      const result = crmStep(state, this.#view(sameRound, requests), now * 1000, PARAMETERS);
      objects.writeState(result.state);
      recorder.addStepEvents(now, "coordinator", this.host.name, result.events);
      let taken = false;
      for (const effect of result.effects) if (this.#apply(effect)) taken = true;
      this.#updateWatchdog();
      if (result.idle) {
        this.#slept = true;
        this.#setRole("waiting");
      }
      if (!taken) return;
      sameRound = true;
    }
  }

  #updateWatchdog(): void {
    const disarmed = this.#world.objects.crm?.disarm?.phase === "Disarmed";
    this.host.watchdogs.coordinator = disarmed ? undefined : this.#world.now;
  }

  #apply(effect: CrmEffect): boolean {
    const { objects, now } = this.#world;
    switch (effect.type) {
      case "takeLease": {
        const lease = objects.lease(effect.node);
        Object.assign(lease, { holder: "crm", epoch: lease.epoch + 1, renewedAt: now * 1000 });
        this.#event("lease.taken", { lease: "agent", node: effect.node, cause: "fence" });
        return true;
      }
      case "setNodeOwner":
        objects.change(effect.service, { node: effect.node });
        return false;
      case "removeLock":
        objects.unlock(effect.service);
        return false;
      default:
        return false;
    }
  }

  #view(sameRound: boolean, requests: CrmView["requests"]): CrmView {
    const { objects, guests, hosts } = this.#world;
    const nodes: Record<string, NodeView> = {};
    for (const name of [...hosts.keys()].sort()) nodes[name] = this.#nodeView(name);
    return {
      incarnation: this.#incarnation,
      quorate: true,
      sameRound,
      nodes,
      services: objects.serviceViews(guests),
      groups: objects.scenario.groups,
      rules: objects.rules(),
      policy: objects.policy(),
      requests: sameRound ? [] : requests,
    };
  }

  #nodeView(name: string): NodeView {
    const { objects, guests, hosts, now } = this.#world;
    const host = hosts.get(name);
    const node = objects.scenario.nodes[name];
    const lease = objects.lease(name);
    const free = lease.holder === "none" || now * 1000 - lease.renewedAt > LEASE_SECONDS * 1000;
    return {
      member: host?.online === true,
      agentAlive: true,
      agentMode: objects.agent(name).mode ?? "Idle",
      maintenance: objects.maintenance.has(name),
      lease: free ? "none" : lease.holder,
      fence: { proven: free, reasons: [free ? "the agent's lease is free" : "the agent's lease has not expired"] },
      hardwareFencing: false,
      capacity: { cpu: node?.cpus ?? 24, memory: node?.memory ?? 0 },
      measured: objects.measuredOn(name, guests),
    };
  }

  #hasWork(): boolean {
    const { objects } = this.#world;
    const pending =
      objects.requests.length > 0 || (objects.disarm !== undefined) !== (objects.crm?.disarm !== undefined);
    const maintenance = [...this.#world.hosts.keys()].some(
      (name) => objects.maintenance.has(name) !== (objects.crm?.nodes[name]?.state === "Maintenance"),
    );
    return objects.services.size > 0 || pending || (maintenance && !this.#slept);
  }

  #ownGuestsInFence(): boolean {
    const { objects } = this.#world;
    for (const id of objects.servicesOf(this.host.name)) {
      const record = objects.crm?.services[id];
      if (record?.state === "Fence" && record.node === this.host.name) return true;
    }
    return false;
  }

  #setRole(role: "waiting" | "standby" | "leader" | "lost"): void {
    if (role === this.role) return;
    this.#event("role.state", { from: this.role, to: role });
    if (this.role === "leader") this.host.watchdogs.coordinator = undefined;
    this.role = role === "lost" ? "waiting" : role;
  }

  #event(kind: string, data: Readonly<Record<string, unknown>>): void {
    this.#world.recorder.add(this.#world.now, {
      actor: "coordinator",
      at: this.host.name,
      class: "role",
      kind,
      ...data,
    });
  }
}
