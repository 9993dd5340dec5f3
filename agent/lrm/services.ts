import type { Guest, HAResource } from "../../crds/index.ts";
import type { LrmServiceState, LrmServiceView, LrmState } from "../ha/index.ts";

const STATES: ReadonlySet<string> = new Set<LrmServiceState>([
  "RequestStart",
  "RequestStartBalance",
  "Started",
  "RequestStop",
  "Stopped",
  "Fence",
  "Recovery",
  "Freeze",
  "Migrate",
  "Relocate",
  "Error",
  "Ignored",
]);

/** Whether each guest of this cluster runs on this host, as systemd and the drivers said last. */
export type RunningHere = (guest: string) => boolean | "unknown";

export interface ServicesHere {
  readonly services: Readonly<Record<string, LrmServiceView>>;
  readonly strays: readonly string[];
}

/**
 * The services whose place or target is this node, as the LRM step wants them.
 * @param unitsHere guests of which a process is on this host
 */
export function servicesHere(
  node: string,
  resources: readonly HAResource[],
  guests: ReadonlyMap<string, Guest>,
  running: RunningHere,
  unitsHere: readonly string[],
): ServicesHere {
  const services: Record<string, LrmServiceView> = {};
  const underHa = new Set<string>();
  for (const resource of resources) {
    const name = resource.metadata.name;
    underHa.add(name);
    const status = resource.status;
    if (
      status?.state === undefined ||
      status.node === undefined ||
      status.command === undefined ||
      !STATES.has(status.state)
    )
      continue;
    if (status.node !== node && status.target !== node) continue;
    const { uid, target, timeoutSeconds } = status.command;
    const lock = guests.get(name)?.status?.lock;
    services[name] = {
      state: status.state as LrmServiceState,
      node: status.node,
      ...(status.target === undefined ? {} : { target: status.target }),
      command: {
        uid,
        ...(target === undefined ? {} : { target }),
        ...(timeoutSeconds === undefined ? {} : { stopTimeoutSeconds: timeoutSeconds }),
      },
      maxRestart: resource.spec.maxRestart,
      owner: guests.get(name)?.spec.nodeName ?? "",
      running: running(name),
      canMoveLive: false,
      ...(lock === undefined ? {} : { lock }),
    };
  }
  return { services, strays: unitsHere.filter((name) => underHa.has(name) && services[name] === undefined) };
}

/** Results that this node's agent wrote before it was restarted: their commands are not done again. */
export function knownResults(node: string, resources: readonly HAResource[]): LrmState["done"] {
  return Object.fromEntries(
    resources.flatMap((resource) => {
      const { status } = resource;
      const result = status?.result;
      return status?.node === node && result !== undefined
        ? [[resource.metadata.name, { uid: result.uid, outcome: result.outcome }] as const]
        : [];
    }),
  );
}
