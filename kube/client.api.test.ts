// The certificate library needs it, and needs it first.
import "reflect-metadata";
import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { Pkcs10CertificateRequestGenerator } from "@peculiar/x509";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { ConflictError, ForbiddenError, InvalidError } from "./api-errors.ts";
import { KubeClient } from "./client.ts";
import { CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, NAMESPACES, SECRETS } from "./core-types.ts";
import { ManualClock } from "./manual-clock.ts";
import type { KubeObject, ResourceType } from "./resource.ts";

interface Widget extends KubeObject {
  spec?: { size?: number; colour?: string };
  status?: { state?: string; conditions?: { type: string; status: string; reason: string }[] };
}
const WIDGETS: ResourceType<Widget> = {
  apiVersion: "test.quorate.dev/v1",
  kind: "Widget",
  plural: "widgets",
  namespaced: true,
};
const WIDGET_CRD = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "widgets.test.quorate.dev" },
  spec: {
    group: "test.quorate.dev",
    scope: "Namespaced",
    names: { kind: "Widget", plural: "widgets", singular: "widget" },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              spec: {
                type: "object",
                properties: { size: { type: "integer", maximum: 10 }, colour: { type: "string" } },
              },
              status: {
                type: "object",
                properties: {
                  state: { type: "string" },
                  conditions: {
                    type: "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["type"],
                    items: {
                      type: "object",
                      required: ["type", "status", "reason"],
                      properties: { type: { type: "string" }, status: { type: "string" }, reason: { type: "string" } },
                    },
                  },
                },
              },
            },
          },
        },
      },
    ],
  },
};

describe("the client against a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let namespace: string;
  let count = 0;

  before(async () => {
    controlPlane = await startControlPlane();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await controlPlane.kubectl(["apply", "-f", "-"], { input: JSON.stringify(WIDGET_CRD) });
    await controlPlane.kubectl(["wait", "--for=condition=Established", "crd/widgets.test.quorate.dev"]);
  });
  after(() => controlPlane?.stop());
  beforeEach(async () => {
    namespace = `client-${++count}`;
    await client.create(NAMESPACES, { metadata: { name: namespace } });
  });

  it("creates, reads, replaces, patches, lists and deletes", async () => {
    const key = { namespace, name: "settings" };
    assert.equal(await client.get(CONFIG_MAPS, key), undefined);
    const created = await client.create(CONFIG_MAPS, { metadata: { ...key, labels: { a: "b" } }, data: { x: "1" } });
    assert.equal(created.kind, "ConfigMap");
    assert.deepEqual((await client.get(CONFIG_MAPS, key))?.data, { x: "1" });
    await client.replace(CONFIG_MAPS, { ...created, data: { x: "2", y: "3" } });
    await client.mergePatch(CONFIG_MAPS, key, { data: { y: null, z: "4" } }, { fieldManager: "test" });
    const { items, resourceVersion } = await client.list(CONFIG_MAPS, { namespace, labelSelector: "a=b" });
    assert.deepEqual(
      items.map((item) => [item.apiVersion, item.kind, item.data]),
      [["v1", "ConfigMap", { x: "2", z: "4" }]],
    );
    assert.match(resourceVersion, /^\d+$/);
    assert.equal(await client.delete(CONFIG_MAPS, key), true);
    assert.equal(await client.delete(CONFIG_MAPS, key), false);
    assert.equal(await client.get(CONFIG_MAPS, key), undefined);
  });

  it("deletes only the very object that was meant", async () => {
    const key = { namespace, name: "settings" };
    const { metadata } = await client.create(CONFIG_MAPS, { metadata: key });
    await assert.rejects(
      client.delete(CONFIG_MAPS, key, { uid: "11111111-2222-3333-4444-555555555555" }),
      ConflictError,
    );
    assert.ok(metadata.uid);
    assert.equal(await client.delete(CONFIG_MAPS, key, { uid: metadata.uid }), true);
  });

  it("replace is a compare-and-swap: of two who read the same, one wins", async () => {
    const read = await client.create(CONFIG_MAPS, { metadata: { namespace, name: "shared" }, data: { n: "none" } });
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) => client.replace(CONFIG_MAPS, { ...read, data: { n: String(n) } })),
    );
    const won = results.flatMap((result, n) => (result.status === "fulfilled" ? [String(n)] : []));
    assert.equal(won.length, 1);
    for (const result of results) {
      if (result.status === "rejected")
        assert.ok(result.reason instanceof ConflictError && result.reason.class === "transient");
    }
    assert.equal((await client.get(CONFIG_MAPS, { namespace, name: "shared" }))?.data?.n, won[0]);
  });

  it("two field managers share an object; a conflict names the field and its owner; force takes it", async () => {
    const metadata = { namespace, name: "shared" };
    await client.apply(CONFIG_MAPS, { metadata, data: { a: "1" } }, { fieldManager: "one" });
    await client.apply(CONFIG_MAPS, { metadata, data: { b: "2" } }, { fieldManager: "two" });
    await assert.rejects(
      client.apply(CONFIG_MAPS, { metadata, data: { a: "9", b: "2" } }, { fieldManager: "two" }),
      (error: unknown) => {
        assert.ok(error instanceof ConflictError);
        assert.deepEqual(error.fields, [{ field: ".data.a", message: 'conflict with "one"' }]);
        assert.match(error.message, /apply ConfigMap .*\/shared as two: .*conflict with "one": .data.a/);
        return true;
      },
    );
    const forced = await client.apply(
      CONFIG_MAPS,
      { metadata, data: { a: "9", b: "2" } },
      { fieldManager: "two", force: true },
    );
    assert.deepEqual(forced.data, { a: "9", b: "2" });
    const without = await client.apply(CONFIG_MAPS, { metadata, data: { b: "2" } }, { fieldManager: "two" });
    assert.deepEqual(without.data, { b: "2" }, "what a manager no longer applies is removed");
  });

  it("each manager owns its own conditions; a status apply leaves the spec alone", async () => {
    const metadata = { namespace, name: "w" };
    await client.create(WIDGETS, { metadata, spec: { size: 1 } });
    const ready = { type: "Ready", status: "True", reason: "Fine" };
    const fast = { type: "Fast", status: "False", reason: "Slow" };
    await client.applyStatus(
      WIDGETS,
      { metadata, status: { state: "Up", conditions: [ready] } },
      { fieldManager: "one" },
    );
    await client.applyStatus(WIDGETS, { metadata, status: { conditions: [fast] } }, { fieldManager: "two" });
    const changed = { ...ready, status: "False" };
    await client.applyStatus(
      WIDGETS,
      { metadata, status: { state: "Down", conditions: [changed] } },
      { fieldManager: "one" },
    );
    const widget = await client.get(WIDGETS, metadata);
    assert.deepEqual(widget?.status, { state: "Down", conditions: [changed, fast] });
    assert.deepEqual(widget?.spec, { size: 1 });
    const none = { metadata: { namespace, name: "none" }, status: { state: "Up" } };
    await assert.rejects(client.applyStatus(WIDGETS, none, { fieldManager: "one" }), {
      name: "NotFoundError",
      reason: "NotFound",
    });
  });

  it("keeps what the server says of a wrong object", async () => {
    const metadata = { namespace, name: "w" };
    const invalid = (reason: string, text: RegExp) => (error: unknown) => {
      assert.ok(error instanceof InvalidError, String(error));
      assert.equal(error.class, "user");
      assert.equal(error.reason, reason);
      assert.match(error.message, text);
      return true;
    };
    await assert.rejects(
      client.create(WIDGETS, { metadata, spec: { size: 11 } }),
      invalid("Invalid", /spec.size: .*less than or equal to 10/),
    );
    const unknown = { metadata, spec: { weight: 3 } as Widget["spec"] & object };
    await assert.rejects(
      client.apply(WIDGETS, unknown, { fieldManager: "one" }),
      invalid("UnknownField", /\.spec\.weight/),
    );
    const strict = KubeClient.fromKubeconfig(controlPlane.kubeconfig, { unknownFields: "Strict" });
    await assert.rejects(strict.create(WIDGETS, unknown), invalid("BadRequest", /unknown field "spec.weight"/));
    assert.deepEqual(
      (await client.create(WIDGETS, unknown)).spec,
      {},
      "without Strict it is dropped, with a warning in the log",
    );
  });

  it("tells a missing namespace and a kind that is not served from a missing object", async () => {
    await assert.rejects(client.create(CONFIG_MAPS, { metadata: { namespace: "nowhere", name: "x" } }), {
      name: "NotFoundError",
      reason: "NotFound",
      class: "transient",
    });
    const ghosts: ResourceType = {
      apiVersion: "ghost.quorate.dev/v1",
      kind: "Ghost",
      plural: "ghosts",
      namespaced: true,
    };
    const notServed = { name: "NotFoundError", reason: "KindNotServed", class: "environment" };
    await assert.rejects(client.get(ghosts, { namespace, name: "x" }), notServed);
    await assert.rejects(client.list(ghosts), notServed);
  });

  it("lists more than a page as of one moment", async () => {
    const names = Array.from({ length: 1_203 }, (_, n) => `n${n}`);
    for (let i = 0; i < names.length; i += 50) {
      await Promise.all(
        names.slice(i, i + 50).map((name) => client.create(CONFIG_MAPS, { metadata: { namespace, name } })),
      );
    }
    const { items } = await client.list(CONFIG_MAPS, { namespace });
    assert.deepEqual(items.map((item) => item.metadata.name).sort(), names.sort());
  });

  it("says who may not do what", async () => {
    const jane = KubeClient.fromKubeconfig(await controlPlane.kubeconfigFor({ name: "jane" }));
    await assert.rejects(jane.get(SECRETS, { namespace, name: "key" }), (error: unknown) => {
      assert.ok(error instanceof ForbiddenError);
      assert.match(error.message, /User "jane" cannot get resource "secrets"/);
      return true;
    });
  });

  it("becomes another user when the kubeconfig's certificate is replaced, without a restart", async () => {
    const folder = mkdtempSync(join(tmpdir(), "quorate-client-"));
    try {
      const path = join(folder, "kubeconfig");
      copyFileSync(await controlPlane.kubeconfigFor({ name: "jane" }), path);
      const clock = new ManualClock();
      const rotated = KubeClient.fromKubeconfig(path, { clock });
      await assert.rejects(rotated.list(CONFIG_MAPS, { namespace }), ForbiddenError);
      copyFileSync(controlPlane.kubeconfig, path);
      clock.freeze(11_000);
      await rotated.list(CONFIG_MAPS, { namespace });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("signs in with a service account's token from a file, and with its successor", async () => {
    const folder = mkdtempSync(join(tmpdir(), "quorate-client-"));
    try {
      await controlPlane.kubectl(["create", "serviceaccount", "robot", "-n", namespace]);
      const { stdout: token } = await controlPlane.kubectl(["create", "token", "robot", "-n", namespace]);
      const { stdout: shown } = await controlPlane.kubectl(["config", "view", "--raw", "--flatten", "-o", "json"]);
      const config = JSON.parse(shown);
      config.users[0].user = { tokenFile: "token" };
      writeFileSync(join(folder, "kubeconfig"), JSON.stringify(config));
      writeFileSync(join(folder, "token"), "no longer valid");
      const clock = new ManualClock();
      const robot = KubeClient.fromKubeconfig(join(folder, "kubeconfig"), { clock });
      await assert.rejects(robot.list(CONFIG_MAPS, { namespace }), { reason: "Unauthorized" });
      writeFileSync(join(folder, "token"), token.trim());
      clock.freeze(2_000);
      await assert.rejects(
        robot.list(CONFIG_MAPS, { namespace }),
        new RegExp(`system:serviceaccount:${namespace}:robot`),
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("approves a certificate request through its subresource", async () => {
    const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const request = await Pkcs10CertificateRequestGenerator.create({
      name: "CN=jane",
      keys,
      signingAlgorithm: algorithm,
    });
    const name = `csr-${namespace}`;
    const spec = {
      request: Buffer.from(request.toString("pem")).toString("base64"),
      signerName: "kubernetes.io/kube-apiserver-client",
      usages: ["client auth"],
    };
    await client.create(CERTIFICATE_SIGNING_REQUESTS, { metadata: { name }, spec });
    const conditions = [{ type: "Approved", status: "True", reason: "Known", message: "expected" }];
    const approval = { fieldManager: "test", subresource: "approval" };
    const approved = await client.mergePatch(
      CERTIFICATE_SIGNING_REQUESTS,
      { name },
      { status: { conditions } },
      approval,
    );
    assert.equal(approved.status?.conditions?.[0]?.type, "Approved");
  });
});
