import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { type ControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { crdManifests, type Schema, schemaOf } from "./manifests.ts";
import { startApi } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;
const examples = join(import.meta.dirname, "../examples");

describe("what a user of kubectl sees", { skip }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await startApi();
    await controlPlane.kubectl(["apply", "-f", examples]);
  });
  after(() => controlPlane?.stop());

  it("the examples, applied again, change nothing", async () => {
    const versions = ["get", "quorate", "-n", "lab", "-o", "jsonpath={.items[*].metadata.resourceVersion}"];
    const { stdout: first } = await controlPlane.kubectl(versions);
    await controlPlane.kubectl(["apply", "-f", examples]);
    const { stdout: second } = await controlPlane.kubectl(versions);
    assert.equal(second, first);
    assert.equal(first.split(" ").length, 9);
  });

  it("defaults that the user did not write", async () => {
    const { stdout } = await controlPlane.kubectl(["get", "qcl", "lab", "-n", "lab", "-o", "json"]);
    const { spec } = JSON.parse(stdout);
    assert.equal(spec.tokenMilliseconds, 3000);
    assert.deepEqual(spec.crypto, { cipher: "AES256", hash: "SHA256" });
    assert.equal(spec.ha.watchdogSeconds, 10);
  });

  it("explains every field of every kind", async () => {
    for (const manifest of crdManifests()) {
      const plural = manifest.spec.names.plural;
      const { stdout } = await controlPlane.kubectl(["explain", plural, "--recursive"]);
      const listed = new Set(stdout.split("\n").map((line) => line.trim().split(/\s/)[0]));
      for (const name of fieldNames(schemaOf(manifest))) assert.equal(listed.has(name), true, `${plural}: ${name}`);
    }
  });

  it("shows the text of each object and its fields", async () => {
    for (const manifest of crdManifests()) {
      for (const [path, schema] of objects(manifest.spec.names.plural, schemaOf(manifest))) {
        const { stdout } = await controlPlane.kubectl(["explain", path]);
        const shown = stdout.replaceAll(/\s+/g, " ");
        const fields = Object.entries(schema.properties ?? {}).filter(([name]) => !/^(apiVersion|kind)$/.test(name));
        const texts = [schema, ...fields.map(([, field]) => field)].map(({ description }) => description ?? "");
        for (const text of texts) {
          assert.equal(shown.includes(text.trim().replaceAll(/\s+/g, " ")), true, `kubectl explain ${path}: ${text}`);
        }
      }
    }
  });

  it("prints a cluster on one screen", async () => {
    await writeStatus(controlPlane);
    const { stdout } = await controlPlane.kubectl(["get", "quorate", "-n", "lab"]);
    const rows = stdout.split("\n").map((line) => line.replaceAll(/ {2,}/g, " | ").trim());
    for (const expected of [
      "NAME | QUORATE | NODES | VOTES | HA | LEADER | READY | AGE",
      "cluster.quorate.dev/lab | True | 3/3 | 3/3 (2) | Armed | controllers-a | True | *",
      "NAME | ID | VOTES | STATE | AGENT | WATCHDOG | LINKS | READY | AGE",
      "clusternode.quorate.dev/n1 | 1 | 1 | Online | Active | 10s armed | 2/2 | True | *",
      "NAME | VMID | KIND | STATE | NODE | CPU | MEMORY | READY | AGE",
      "guest.quorate.dev/web1 | 100 | Machine | Running | n1 | 1 | 96Mi | True | *",
      "NAME | REQUESTED | STATE | NODE | TARGET | SINCE | MESSAGE",
      "haresource.quorate.dev/web1 | Started | Migrate | n1 | n2 | 10m | moving",
      "NAME | JOB | GUEST | FROM | TO | SCHEDULE | LAST-SYNC | NEXT | STATE | READY",
      "replicationjob.quorate.dev/web1-n2 | 100-0 | web1 | n1 | n2 | */1 | 41s | 2026-11-21T00:15:00Z | Idle | True",
    ]) {
      assert.equal(
        rows.some((row) => matches(row, expected)),
        true,
        `no row "${expected}" in\n${stdout}`,
      );
    }
  });

  it("knows the short names", async () => {
    for (const manifest of crdManifests()) {
      for (const name of manifest.spec.names.shortNames) await controlPlane.kubectl(["get", name, "-n", "lab"]);
    }
  });

  it("can wait for a condition", async () => {
    await controlPlane.kubectl(["wait", "--for=condition=Ready", "guest/web1", "-n", "lab", "--timeout=5s"]);
  });
});

/** `*` in the last column stands for any age; an age of 41 seconds may have grown on a busy machine. */
function matches(row: string, expected: string): boolean {
  const now = row.replace(/\b\d+s\b|\b1m\d*s?\b/, (age) => (expected.includes("41s") ? "41s" : age));
  return expected.endsWith("*") ? now.startsWith(expected.slice(0, -1)) : now === expected;
}

function fieldNames(schema: Schema): string[] {
  const own = Object.entries(schema.properties ?? {}).filter(([name]) => name !== "metadata");
  const below = own.flatMap(([, property]) => fieldNames(property));
  return [...own.map(([name]) => name), ...below, ...(schema.items === undefined ? [] : fieldNames(schema.items))];
}

function objects(path: string, schema: Schema): [string, Schema][] {
  const below = Object.entries(schema.properties ?? {})
    .filter(([name]) => name !== "metadata")
    .flatMap(([name, property]) => objects(`${path}.${name}`, property.items ?? property));
  return schema.properties === undefined ? [] : [[path, schema], ...below];
}

async function writeStatus(controlPlane: ControlPlane): Promise<void> {
  const now = Date.now();
  const ago = (seconds: number) => new Date(now - seconds * 1000).toISOString().replace(/\.\d+/, "");
  const condition = (type: string, reason: string) => ({
    type,
    status: "True",
    reason,
    message: "",
    lastTransitionTime: ago(240),
  });
  const conditions = [condition("Ready", "AllGood"), condition("Quorate", "Majority"), condition("Armed", "Armed")];
  const ready = { conditions: conditions.slice(0, 1) };
  const statuses: [string, object][] = [
    ["cluster/lab", { conditions, nodes: { summary: "3/3" }, quorum: { summary: "3/3 (2)" }, leader: "controllers-a" }],
    [
      "clusternode/n1",
      {
        ...ready,
        nodeId: 1,
        state: "Online",
        lrm: { mode: "Active" },
        watchdog: { summary: "10s armed" },
        linksUp: "2/2",
      },
    ],
    ["guest/web1", { ...ready, kind: "Machine", state: "Running" }],
    ["haresource/web1", { state: "Migrate", node: "n1", target: "n2", since: ago(605), message: "moving" }],
    [
      "replicationjob/web1-n2",
      {
        ...ready,
        jobId: "100-0",
        source: "n1",
        target: "n2",
        lastSync: ago(40.6),
        nextSync: "2026-11-21T00:15:00Z",
        state: "Idle",
      },
    ],
  ];
  for (const [object, status] of statuses) {
    const patch = JSON.stringify({ status });
    await controlPlane.kubectl(["patch", object, "-n", "lab", "--subresource=status", "--type=merge", "-p", patch]);
  }
  const vmid = JSON.stringify({ spec: { vmid: 100 } });
  await controlPlane.kubectl(["patch", "guest/web1", "-n", "lab", "--type=merge", "-p", vmid]);
}
