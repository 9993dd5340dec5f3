/** A CRM state that a scenario starts from, in the words of the scenario files. */
import type { NodeState, ServiceState } from "../controllers/ha/index.ts";
import type { InitialState } from "./scenario.ts";
import type { SharedObjects } from "./shared-objects.ts";

export function restoreState(initial: InitialState, objects: SharedObjects): void {
  for (const [id, given] of Object.entries(initial.services)) {
    const state = SERVICE_STATES[given.state] ?? "RequestStart";
    const action = state === "Migrate" || state === "Relocate" ? state : "None";
    const target = given.target === undefined ? {} : { target: given.target };
    objects.writeService(id, {
      state,
      node: given.node,
      ...target,
      since: 0,
      command: { uid: `initial-${id}`, action, ...target },
      triedNodes: [],
      relocations: 0,
    });
  }
  for (const [name, state] of Object.entries(initial.nodes)) {
    objects.writeNode(name, { state: NODE_STATES[state] ?? "Unknown", lastOnline: 0 });
  }
}

const NODE_STATES: Readonly<Record<string, NodeState>> = {
  online: "Online",
  maintenance: "Maintenance",
  unreachable: "Unknown",
  unknown: "Unknown",
  fencing: "Fence",
  fence: "Fence",
  gone: "Gone",
};

const SERVICE_STATES: Readonly<Record<string, ServiceState>> = {
  "request-start": "RequestStart",
  starting: "RequestStart",
  "request-start-balance": "RequestStartBalance",
  started: "Started",
  "request-stop": "RequestStop",
  stopping: "RequestStop",
  stopped: "Stopped",
  fence: "Fence",
  fencing: "Fence",
  recovery: "Recovery",
  recovering: "Recovery",
  freeze: "Freeze",
  frozen: "Freeze",
  "moving-live": "Migrate",
  "moving-restart": "Relocate",
  error: "Error",
};
