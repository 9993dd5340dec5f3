import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { complaint, createNamespaces } from "./testing.ts";

// With the controllers of Kubernetes itself: a namespace is to end for real.
const skip = whyNoControlPlane({ cluster: true }) ?? false;
const controllers = "--as=system:serviceaccount:quorate:quorate-controllers";
const refusal =
  /without the Lease "quorate-agent-n1" .* node "n1" counts its host as fenced and resets it; .* delete ClusterNode "n1"/s;

describe("the Lease of a node", { skip }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await startControlPlane({ cluster: true });
    await createNamespaces(controlPlane, ["lab", "ends"]);
    await apply([
      {
        apiVersion: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRoleBinding",
        metadata: { name: "controllers-may-delete" },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
        subjects: [{ kind: "ServiceAccount", name: "quorate-controllers", namespace: "quorate" }],
      },
      lease("quorate-agent-n1", "lab"),
      lease("quorate-agent-n1", "ends"),
      lease("of-something-else", "lab"),
    ]);
    await controlPlane.kubectl(["apply", "-f", join(import.meta.dirname, "admission", "lease-deletion.yaml")]);
    // An admission policy comes into force a moment after it is accepted.
    const deadline = Date.now() + 20_000;
    while ((await remove("quorate-agent-n1", "--dry-run=server")) === undefined) {
      assert.equal(Date.now() < deadline, true, "the policy does not come into force");
      await delay(100);
    }
  });
  after(() => controlPlane?.stop());

  const apply = (items: object[]) =>
    controlPlane.kubectl(["apply", "-f", "-"], { input: JSON.stringify({ apiVersion: "v1", kind: "List", items }) });
  const remove = (name: string, ...more: string[]) =>
    complaint(controlPlane, ["delete", "lease", name, "-n", "lab", ...more]);

  it("is deleted by nobody, an administrator included, who is told what to do", async () => {
    assert.match((await remove("quorate-agent-n1")) ?? "(accepted)", refusal);
  });

  it("is not deleted with all others either", async () => {
    const collection = "/apis/coordination.k8s.io/v1/namespaces/lab/leases";
    assert.match((await complaint(controlPlane, ["delete", "--raw", collection])) ?? "(accepted)", refusal);
  });

  it("is the only one that this is about", async () => {
    await apply([lease("of-something-else", "lab")]);
    assert.equal(await remove("of-something-else"), undefined);
  });

  it("is deleted by the controllers, with its node", async () => {
    assert.equal(await remove("quorate-agent-n1", controllers), undefined);
  });

  it("goes with its namespace", async () => {
    assert.equal(await complaint(controlPlane, ["delete", "namespace", "ends", "--wait", "--timeout=90s"]), undefined);
  });
});

function lease(name: string, namespace: string): object {
  return { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name, namespace }, spec: {} };
}
