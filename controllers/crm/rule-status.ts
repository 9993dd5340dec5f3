import type { HAGroup, HAGroupStatus, HAResource, HARule, HARuleStatus } from "../../crds/index.ts";
import { conditionsOf, type Finding } from "../conditions.ts";
import type { DroppedRule } from "../ha/index.ts";
import type { ClusterObjects } from "./objects.ts";
import { camelCase } from "./reason.ts";

/** What became of a rule: whom it decides about, or why it is not in force and what to do. */
export function ruleStatus(
  rule: HARule,
  objects: ClusterObjects,
  dropped: readonly DroppedRule[],
  wall: string,
): HARuleStatus {
  const { generation } = rule.metadata;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    conditions: conditionsOf([ruleFinding(rule, objects, dropped)], rule.status?.conditions, generation, wall),
  };
}

function ruleFinding(rule: HARule, objects: ClusterObjects, dropped: readonly DroppedRule[]): Finding {
  const type = "Ready";
  const { name } = rule.metadata;
  if (!rule.spec.enabled) {
    const message = "spec.enabled is false; set it to true to put the rule in force";
    return { type, status: "False", reason: "Disabled", message };
  }
  const own = dropped.filter((entry) => entry.rule === name);
  const [first] = own;
  if (first !== undefined) {
    const ways = [...new Set(own.map(({ reason }) => WAYS_OUT[reason] ?? "change one of them"))];
    const causes = [...new Set(own.map(({ message }) => message.slice(message.indexOf(": ") + 2)))];
    const others = conflicting(rule, objects, dropped);
    const against = others.length === 0 ? "" : ` (see HARule ${list(others)})`;
    return {
      type,
      status: "False",
      reason: camelCase(first.reason),
      message: `not in force: ${causes.join("; ")}${against}. ${sentence(ways.join(", or "))}`,
    };
  }
  const resources = resourcesOf(rule);
  const services = new Set(objects.resources.map(({ metadata }) => metadata.name));
  const known = resources.filter((resource) => services.has(resource));
  const unknown = unknownNames(rule, objects);
  const needed = rule.spec.resourceAffinity === undefined ? 1 : 2;
  if (known.length < needed) {
    return {
      type,
      status: "False",
      reason: "ResourcesNotFound",
      message: `it has nothing to decide about yet: ${unknown.join("; ")}`,
    };
  }
  return {
    type,
    status: "True",
    reason: unknown.length === 0 ? "InForce" : "UnknownNames",
    message: `${meaning(rule, known, objects)}${unknown.length === 0 ? "" : `; ${unknown.join("; ")}`}`,
  };
}

/** What a group is, and which of its nodes do not exist. */
export function groupStatus(group: HAGroup, objects: ClusterObjects, wall: string): HAGroupStatus {
  const { generation, name } = group.metadata;
  const users = objects.resources.filter(({ spec }) => spec.group === name).map(({ metadata }) => metadata.name);
  const missing = missingNodes(
    group.spec.nodes.map((node) => node.name),
    objects,
  );
  const usedBy = users.length === 0 ? "no HAResource uses it (spec.group)" : `used by ${list(users)}`;
  const finding: Finding =
    missing.length === 0
      ? { type: "Ready", status: "True", reason: "NodesExist", message: `${priorities(group.spec.nodes)}; ${usedBy}` }
      : {
          type: "Ready",
          status: "False",
          reason: "NodeNotFound",
          message: `${noNode(missing, "spec.nodes")}; the other nodes count; ${usedBy}`,
        };
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    resources: users.length,
    conditions: conditionsOf([finding], group.status?.conditions, generation, wall),
  };
}

function resourcesOf({ spec }: HARule): readonly string[] {
  return spec.nodeAffinity?.resources ?? spec.resourceAffinity?.resources ?? [];
}

function meaning(rule: HARule, known: readonly string[], objects: ClusterObjects): string {
  const { nodeAffinity, resourceAffinity } = rule.spec;
  if (nodeAffinity !== undefined) {
    const nodes = nodeAffinity.nodes.filter((node) => missingNodes([node.name], objects).length === 0);
    if (nodes.length === 0)
      return nodeAffinity.strict
        ? `in force: ${list(known)} may run nowhere, because no node of a strict rule exists`
        : `in force: ${list(known)} may run anywhere, because no node of the rule exists`;
    return `in force: ${list(known)} ${nodeAffinity.strict ? "run only on" : "prefer"} ${priorities(nodes)}`;
  }
  const how = resourceAffinity?.affinity === "Together" ? "run on one node" : "run on different nodes";
  return `in force: ${list(known)} ${how}`;
}

function unknownNames(rule: HARule, objects: ClusterObjects): string[] {
  const names = new Set(objects.resources.map(({ metadata }: HAResource) => metadata.name));
  const resources = resourcesOf(rule).filter((name) => !names.has(name));
  const field = rule.spec.nodeAffinity === undefined ? "spec.resourceAffinity" : "spec.nodeAffinity";
  const nodes = missingNodes(rule.spec.nodeAffinity?.nodes.map(({ name }) => name) ?? [], objects);
  return [
    ...(resources.length === 0
      ? []
      : [`no HAResource ${list(resources)} in this namespace: apply it, or remove it from ${field}.resources`]),
    ...(nodes.length === 0 ? [] : [noNode(nodes, `${field}.nodes`)]),
  ];
}

function missingNodes(names: readonly string[], objects: ClusterObjects): string[] {
  const known = new Set(objects.nodes.map(({ metadata }) => metadata.name));
  return names.filter((name) => !known.has(name));
}

function noNode(names: readonly string[], field: string): string {
  return `no ClusterNode ${list(names)} in this namespace: apply it, or remove it from ${field}`;
}

/** Other rules that were dropped too and share a guest with this one: what contradicts each other is dropped together. */
function conflicting(rule: HARule, objects: ClusterObjects, dropped: readonly DroppedRule[]): string[] {
  const gone = new Set(dropped.map((entry) => entry.rule));
  const resources = new Set(resourcesOf(rule));
  return objects.rules
    .filter((other) => other !== rule && gone.has(other.metadata.name))
    .filter((other) => resourcesOf(other).some((resource) => resources.has(resource)))
    .map(({ metadata }) => metadata.name);
}

function priorities(nodes: readonly { name: string; priority: number }[]): string {
  const several = new Set(nodes.map(({ priority }) => priority)).size > 1;
  return [...nodes]
    .sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1))
    .map(({ name, priority }) => (several ? `${name} (${priority})` : name))
    .join(", ");
}

/** At most ten names: a condition is read by people. */
function list(names: readonly string[]): string {
  const shown = names.slice(0, 10).map((name) => `"${name}"`);
  return names.length > shown.length ? `${shown.join(", ")} and ${names.length - shown.length} more` : shown.join(", ");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

const WAYS_OUT: Readonly<Record<string, string>> = {
  "service-in-two-node-rules": "name the guest in one node rule only, or make one rule of them",
  "fewer-than-two-services": "name at least two guests, or delete the rule",
  "more-services-than-nodes": "name fewer guests, or add nodes",
  "contradicts-keep-together": "take one of the guests out of one of the rules, or disable one rule",
  "contradicts-keep-apart": "take one of the guests out of one of the rules, or disable one rule",
  "node-rule-has-several-priorities": "give all nodes of that node rule one priority",
  "several-priorities-with-service-rule": "give all its nodes one priority",
  "together-set-in-several-node-rules": "put all guests that must be together into one node rule",
  "node-rule-conflicts-within-together-set": "put all guests that must be together into one node rule",
  "apart-set-restricted-to-too-few-nodes": "add nodes to the strict node rules, or make them not strict",
  "node-rule-leaves-apart-set-too-few-nodes": "add nodes to it, or make it not strict",
};
