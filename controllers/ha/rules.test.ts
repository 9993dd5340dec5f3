import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { compileRules } from "./rules.ts";
import type { Rule } from "./types.ts";

const together = (id: string, ...services: string[]): Rule => ({ id, kind: "keep-together", services });
const apart = (id: string, ...services: string[]): Rule => ({ id, kind: "keep-apart", services });
const prefer = (id: string, services: string[], nodes: Record<string, number>, strict = true): Rule => ({
  id,
  kind: "prefer-nodes",
  services,
  nodes,
  strict,
});
const dropped = (rules: Rule[], nodes = 3): string[] =>
  compileRules(rules, nodes).dropped.map((d) => `${d.rule}: ${d.reason}`);

test("keep-together rules that share a service become one set, and what one member is apart from, all are", () => {
  const { compiled } = compileRules([together("a", "s1", "s2"), together("b", "s2", "s3"), apart("c", "s3", "s9")], 3);
  assert.deepEqual(compiled.together.get("s1"), ["s2", "s3"]);
  assert.deepEqual(compiled.apart.get("s9"), ["s1", "s2", "s3"]);
  assert.deepEqual(compiled.apart.get("s1"), ["s9"]);
});

test("rules that contradict each other are all dropped, each with its reason", () => {
  assert.deepEqual(dropped([together("a", "s1", "s2"), together("b", "s2", "s3"), apart("c", "s1", "s3")]), [
    "a: contradicts-keep-apart",
    "b: contradicts-keep-apart",
    "c: contradicts-keep-together",
  ]);
});

test("a keep-apart rule needs as many nodes as services", () => {
  assert.deepEqual(dropped([apart("a", "s1", "s2", "s3")], 2), ["a: more-services-than-nodes"]);
  assert.deepEqual(dropped([apart("a", "s1", "s2", "s3")], 3), []);
});

test("services of a resource rule may be in a node rule of one priority only", () => {
  assert.deepEqual(dropped([apart("a", "s1", "s2"), prefer("n", ["s1"], { n1: 1, n2: 2 })]), [
    "a: node-rule-has-several-priorities",
    "n: several-priorities-with-service-rule",
  ]);
  assert.deepEqual(dropped([apart("a", "s1", "s2"), prefer("n", ["s1"], { n1: 1, n2: 1 })]), []);
});

test("the node rule of one member holds for its whole keep-together set", () => {
  const { compiled } = compileRules([together("a", "s1", "s2"), prefer("n", ["s2"], { n2: 0 }, false)], 3);
  assert.deepEqual(compiled.preference.get("s1"), { nodes: { n2: 0 }, strict: false });
});

test("a disabled rule is neither in force nor in anyone's way", () => {
  const set = compileRules([{ ...apart("a", "s1", "s2"), disabled: true }, together("b", "s1", "s2")], 3);
  assert.deepEqual(set.dropped, []);
  assert.equal(set.compiled.apart.size, 0);
});

test("a group is a node preference of its services", () => {
  const groups = { g: { nodes: { n1: 2, n2: 1 }, restricted: true, failback: false } };
  const { compiled } = compileRules([], 3, groups, new Map([["s1", "g"]]));
  assert.deepEqual(compiled.preference.get("s1"), { nodes: { n1: 2, n2: 1 }, strict: true, failback: false });
});

const reference = new URL("../../../shared/conformance/rules.json", import.meta.url);
test("rules of the conformance data are dropped and compiled as expected", {
  skip: existsSync(reference) ? false : "no ../shared/conformance beside the project",
}, () => {
  interface Case {
    name: string;
    nodes: string[];
    rules: Rule[];
    dropped: { rule: string; reason: string }[];
    effective: Record<string, unknown>;
    compiled: {
      nodes_by_service: Record<string, Record<string, number>>;
      together: Record<string, string[]>;
      apart: Record<string, string[]>;
    };
  }
  const { cases } = JSON.parse(readFileSync(reference, "utf8")) as { cases: Case[] };
  for (const c of cases) {
    const set = compileRules(c.rules, c.nodes.length);
    assert.deepEqual(
      set.dropped.map(({ rule, reason }) => ({ rule, reason })),
      c.dropped,
      c.name,
    );
    assert.deepEqual(Object.fromEntries(set.effective.map(({ id, ...rule }) => [id, rule])), c.effective, c.name);
    assert.deepEqual(Object.fromEntries(set.compiled.together), c.compiled.together, c.name);
    assert.deepEqual(Object.fromEntries(set.compiled.apart), c.compiled.apart, c.name);
    const nodes = [...set.compiled.preference].map(([service, { nodes: wanted, strict }]) => [
      service,
      strict ? wanted : { ...Object.fromEntries(c.nodes.map((node) => [node, -1])), ...wanted },
    ]);
    assert.deepEqual(Object.fromEntries(nodes), c.compiled.nodes_by_service, c.name);
  }
});
