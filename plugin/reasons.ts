import type { Guest, HAResource } from "../crds/index.ts";
import { duration } from "./age.ts";
import { type ClusterView, conditionOf } from "./cluster-view.ts";
import { preferenceOf } from "./node-verdicts.ts";

/**
 * What keeps a resource as and where it is, the most general first. Each looks at one thing and has no word when that is as
 * it should be.
 */
export function reasonsOf(view: ClusterView, resource: HAResource, guest: Guest | undefined): string[] {
  const one = { view, resource, guest };
  const found = CHECKS.flatMap((check) => check(one));
  const { state } = resource.status ?? {};
  const calm =
    state === resource.spec.state
      ? "it is as asked for, and no rule wants it elsewhere"
      : "nothing stands in its way: the controllers work on it";
  return [...(found.length > 0 ? found : [calm]), ...dataNowhereElse(one)];
}

interface Case {
  readonly view: ClusterView;
  readonly resource: HAResource;
  readonly guest: Guest | undefined;
}

type Check = (one: Case) => string[];

const CHECKS: readonly Check[] = [
  guestMissing,
  notQuorate,
  overridden,
  disarmed,
  groupMissing,
  fenced,
  nodeAway,
  noPlace,
  maintenance,
  agentSilent,
  failedStarts,
  lockedOrFailed,
  inError,
  rulesOff,
  staysThoughBetter,
];

function guestMissing({ resource, guest }: Case): string[] {
  const { name } = resource.metadata;
  if (guest === undefined) return [`there is no Guest "${name}"; apply it, or delete this HAResource`];
  return guest.spec.nodeName === undefined
    ? [`Guest "${name}" is bound to no node; set its spec.nodeName to where it was made`]
    : [];
}

function notQuorate({ view: { cluster } }: Case): string[] {
  const quorate = conditionOf(cluster, "Quorate");
  if (quorate === undefined || quorate.status === "True") return [];
  return [`the cluster is not quorate, so nothing is started or moved: ${quorate.message}`];
}

function overridden({ view: { cluster } }: Case): string[] {
  const override = conditionOf(cluster, "QuorumOverridden");
  return override?.status === "True"
    ? [`a quorum override is active, and nothing recovers by itself: ${override.message}`]
    : [];
}

function disarmed({ view: { cluster } }: Case): string[] {
  const { disarm } = cluster.spec.ha;
  if (disarm === undefined) return [];
  const armed = conditionOf(cluster, "Armed");
  const now = armed === undefined ? "" : ` (${armed.reason}: ${armed.message})`;
  const { namespace = "NAMESPACE" } = cluster.metadata;
  return [`HA is to be disarmed, ${disarm}${now}; to guard again: kubectl quorate arm -n ${namespace}`];
}

function groupMissing({ view, resource }: Case): string[] {
  const { group } = resource.spec;
  if (group === undefined || view.groups.some(({ metadata }) => metadata.name === group)) return [];
  return [`there is no HAGroup "${group}"; apply it, or remove spec.group`];
}

/** Why its lost node is not proven off yet, in the words of the controller. */
function fenced({ view, resource }: Case): string[] {
  if (resource.status?.state !== "Fence") return [];
  const { node } = resource.status;
  const reasons = view.nodes.find(({ metadata }) => metadata.name === node)?.status?.fence?.proofReasons ?? [];
  const lost = `its node ${node ?? "?"} is lost, and it starts elsewhere only when that is proven off`;
  return [lost, ...reasons.map((reason) => `not proven off yet: ${reason}`)];
}

/** A node that is no member counts as lost only when that has lasted long enough to be sure that it is off. */
function nodeAway({ view, resource }: Case): string[] {
  const { state } = resource.status ?? {};
  const node = view.nodes.find(({ metadata }) => metadata.name === resource.status?.node);
  if (node === undefined || state === "Fence" || state === "Recovery") return [];
  const { state: nodeState, fence } = node.status ?? {};
  if (nodeState !== "Unknown" && nodeState !== "Fence") return [];
  const needed = view.cluster.status?.timings?.fenceDelay?.milliseconds;
  const how = needed === undefined ? "long enough" : `for ${duration(needed)} without interruption`;
  return [
    `its node ${node.metadata.name} is ${nodeState}: not a member, or not seen as one yet; when a majority has reported it gone ${how}, the guest is started elsewhere`,
    ...(fence?.proofReasons ?? []).map((reason) => `not proven off yet: ${reason}`),
  ];
}

function noPlace({ resource }: Case): string[] {
  if (resource.status?.state !== "Recovery") return [];
  return [
    `its node ${resource.status.node ?? "?"} is off, and no other node may take it now; see each node's verdict below`,
  ];
}

function maintenance({ view, resource }: Case): string[] {
  const node = view.nodes.find(({ metadata }) => metadata.name === resource.status?.node);
  return node?.spec.maintenance === true
    ? [`its node ${node.metadata.name} is in maintenance: it leaves as soon as another node can take it`]
    : [];
}

function agentSilent({ view, resource }: Case): string[] {
  const node = view.nodes.find(({ metadata }) => metadata.name === resource.status?.node);
  const ready = node === undefined ? undefined : conditionOf(node, "AgentReady");
  if (node === undefined || ready?.status !== "False" || resource.status?.state === "Fence") return [];
  return [
    `the agent of ${node.metadata.name} is not ready, so commands for the guest wait while it runs on: ${ready.message}`,
  ];
}

function failedStarts({ resource }: Case): string[] {
  const { triedNodes = [] } = resource.status?.attempts ?? {};
  return triedNodes.length === 0 ? [] : [`it did not start on ${triedNodes.join(", ")}`];
}

function lockedOrFailed({ resource, guest }: Case): string[] {
  const { command, result } = resource.status ?? {};
  if (result === undefined || result.uid !== command?.uid) return [];
  if (conditionOf(resource, "Ready")?.status === "True" && guest?.status?.state === "Running") return [];
  if (result.outcome === "Locked")
    return [`the guest is locked (${guest?.status?.lock ?? result.message ?? "unknown"})`];
  if (result.outcome !== "Failed" && result.outcome !== "WrongNode") return [];
  return [`its last command, ${command.action}, ended with ${result.outcome}: ${result.message ?? "no message"}`];
}

function inError({ resource }: Case): string[] {
  const error = conditionOf(resource, "Error");
  return error?.status === "True" ? [error.message] : [];
}

function rulesOff({ view, resource }: Case): string[] {
  return view.rules.flatMap((rule) => {
    const { nodeAffinity, resourceAffinity, enabled } = rule.spec;
    const ready = conditionOf(rule, "Ready");
    if (!enabled || ready?.status !== "False") return [];
    if (!(nodeAffinity ?? resourceAffinity)?.resources.includes(resource.metadata.name)) return [];
    return [`rule ${rule.metadata.name} is not in force: ${ready.message}`];
  });
}

function staysThoughBetter({ view, resource }: Case): string[] {
  const { node, state } = resource.status ?? {};
  const preference = preferenceOf(view, resource);
  if (node === undefined || state !== "Started" || preference === undefined) return [];
  const mine = preference.priorities.get(node) ?? -1;
  const better = view.nodes.find(
    ({ metadata, status }) => status?.state === "Online" && (preference.priorities.get(metadata.name) ?? -1) > mine,
  );
  if (better === undefined) return [];
  const group = view.groups.find(({ metadata }) => metadata.name === resource.spec.group);
  const off = !resource.spec.failback
    ? "spec.failback of the HAResource"
    : preference.from.startsWith("group ") && group?.spec.failback === false
      ? `spec.failback of HAGroup "${group.metadata.name}"`
      : undefined;
  const stays = off === undefined ? "" : `; it stays because ${off} is false`;
  return [`${preference.from} prefers ${better.metadata.name}${stays}`];
}

/** Not why it is where it is, but why it could not be elsewhere. */
function dataNowhereElse({ view, guest }: Case): string[] {
  const volumes = guest?.spec.volumes ?? [];
  const local = volumes.filter(({ storage }) => {
    return view.cluster.spec.storages?.find(({ name }) => name === storage)?.shared !== true;
  });
  if (guest?.spec.nodeName === undefined || local.length === 0) return [];
  const copied = view.jobs.some(
    ({ spec, status }) => spec.guest === guest.metadata.name && status?.lastSync !== undefined,
  );
  return copied
    ? []
    : [
        `its data is on ${guest.spec.nodeName} alone, so it could not start elsewhere if that were lost; apply a ReplicationJob`,
      ];
}
