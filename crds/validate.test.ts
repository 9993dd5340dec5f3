import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadAll } from "js-yaml";
import { API_VERSION, type KubeObject, validate, withDefaults } from "./index.ts";
import { type Row, table } from "./testdata/table.ts";

const examples = join(import.meta.dirname, "../examples");

function cluster(spec: object): object {
  return { apiVersion: "quorate.dev/v1alpha1", kind: "Cluster", metadata: { name: "lab" }, spec };
}

test("every example is valid", () => {
  for (const file of readdirSync(examples).filter((name) => name.endsWith(".yaml"))) {
    for (const object of loadAll(readFileSync(join(examples, file), "utf8")) as KubeObject[]) {
      if (object.kind === "Namespace") continue;
      assert.deepEqual(validate(object.kind, object), [], `${file}: ${object.kind} ${object.metadata.name}`);
    }
  }
});

test("nothing is refused here that the API server accepts", () => {
  for (const row of table("accepted.yaml")) assert.deepEqual(problems(row), [], row.name);
});

test("what the API server refuses for one field alone is found here too", () => {
  const ofOneField =
    /: (Required value|(Unsupported value|Too long|Too many): .*|Invalid value: "[^"]*": .*|.* in body .*)$/m;
  const rows = table("refusals.yaml").filter((row) => row.before === undefined && ofOneField.test(row.error ?? ""));
  assert.equal(rows.length > 50, true, `only ${rows.length} rows are of one field`);
  for (const row of rows) assert.notDeepEqual(problems(row), [], row.name);
});

function problems({ manifest }: Row): unknown[] {
  return validate(manifest.kind, { apiVersion: API_VERSION, ...manifest });
}

test("a problem names its field, what is wrong and what to do", () => {
  const bad = cluster({
    links: [{ network: "10.6.0.0" }, { network: "10.6.1.7/24", priority: 300 }],
    tokenMilliseconds: "fast",
    ha: { shutdownPolicy: "Panic" },
    storage: [],
  });
  assert.deepEqual(validate("Cluster", bad), [
    { field: "spec", message: "there is no field storage here; correct its name, or remove it" },
    {
      field: "spec.links[0].network",
      message: '"10.6.0.0": not a network; write it as address and prefix length, such as 10.6.0.0/24 or fd00:6::/64',
    },
    { field: "spec.links[1].priority", message: "300 is out of range; it must be <= 255" },
    {
      field: "spec.links[1].network",
      message:
        '"10.6.1.7/24": this is the address of a host with its prefix length; write the network, with the bits after the prefix zero',
    },
    { field: "spec.tokenMilliseconds", message: '"fast" is not of type integer' },
    {
      field: "spec.ha.shutdownPolicy",
      message: '"Panic" is not possible; use one of Conditional, Freeze, Failover, Migrate',
    },
  ]);
});

test("a missing spec is reported, and an unknown kind is refused", () => {
  assert.deepEqual(validate("Guest", { apiVersion: "quorate.dev/v1alpha1", kind: "Guest", metadata: { name: "a" } }), [
    { field: "", message: "spec is missing; add it" },
  ]);
  assert.throws(() => validate("Pod", {}), { reason: "UnknownKind" });
});

test("names that reach the host are never paths", () => {
  for (const image of ["../etc/shadow", "/etc/shadow", "a/b", "a..b", "-rf", ""]) {
    const guest = {
      apiVersion: "quorate.dev/v1alpha1",
      kind: "Guest",
      metadata: { name: "web1" },
      spec: { machine: { image } },
    };
    assert.equal(validate("Guest", guest).length > 0, true, `image ${JSON.stringify(image)} was accepted`);
  }
});

test("defaults are filled in as the API server does, and the object given is left alone", () => {
  const given = cluster({ links: [{ network: "10.6.0.0/24" }] });
  const stored = withDefaults("Cluster", given) as unknown as { spec: Record<string, unknown> };
  assert.deepEqual(stored.spec.ha, {
    shutdownPolicy: "Conditional",
    maxWorkers: 4,
    watchdogSeconds: 10,
    scheduler: { mode: "Basic", rebalanceOnStart: false },
  });
  assert.deepEqual(given, cluster({ links: [{ network: "10.6.0.0/24" }] }));
  assert.throws(() => withDefaults("Cluster", cluster({})), { reason: "InvalidObject" });
});

test("a ClusterNode needs nothing but its name", () => {
  const node = { apiVersion: "quorate.dev/v1alpha1", kind: "ClusterNode", metadata: { name: "n1" } };
  const stored = withDefaults("ClusterNode", node) as unknown as { spec: Record<string, unknown> };
  assert.equal(stored.spec.votes, 1);
});
