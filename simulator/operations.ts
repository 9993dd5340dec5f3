/** Operations of a scenario that change only objects, the same in both worlds. The worlds handle those that change hosts themselves. */
import { QuorateError } from "../errors.ts";
import type { Guests } from "./guests.ts";
import type { Op, Want } from "./scenario.ts";
import type { SharedObjects } from "./shared-objects.ts";

/** @returns false when the operation is not one of these. @throws QuorateError of class user when it names what is not there. */
export function applyToObjects(op: Op, objects: SharedObjects, guests: Guests): boolean {
  const service = typeof op.service === "string" ? op.service : "";
  const known = (): void => {
    if (!objects.services.has(service))
      throw new QuorateError(
        "user",
        "UnknownService",
        `operation ${op.op} names service "${service}", which is not in the scenario`,
      );
  };
  switch (op.op) {
    case "delay":
      return true;
    case "maintenance":
      if (op.enable === false) objects.maintenance.delete(String(op.node));
      else objects.maintenance.add(String(op.node));
      return true;
    case "disarm":
      objects.disarm = String(op.mode).toLowerCase() === "ignore" ? "Ignore" : "Freeze";
      return true;
    case "arm":
      objects.disarm = undefined;
      return true;
    case "service.want":
      known();
      objects.change(service, { want: op.state as Want });
      return true;
    case "service.move":
      objects.requests.push({
        op: "move",
        service,
        target: String(op.target),
        mode: op.mode === "restart" ? "restart" : "live",
      });
      return true;
    case "service.stop":
      known();
      objects.change(service, { want: "stopped" });
      objects.requests.push({ op: "stop", service, timeout: Number(op.timeout ?? 0) });
      return true;
    case "service.add":
      objects.add(service, op);
      if (op.running === true) guests.setRunning(service, String(op.node), true);
      return true;
    case "service.delete":
      objects.services.delete(service);
      return true;
    case "service.lock":
      known();
      objects.change(service, { lock: String(op.lock ?? "backup") });
      return true;
    case "service.unlock":
      known();
      objects.unlock(service);
      return true;
    case "service.moved-outside":
      known();
      objects.change(service, { node: String(op.target) });
      return true;
    case "service.stats":
      changeStats(op, service, objects);
      return true;
    default:
      return false;
  }
}

function changeStats(op: Op, service: string, objects: SharedObjects): void {
  const set = op.set as Record<string, number>;
  const table = op.kind === "static" ? objects.defined : objects.measured;
  const old =
    table.get(service) ??
    (op.kind === "static" ? { cpu: 4, memory: 4 * 1024 ** 3 } : { cpu: 2, memory: 2 * 1024 ** 3 });
  table.set(service, {
    cpu: set.maxcpu ?? set.cpu ?? old.cpu,
    memory: set.maxmem ?? set.mem ?? old.memory,
  });
}
