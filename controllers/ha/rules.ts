/**
 * From the rules that users wrote to the rules in force. A rule that cannot hold is dropped with its reason, and all rules that
 * contradict each other are dropped together: none of them is preferred, so that the result does not depend on their order.
 */
import type { DroppedRule, Group, Rule } from "./types.ts";

type NodeRule = Extract<Rule, { kind: "prefer-nodes" }>;
type ServiceRule = Exclude<Rule, NodeRule>;

/** Which nodes a service may use, by priority. `strict: false`: any other node too, with priority -1. */
export interface NodePreference {
  readonly nodes: Readonly<Record<string, number>>;
  readonly strict: boolean;
  /** Undefined: as the service says. */
  readonly failback?: boolean;
}

export interface CompiledRules {
  readonly preference: ReadonlyMap<string, NodePreference>;
  /** Service -> the others it must be with, sorted. */
  readonly together: ReadonlyMap<string, readonly string[]>;
  /** Service -> those it must never share a node with, sorted. */
  readonly apart: ReadonlyMap<string, readonly string[]>;
}

export interface RuleSet {
  readonly dropped: readonly DroppedRule[];
  /** The rules in force, with merged and implied ones under ids that start with `_`. */
  readonly effective: readonly Rule[];
  readonly compiled: CompiledRules;
}

/** A keep-together set, merged from the rules that share a service. */
interface TogetherSet {
  readonly rules: readonly ServiceRule[];
  readonly services: readonly string[];
}

/**
 * @param rules as written, with unique ids.
 * @param nodeCount nodes of the cluster, online or not.
 * @param groups HAGroups; a group is a node preference of each of its services that no node rule names.
 * @param groupOf service -> group.
 */
export function compileRules(
  rules: readonly Rule[],
  nodeCount: number,
  groups: Readonly<Record<string, Group>> = {},
  groupOf: ReadonlyMap<string, string> = new Map(),
): RuleSet {
  const sorted = [...rules].sort(byId);
  const active = sorted.filter((rule) => rule.disabled !== true);
  const dropped = checkFeasibility(active, nodeCount);
  const gone = new Set(dropped.map((entry) => entry.rule));
  const kept = active.filter((rule) => !gone.has(rule.id));

  const sets = mergeTogether(kept.filter(isTogether));
  const apart = kept.filter(isApart);
  const implied = impliedApart(sets, apart);
  const merged: Rule[] = sets.map((set) => ({ id: setId(set), kind: "keep-together", services: set.services }));
  const effective = [
    ...sorted.filter((rule) => rule.disabled === true || (!gone.has(rule.id) && rule.kind !== "keep-together")),
    ...merged,
    ...implied,
  ].sort(byId);
  return {
    dropped,
    effective,
    compiled: {
      preference: compilePreferences(kept.filter(isNodeRule), sets, groups, groupOf),
      together: compilePairs(merged),
      apart: compilePairs([...apart, ...implied]),
    },
  };
}

/** All checks look at the same input, so that what one drops is still seen by the others. */
function checkFeasibility(rules: readonly Rule[], nodeCount: number): DroppedRule[] {
  const nodeRules = rules.filter(isNodeRule);
  const apart = rules.filter(isApart);
  const sets = mergeTogether(rules.filter(isTogether));
  const rulesOf = nodeRulesByService(nodeRules);
  return [
    ...oneNodeRuleEach(nodeRules, rulesOf),
    ...atLeastTwoServices([...rules.filter(isTogether), ...apart]),
    ...apart.filter((rule) => rule.services.length > nodeCount).map((rule) => drop(rule, "more-services-than-nodes")),
    ...notBoth(sets, apart),
    ...onePriorityWithServiceRules(rules.filter(isTogether), apart, rulesOf),
    ...togetherInOneNodeRule(sets, rulesOf),
    ...apartHasRoom(apart, rulesOf),
  ].sort((a, b) => compare(a.rule, b.rule));
}

function oneNodeRuleEach(
  nodeRules: readonly NodeRule[],
  rulesOf: ReadonlyMap<string, readonly NodeRule[]>,
): DroppedRule[] {
  return nodeRules
    .filter((rule) => rule.services.some((service) => (rulesOf.get(service)?.length ?? 0) > 1))
    .map((rule) => drop(rule, "service-in-two-node-rules"));
}

function atLeastTwoServices(rules: readonly ServiceRule[]): DroppedRule[] {
  return rules.filter((rule) => new Set(rule.services).size < 2).map((rule) => drop(rule, "fewer-than-two-services"));
}

function notBoth(sets: readonly TogetherSet[], apart: readonly ServiceRule[]): DroppedRule[] {
  const setOf = new Map(sets.flatMap((set) => set.services.map((service) => [service, set] as const)));
  const dropped: DroppedRule[] = [];
  for (const rule of apart) {
    const hit = rule.services.map((service) => setOf.get(service)).filter((set) => set !== undefined);
    for (const set of new Set(hit)) {
      if (hit.filter((other) => other === set).length < 2) continue;
      dropped.push(drop(rule, "contradicts-keep-together"));
      for (const together of set.rules) dropped.push(drop(together, "contradicts-keep-apart"));
    }
  }
  return dropped;
}

/** With several priorities the best class changes as nodes come and go, and would tear a set apart or squeeze it. */
function onePriorityWithServiceRules(
  together: readonly ServiceRule[],
  apart: readonly ServiceRule[],
  rulesOf: ReadonlyMap<string, readonly NodeRule[]>,
): DroppedRule[] {
  const dropped: DroppedRule[] = [];
  const mixed = new Map<string, NodeRule>();
  for (const rule of [...together, ...apart]) {
    const several = rule.services
      .flatMap((service) => rulesOf.get(service) ?? [])
      .filter((nodeRule) => new Set(Object.values(nodeRule.nodes)).size > 1);
    if (several.length === 0) continue;
    dropped.push(drop(rule, "node-rule-has-several-priorities"));
    for (const nodeRule of several) mixed.set(nodeRule.id, nodeRule);
  }
  return [...dropped, ...[...mixed.values()].map((rule) => drop(rule, "several-priorities-with-service-rule"))];
}

function togetherInOneNodeRule(
  sets: readonly TogetherSet[],
  rulesOf: ReadonlyMap<string, readonly NodeRule[]>,
): DroppedRule[] {
  const dropped: DroppedRule[] = [];
  for (const set of sets) {
    const nodeRules = new Set(set.services.flatMap((service) => rulesOf.get(service) ?? []));
    if (nodeRules.size < 2) continue;
    for (const rule of set.rules) dropped.push(drop(rule, "together-set-in-several-node-rules"));
    for (const rule of nodeRules) dropped.push(drop(rule, "node-rule-conflicts-within-together-set"));
  }
  return dropped;
}

function apartHasRoom(apart: readonly ServiceRule[], rulesOf: ReadonlyMap<string, readonly NodeRule[]>): DroppedRule[] {
  const dropped: DroppedRule[] = [];
  for (const rule of apart) {
    const bound = rule.services.filter((service) => rulesOf.get(service)?.some((nodeRule) => nodeRule.strict) === true);
    const nodeRules = new Set(
      bound.flatMap((service) => rulesOf.get(service) ?? []).filter((nodeRule) => nodeRule.strict),
    );
    const room = new Set([...nodeRules].flatMap((nodeRule) => Object.keys(nodeRule.nodes)));
    if (bound.length <= room.size) continue;
    dropped.push(drop(rule, "apart-set-restricted-to-too-few-nodes"));
    for (const nodeRule of nodeRules) dropped.push(drop(nodeRule, "node-rule-leaves-apart-set-too-few-nodes"));
  }
  return dropped;
}

/** Connected components of the keep-together rules, found breadth first in the order of their ids. */
function mergeTogether(rules: readonly ServiceRule[]): TogetherSet[] {
  const byService = new Map<string, ServiceRule[]>();
  for (const rule of rules) for (const service of rule.services) append(byService, service, rule);
  const seen = new Set<string>();
  const sets: TogetherSet[] = [];
  for (const first of rules) {
    if (seen.has(first.id)) continue;
    seen.add(first.id);
    const component: ServiceRule[] = [first];
    for (const rule of component) {
      const neighbours = rule.services.flatMap((service) => byService.get(service) ?? []).sort(byId);
      for (const neighbour of neighbours) {
        if (seen.has(neighbour.id)) continue;
        seen.add(neighbour.id);
        component.push(neighbour);
      }
    }
    sets.push({ rules: component, services: [...new Set(component.flatMap((rule) => rule.services))].sort(compare) });
  }
  return sets;
}

/** What must be apart from one member is apart from the whole set. */
function impliedApart(sets: readonly TogetherSet[], apart: readonly ServiceRule[]): ServiceRule[] {
  const explicit = new Set(apart.flatMap((rule) => pairsOf(rule.services)));
  const setOf = new Map(sets.flatMap((set) => set.services.map((service) => [service, set] as const)));
  const implied = new Map<string, ServiceRule>();
  for (const rule of apart) {
    for (const inside of rule.services) {
      const set = setOf.get(inside);
      if (!set || rule.services.some((other) => other !== inside && setOf.get(other) === set)) continue;
      for (const member of set.services) {
        for (const other of rule.services) {
          if (other === inside || explicit.has(pair(member, other))) continue;
          const services = [member, other].sort(compare);
          const id = `_implicit-negative-${setId(set)}-${services.join("-")}`;
          implied.set(id, { id, kind: "keep-apart", services });
        }
      }
    }
  }
  return [...implied.values()];
}

/** A node rule of one member holds for its whole keep-together set: otherwise the first member placed would decide against it. */
function compilePreferences(
  nodeRules: readonly NodeRule[],
  sets: readonly TogetherSet[],
  groups: Readonly<Record<string, Group>>,
  groupOf: ReadonlyMap<string, string>,
): Map<string, NodePreference> {
  const preference = new Map<string, NodePreference>();
  for (const [service, name] of groupOf) {
    const group = groups[name];
    if (group) preference.set(service, { nodes: group.nodes, strict: group.restricted, failback: group.failback });
  }
  for (const rule of nodeRules) {
    for (const service of rule.services) preference.set(service, { nodes: rule.nodes, strict: rule.strict });
  }
  for (const set of sets) {
    const shared = set.services.map((service) => preference.get(service)).find((entry) => entry !== undefined);
    if (!shared) continue;
    for (const service of set.services) if (!preference.has(service)) preference.set(service, shared);
  }
  return preference;
}

function compilePairs(rules: readonly Rule[]): Map<string, readonly string[]> {
  const others = new Map<string, Set<string>>();
  for (const rule of rules) {
    for (const service of rule.services) {
      const set = others.get(service) ?? new Set<string>();
      others.set(service, set);
      for (const other of rule.services) if (other !== service) set.add(other);
    }
  }
  return new Map([...others].map(([service, set]) => [service, [...set].sort(compare)]));
}

const MESSAGES: Readonly<Record<string, string>> = {
  "service-in-two-node-rules": "a service of it is in another node rule too; a service may be in one",
  "fewer-than-two-services": "it names fewer than two services",
  "more-services-than-nodes": "it keeps more services apart than the cluster has nodes",
  "contradicts-keep-together": "a keep-together rule wants two of its services on one node",
  "contradicts-keep-apart": "a keep-apart rule wants two of its services on different nodes",
  "node-rule-has-several-priorities": "a node rule of one of its services has several priorities",
  "several-priorities-with-service-rule": "it has several priorities, and one of its services is in a resource rule",
  "together-set-in-several-node-rules": "its services are in more than one node rule",
  "node-rule-conflicts-within-together-set": "services that must be together are in this node rule and in another",
  "apart-set-restricted-to-too-few-nodes": "node rules leave its services fewer nodes than they are",
  "node-rule-leaves-apart-set-too-few-nodes": "it leaves services that must be apart fewer nodes than they are",
};

function drop(rule: Rule, reason: string): DroppedRule {
  return { rule: rule.id, reason, message: `rule "${rule.id}" is not in force: ${MESSAGES[reason] ?? reason}` };
}

function nodeRulesByService(rules: readonly NodeRule[]): Map<string, NodeRule[]> {
  const map = new Map<string, NodeRule[]>();
  for (const rule of rules) for (const service of rule.services) append(map, service, rule);
  return map;
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

function setId(set: TogetherSet): string {
  const [only, ...more] = set.rules;
  return more.length === 0 && only ? only.id : `_merged-${set.rules.map((rule) => rule.id).join("-")}`;
}

function pairsOf(services: readonly string[]): string[] {
  return services.flatMap((a, i) => services.slice(i + 1).map((b) => pair(a, b)));
}
const pair = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
const isNodeRule = (rule: Rule): rule is NodeRule => rule.kind === "prefer-nodes";
const isTogether = (rule: Rule): rule is ServiceRule => rule.kind === "keep-together";
const isApart = (rule: Rule): rule is ServiceRule => rule.kind === "keep-apart";
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byId = (a: { id: string }, b: { id: string }): number => compare(a.id, b.id);
