/** Operations of a scenario that change hosts, their processes or their network, in the event-driven world. */

import type { CrmEffect } from "../controllers/ha/index.ts";
import { QuorateError } from "../errors.ts";
import type { DefaultWorld } from "./default-world.ts";
import type { Op } from "./scenario.ts";

type Fault = (op: Op, world: DefaultWorld) => void;

const node = (op: Op): string => String(op.node);

const FAULTS: Readonly<Record<string, Fault>> = {
  "node.power": (op, world) => {
    if (op.on === true) world.powerOn(node(op));
    else world.powerOff(world.host(node(op)));
  },
  /** The host reaches nobody: neither its peers nor the API. */
  "node.network": (op, world) => {
    world.host(node(op)).apiReachable = op.up === true;
    world.corosync.set(node(op), { cell: op.up === true ? "all" : "cut" });
  },
  /** Only corosync's links; the API stays reachable. */
  "node.ring": (op, world) => world.corosync.set(node(op), { cell: op.up === true ? "all" : "cut" }),
  /** `cells` {node: name}: hosts of one cell reach each other; all reach the API, except those in `without_api`. */
  "network.partition": (op, world) => {
    for (const [name, cell] of Object.entries(op.cells as Record<string, string>)) world.corosync.set(name, { cell });
    for (const name of (op.without_api as string[] | undefined) ?? []) world.host(name).apiReachable = false;
  },
  /** `nodes` (default all) and, with `controllers`, the CRM cannot reach the API while `up` is false. */
  "api.reach": (op, world) => {
    const up = op.up === true;
    for (const name of (op.nodes as string[] | undefined) ?? world.nodes) {
      world.host(name).apiReachable = up;
      world.host(name).watchdog.check();
    }
    if (op.controllers !== false) world.controllers.apiReachable = up;
  },
  "store.fault": (op, world) => {
    world.host(node(op)).apiReachable = op.fail !== true;
    world.host(node(op)).watchdog.check();
  },
  "node.reboot": (op, world) => {
    world.host(node(op)).shutdown = "reboot";
  },
  "node.shutdown": (op, world) => {
    world.host(node(op)).shutdown = "power-off";
  },
  "agent.restart": (op, world) => {
    world.host(node(op)).shutdown = "agent-restart";
  },
  "agent.kill": (op, world) => world.host(node(op)).killAgent(),
  "agent.start": (op, world) => world.host(node(op)).startAgent(),
  /** Starts the agent only where none runs. */
  "agent.ensure": (op, world) => {
    const host = world.host(node(op));
    if (host.power && !host.agent) host.startAgent();
  },
  "agent.freeze": (op, world) => {
    world.host(node(op)).agentFrozen = true;
  },
  "agent.thaw": (op, world) => {
    world.host(node(op)).agentFrozen = false;
  },
  /** systemd starts it again after `seconds` (default 1); never with `restart: false`. */
  "keeper.kill": (op, world) => {
    const host = world.host(node(op));
    host.killKeeper();
    if (op.restart === false) return;
    world.queue.after(Number(op.seconds ?? 1) * 1000, () => {
      host.watchdog.keeper = "runs";
      host.watchdog.check();
    });
  },
  "keeper.freeze": (op, world) => {
    world.host(node(op)).watchdog.keeper = "frozen";
    world.host(node(op)).watchdog.check();
  },
  "keeper.thaw": (op, world) => {
    world.host(node(op)).watchdog.keeper = "runs";
    world.host(node(op)).watchdog.check();
  },
  /** The whole host stands still, guests included; its hardware watchdog does not. */
  "node.freeze": (op, world) => {
    world.host(node(op)).frozen = true;
    world.corosync.set(node(op), { frozen: true });
    world.host(node(op)).watchdog.check();
  },
  "node.thaw": (op, world) => {
    const host = world.host(node(op));
    host.frozen = false;
    world.corosync.set(node(op), { frozen: false });
    host.watchdog.check();
  },
  "watchdog.break": (op, world) => {
    world.host(node(op)).watchdog.broken = true;
  },
  "watchdog.mend": (op, world) => {
    world.host(node(op)).watchdog.broken = false;
  },
  /** A fence device of the node; `works` [true]; `only`: nothing else may prove the fence. */
  "fence.device": (op, world) => {
    world.controllers.hardware.set(node(op), {
      works: op.works !== false,
      only: op.only === true,
      confirmed: false,
      asked: false,
    });
  },
  "clock.step": (op, world) => {
    world.host(node(op)).wallOffset += Number(op.seconds) * 1000;
  },
  "quorum.override": (op, world) =>
    world.corosync.setOverride(typeof op.expected_votes === "number" ? op.expected_votes : undefined),
  /**
   * The leader dies, right after it applied the next effect of type `after` where given; another leads `seconds` later. It has watched
   * the Leases meanwhile, unless `standby` is false: then all replicas die.
   */
  "leader.crash": (op, world) => {
    const standby = op.standby !== false;
    if (typeof op.after === "string") world.controllers.crashAfter = { effect: op.after as CrmEffect["type"], standby };
    else world.controllers.crash(Number(op.seconds ?? 5) * 1000, standby);
  },
  /**
   * Everything whole again: hosts, links, API, processes, devices. Nobody asks for maintenance, disarming, a lock or a shutdown any more:
   * one that still waits for its guests to leave would take its host away long after the last repair.
   */
  repair: (op, world) => {
    applyFault({ op: "api.reach", up: true }, world);
    applyFault({ op: "quorum.override" }, world);
    for (const name of world.nodes) {
      world.corosync.set(name, { cell: "all" });
      const device = world.controllers.hardware.get(name);
      if (device) device.works = true;
      for (const mended of ["node.thaw", "keeper.thaw", "agent.thaw", "watchdog.mend"])
        applyFault({ ...op, op: mended, node: name }, world);
      world.powerOn(name);
      if (world.host(name).shutdown !== undefined) {
        world.host(name).shutdown = undefined;
        applyFault({ op: "agent.kill", node: name }, world);
      }
      applyFault({ op: "agent.ensure", node: name }, world);
    }
    world.objects.maintenance.clear();
    world.objects.disarm = undefined;
    for (const id of world.objects.services.keys()) world.objects.unlock(id);
  },
  "coordinator.stop": (_op, world) => world.controllers.crash(5000),
  "coordinator.start": () => undefined,
  "skip-round": () => undefined,
};

/** @throws QuorateError of class user for an operation that is not known. */
export function applyFault(op: Op, world: DefaultWorld): void {
  const fault = FAULTS[op.op];
  if (!fault) throw new QuorateError("user", "UnknownOperation", `operation "${op.op}" is not known`);
  fault(op, world);
}
