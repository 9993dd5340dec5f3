import type { ClusterNode, Guest, HAResource, HARule } from "../crds/index.ts";
import { ageOf } from "./age.ts";
import { type ClusterView, conditionOf } from "./cluster-view.ts";

/** What one node is to one resource. */
export interface NodeVerdict {
  readonly node: string;
  readonly state: string;
  /** The higher, the more preferred; undefined where neither a group nor a rule names the node. */
  readonly priority: number | undefined;
  /** The guest's data there: `here`, `shared`, the age of the copy, `none`, `?` where the job does not say,
   * or "" for a guest without volumes or node. */
  readonly data: string;
  readonly verdict: string;
  /** It is there, or could be. */
  readonly possible: boolean;
}

/** The nodes a resource prefers, and whose word that is. */
export interface Preference {
  /** Such as `group first-two` or `rule near-disk`. */
  readonly from: string;
  readonly priorities: ReadonlyMap<string, number>;
  readonly strict: boolean;
}

/**
 * Each node with what speaks for and against it, from what the objects say. The decision itself is the controller's, which
 * also counts load; this repeats the hard reasons only.
 */
export function nodeVerdicts(view: ClusterView, resource: HAResource, guest: Guest | undefined): NodeVerdict[] {
  const preference = preferenceOf(view, resource);
  const best = bestPriority(view, preference);
  return view.nodes.map((node) => {
    const { name } = node.metadata;
    const priority = preference?.priorities.get(name);
    const isHere = (resource.status?.node ?? guest?.spec.nodeName) === name;
    const against = objection(view, resource, node, preference);
    const data = dataOn(view, guest, name);
    const lacks = lackOf(view, guest, name, data);
    const verdict = isHere ? here(against) : (against ?? `${rank(priority, best, preference)}${lacks ?? ""}`);
    return {
      node: name,
      state: node.status?.state ?? "not joined",
      priority,
      data,
      verdict,
      possible: against === undefined && (isHere || lacks === undefined),
    };
  });
}

/** A rule in force that names the resource goes before its group. */
export function preferenceOf(view: ClusterView, resource: HAResource): Preference | undefined {
  const { name } = resource.metadata;
  const rule = view.rules.find((one) => isInForce(one) && one.spec.nodeAffinity?.resources.includes(name));
  const affinity = rule?.spec.nodeAffinity;
  if (rule !== undefined && affinity !== undefined) {
    return { from: `rule ${rule.metadata.name}`, priorities: prioritiesOf(affinity.nodes), strict: affinity.strict };
  }
  const group = view.groups.find(({ metadata }) => metadata.name === resource.spec.group);
  return group === undefined
    ? undefined
    : {
        from: `group ${group.metadata.name}`,
        priorities: prioritiesOf(group.spec.nodes),
        strict: group.spec.restricted,
      };
}

/** Wanted, and not found impossible by the controller. */
function isInForce(rule: HARule): boolean {
  return rule.spec.enabled && conditionOf(rule, "Ready")?.status !== "False";
}

function prioritiesOf(nodes: readonly { name: string; priority: number }[]): Map<string, number> {
  return new Map(nodes.map(({ name, priority }) => [name, priority]));
}

/** The highest priority of which a node can take guests. */
function bestPriority(view: ClusterView, preference: Preference | undefined): number | undefined {
  const usable = view.nodes
    .filter((node) => unusable(node) === undefined)
    .map(({ metadata }) => preference?.priorities.get(metadata.name))
    .filter((priority) => priority !== undefined);
  return usable.length === 0 ? undefined : Math.max(...usable);
}

function here(against: string | undefined): string {
  return against === undefined ? "it is here" : `it is here, but ${against}`;
}

function rank(priority: number | undefined, best: number | undefined, preference: Preference | undefined): string {
  if (preference === undefined) return "possible";
  if (priority === undefined)
    return best === undefined
      ? `possible: no node of ${preference.from} can take it`
      : `only when no node of ${preference.from} can take it`;
  return best !== undefined && priority < best ? `possible when no node of priority ${best} can take it` : "possible";
}

function objection(
  view: ClusterView,
  resource: HAResource,
  node: ClusterNode,
  preference: Preference | undefined,
): string | undefined {
  const { name } = node.metadata;
  return (
    unusable(node) ??
    (preference?.strict === true && !preference.priorities.has(name)
      ? `${preference.from} allows its own nodes only`
      : undefined) ??
    apartFrom(view, resource.metadata.name, name) ??
    (resource.status?.attempts?.triedNodes?.includes(name) === true ? "it did not start here" : undefined)
  );
}

/** Why a node takes no guest at all. */
function unusable(node: ClusterNode): string | undefined {
  const { name } = node.metadata;
  const state = node.status?.state;
  if (state === undefined) return `${name} has not joined yet`;
  if (state === "Maintenance" || node.spec.maintenance) return `${name} is in maintenance`;
  if (state !== "Online") return `${name} is ${state}`;
  const ready = conditionOf(node, "AgentReady");
  return ready?.status === "False" ? `the agent of ${name} is not ready (${ready.reason})` : undefined;
}

/** Why the guest would not start there although HA may choose the node. */
function lackOf(view: ClusterView, guest: Guest | undefined, node: string, data: string): string | undefined {
  const missing = (guest?.spec.volumes ?? []).find(({ storage }) => {
    const nodes = view.cluster.spec.storages?.find(({ name }) => name === storage)?.nodes;
    return nodes !== undefined && !nodes.includes(node);
  });
  if (missing !== undefined) return `; without storage ${missing.storage} it cannot start there`;
  return data === "none" || data === "none yet" ? "; without a copy of its data it cannot start there" : undefined;
}

function apartFrom(view: ClusterView, resource: string, node: string): string | undefined {
  for (const rule of view.rules) {
    const { resourceAffinity } = rule.spec;
    if (resourceAffinity?.affinity !== "Apart" || !isInForce(rule) || !resourceAffinity.resources.includes(resource))
      continue;
    const there = view.resources.find(
      ({ metadata, status }) =>
        metadata.name !== resource &&
        resourceAffinity.resources.includes(metadata.name) &&
        (status?.node === node || status?.target === node),
    );
    if (there !== undefined) return `rule ${rule.metadata.name} keeps it apart from ${there.metadata.name}`;
  }
  return undefined;
}

function dataOn(view: ClusterView, guest: Guest | undefined, node: string): string {
  const volumes = guest?.spec.volumes ?? [];
  if (guest?.spec.nodeName === undefined || volumes.length === 0) return "";
  if (guest.spec.nodeName === node) return "here";
  const storages = view.cluster.spec.storages ?? [];
  if (volumes.every(({ storage }) => storages.find(({ name }) => name === storage)?.shared === true)) return "shared";
  const jobs = view.jobs.filter(({ spec }) => spec.guest === guest.metadata.name);
  const copies = jobs.flatMap(({ status }) => status?.copies ?? []).filter((copy) => copy.node === node);
  const newest = copies
    .map(({ time }) => time)
    .toSorted((a, b) => Date.parse(a) - Date.parse(b))
    .at(-1);
  const age = ageOf(newest, view.nowMs);
  if (age !== undefined) return `${age} old`;
  return jobs.some(({ spec, status }) => (status?.target ?? spec.target) === node) ? "none yet" : "none";
}
