import { bytesOf, CRM_HOLDER, type Guest, type HAResource, MODE_ANNOTATION, nodeLeaseName } from "../../crds/index.ts";
import { leaseHolder } from "../../kube/index.ts";
import type {
  AgentMode,
  CrmView,
  FenceVerdict,
  Group,
  HaPolicy,
  NodeView,
  Rule,
  ServiceRequest,
  ServiceView,
} from "../ha/index.ts";
import { complaints } from "./complaints.ts";

import type { ClusterObjects } from "./objects.ts";

/** What this CRM has concluded of a node from the Leases it saw, on its own clock. */
export interface NodeSight {
  readonly member: boolean;
  readonly agentAlive: boolean;
  readonly fence: FenceVerdict;
}

export interface ViewInput {
  readonly objects: ClusterObjects;
  readonly incarnation: string;
  readonly quorate: boolean;
  readonly sameRound: boolean;
  readonly sights: ReadonlyMap<string, NodeSight>;
  readonly requests: readonly ServiceRequest[];
}

const MODES: ReadonlySet<string> = new Set<AgentMode>([
  "Idle",
  "Active",
  "Lost",
  "Maintenance",
  "Restart",
  "Shutdown",
  "Disarmed",
]);

/** The objects of a cluster as the pure step wants them. */
export function crmView(input: ViewInput): CrmView {
  const { objects } = input;
  return {
    incarnation: input.incarnation,
    quorate: input.quorate,
    sameRound: input.sameRound,
    nodes: Object.fromEntries(objects.nodes.map((node) => [node.metadata.name, nodeView(node.metadata.name, input)])),
    services: serviceViews(objects),
    withoutGuest: withoutGuest(objects),
    groups: groups(objects),
    rules: rules(objects),
    policy: policy(objects),
    requests: input.requests,
  };
}

function nodeView(name: string, input: ViewInput): NodeView {
  const { objects } = input;
  const node = objects.nodes.find((n) => n.metadata.name === name);
  const lease = objects.leases.find((l) => l.metadata.name === nodeLeaseName(name));
  const holder = lease === undefined ? "" : leaseHolder(lease);
  const mode = lease?.metadata.annotations?.[MODE_ANNOTATION] ?? "Idle";
  const sight = input.sights.get(name);
  return {
    member: sight?.member ?? false,
    agentAlive: sight?.agentAlive ?? false,
    agentMode: MODES.has(mode) ? (mode as AgentMode) : "Idle",
    maintenance: node?.spec.maintenance ?? false,
    lease: holder === CRM_HOLDER ? "crm" : holder === "" ? "none" : "agent",
    fence: sight?.fence ?? { proven: false, reasons: ["this controller has not watched the node yet"] },
    hardwareFencing: false,
    capacity: { cpu: node?.status?.capacity?.cpu ?? 0, memory: node?.status?.capacity?.memoryBytes ?? 0 },
    ...(node?.status?.usage === undefined
      ? {}
      : {
          measured: { cpu: (node.status.usage.cpuMillicores ?? 0) / 1000, memory: node.status.usage.memoryBytes ?? 0 },
        }),
  };
}

/**
 * Resources whose guest is there and bound, and that lack nothing or were taken under HA before: a group that is deleted
 * later must not end the guard of its guests.
 */
function serviceViews(objects: ClusterObjects): Record<string, ServiceView> {
  const guests = new Map(objects.guests.map((guest) => [guest.metadata.name, guest]));
  const incomplete = new Set(complaints(objects).map((complaint) => complaint.resource.metadata.name));
  const views: Record<string, ServiceView> = {};
  for (const resource of objects.resources) {
    const name = resource.metadata.name;
    const guest = guests.get(name);
    if (guest?.spec.nodeName === undefined || resource.metadata.deletionTimestamp !== undefined) continue;
    if (incomplete.has(name) && resource.status?.state === undefined) continue;
    views[name] = serviceView(resource, guest, guest.spec.nodeName);
  }
  return views;
}

/** Resources that are wanted under HA, and whose guest is not there or not bound. */
function withoutGuest(objects: ClusterObjects): Set<string> {
  const bound = new Set(objects.guests.flatMap(({ metadata, spec }) => (spec.nodeName ? [metadata.name] : [])));
  const wanted = objects.resources.filter(
    ({ metadata, spec }) => metadata.deletionTimestamp === undefined && spec.state !== "Ignored",
  );
  return new Set(wanted.map(({ metadata }) => metadata.name).filter((name) => !bound.has(name)));
}

function serviceView(resource: HAResource, guest: Guest, owner: string): ServiceView {
  const { spec, status } = resource;
  return {
    requested: spec.state,
    owner,
    ...(resource.metadata.uid === undefined ? {} : { uid: resource.metadata.uid }),
    ...(guest.metadata.uid === undefined ? {} : { guestUid: guest.metadata.uid }),
    ...(status?.node === undefined ? {} : { lastNode: status.node }),
    maxRestart: spec.maxRestart,
    maxRelocate: spec.maxRelocate,
    failback: spec.failback,
    ...(spec.group === undefined ? {} : { group: spec.group }),
    ...(status?.result === undefined
      ? {}
      : {
          result: {
            uid: status.result.uid,
            outcome: status.result.outcome,
            ...(status.result.message === undefined ? {} : { message: status.result.message }),
          },
        }),
    running: guest.status?.state === "Running" && guest.status.node === owner,
    canMoveLive: false,
    stopTimeoutSeconds: spec.stopTimeoutSeconds,
    ...(guest.status?.lock === undefined ? {} : { lock: guest.status.lock }),
    defined: { cpu: guest.spec.resources.cpu, memory: bytesOf(guest.spec.resources.memory) },
    ...(guest.status?.usage === undefined
      ? {}
      : {
          measured: {
            cpu: (guest.status.usage.cpuMillicores ?? 0) / 1000,
            memory: guest.status.usage.memoryBytes ?? 0,
          },
        }),
  };
}

function groups(objects: ClusterObjects): Record<string, Group> {
  return Object.fromEntries(
    objects.groups.map((group) => [
      group.metadata.name,
      { nodes: priorities(group.spec.nodes), restricted: group.spec.restricted, failback: group.spec.failback },
    ]),
  );
}

function rules(objects: ClusterObjects): Rule[] {
  return objects.rules.flatMap((rule): Rule[] => {
    const id = rule.metadata.name;
    const disabled = !rule.spec.enabled;
    const { nodeAffinity, resourceAffinity } = rule.spec;
    if (nodeAffinity !== undefined) {
      return [
        {
          id,
          kind: "prefer-nodes",
          services: nodeAffinity.resources,
          nodes: priorities(nodeAffinity.nodes),
          strict: nodeAffinity.strict,
          disabled,
        },
      ];
    }
    if (resourceAffinity === undefined) return [];
    return [
      {
        id,
        kind: resourceAffinity.affinity === "Together" ? "keep-together" : "keep-apart",
        services: resourceAffinity.resources,
        disabled,
      },
    ];
  });
}

function priorities(nodes: readonly { name: string; priority: number }[]): Record<string, number> {
  return Object.fromEntries(nodes.map((node) => [node.name, node.priority]));
}

function policy(objects: ClusterObjects): HaPolicy {
  const { scheduler, disarm } = objects.cluster.spec.ha;
  const auto = scheduler.autoRebalance;
  return {
    scheduler: ({ Basic: "basic", Static: "static", Dynamic: "dynamic" } as const)[scheduler.mode],
    rebalanceOnStart: scheduler.rebalanceOnStart,
    ...(auto === undefined
      ? {}
      : {
          autoRebalance: {
            method: auto.method === "TOPSIS" ? "topsis" : "bruteforce",
            threshold: auto.thresholdPercent / 100,
            holdRounds: auto.holdRounds,
            margin: auto.marginPercent / 100,
          },
        }),
    ...(disarm === undefined ? {} : { disarm }),
  };
}
