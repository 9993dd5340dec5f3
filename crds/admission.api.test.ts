import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type ControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { complaint, createNamespaces, startApi } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;
const serviceAccount = "system:serviceaccount:quorate:quorate-agent";
const nodeName = "authentication.kubernetes.io/node-name";

/** The agent of n1, as a pod of the DaemonSet; as a user of a host outside Kubernetes; and with a token of no node. */
const pod = [`--as=${serviceAccount}`, `--as-user-extra=${nodeName}=n1`];
const user = ["--as=quorate:agent:lab:n1"];
const unbound = [`--as=${serviceAccount}`];

describe("agents", { skip }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await startApi();
    await createNamespaces(controlPlane, ["lab", "other", "quorate"]);
    await controlPlane.kubectl(["apply", "--server-side", "-f", join(import.meta.dirname, "admission")]);
    await controlPlane.kubectl(["apply", "-f", "-"], {
      input: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
    });
    for (const [object, status] of statuses) await write([], object, { status });
    // Admission policies come into force a moment after they are accepted.
    const deadline = Date.now() + 20_000;
    while ((await write(pod, "guest/web2", { status: { state: "Running" } })) === undefined) {
      assert.equal(Date.now() < deadline, true, "the policies do not come into force");
      await delay(100);
    }
  });
  after(() => controlPlane?.stop());

  function write(as: string[], object: string, patch: object, ...args: string[]): Promise<string | undefined> {
    const subresource = "status" in patch ? ["--subresource=status"] : [];
    const namespace = args.length > 0 ? [] : ["-n", "lab"];
    return complaint(controlPlane, [
      ...["patch", object, ...namespace, ...args, ...subresource, "--type=merge", "-p", JSON.stringify(patch)],
      ...as,
    ]);
  }

  async function refused(promise: Promise<string | undefined>, why: RegExp): Promise<void> {
    assert.match((await promise) ?? "(accepted)", why);
  }

  for (const [name, as] of Object.entries({ "in a pod": pod, "outside Kubernetes": user })) {
    it(`${name} write the status of their own node's objects`, async () => {
      for (const [object, status] of own) {
        assert.equal(await write(as, object, { status }), undefined, object);
      }
    });

    it(`${name} write nothing of other nodes`, async () => {
      for (const [object, status] of foreign) {
        await refused(
          write(as, object, { status }),
          /the agent of node "n1" may not write the status of [a-z]+ "[a-z0-9-]+", which belongs to node "n2"/,
        );
      }
    });

    it(`${name} write no spec and make or delete nothing`, async () => {
      await refused(
        write(as, "clusternode/n1", { spec: { votes: 5 } }),
        /the agent of node "n1" may write the status of clusternodes only, not UPDATE them/,
      );
      await refused(
        complaint(controlPlane, ["delete", "guest/web1", "-n", "lab", ...as]),
        /may write the status of guests only, not DELETE them/,
      );
      await refused(
        write(as, "cluster/lab", { status: { leader: "n1" } }),
        /may not write the status of clusters "lab", which belongs to no node/,
      );
    });
  }

  it("do not write what is the controllers' in the status of their own objects", async () => {
    await refused(
      write(pod, "clusternode/n1", { status: { state: "Online", votes: 9 } }),
      /may not write status\.state, status\.votes of clusternodes "n1"; that belongs to the controllers/,
    );
    await refused(
      write(pod, "haresource/web1", { status: { node: "n2" } }),
      /may not write status\.node of haresources/,
    );
    // A guest that no watchdog guarded must not be taken for one that a fence by waiting is a proof for.
    await refused(
      write(pod, "haresource/web1", { status: { guarded: true } }),
      /may not write status\.guarded of haresources "web1"; that belongs to the controllers/,
    );
    await refused(write(pod, "replicationjob/web1-n2", { status: { source: "n3" } }), /may not write status\.source/);
    await refused(write(pod, "guest/web1", { status: { node: "n2" } }), /"web1" is on another node/);
  });

  it("set their own conditions of a ClusterNode and no others", async () => {
    assert.equal(await write(pod, "clusternode/n1", { status: { conditions: [condition("AgentReady")] } }), undefined);
    await refused(
      write(pod, "clusternode/n1", { status: { conditions: [condition("AgentReady"), condition("Member")] } }),
      /may write the conditions AgentReady, LinksHealthy, WatchdogArmed only/,
    );
  });

  it("with a token that is bound to no node write nothing", async () => {
    await refused(write(unbound, "guest/web1", { status: { state: "Running" } }), /is not bound to a node/);
  });

  it("of one cluster write nothing in another", async () => {
    await refused(
      write(user, "clusternode/n1", { status: { linksUp: "2/2" } }, "-n", "other"),
      /belongs to namespace "lab" and may write nothing in "other"/,
    );
  });

  describe("hold their node's Lease", () => {
    const lease = "lease/quorate-agent-n1";
    const claim = (holderIdentity: string, leaseTransitions: number) => ({
      spec: { holderIdentity, leaseTransitions },
    });

    it("create, renew and release it", async () => {
      const object = {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "quorate-agent-n1", namespace: "lab" },
        ...claim("n1/boot-1", 1),
      };
      assert.equal(await complaint(controlPlane, ["create", "-f", "-", ...pod], JSON.stringify(object)), undefined);
      assert.equal(await write(pod, lease, { metadata: { annotations: { "quorate.dev/mode": "Active" } } }), undefined);
      assert.equal(await write(pod, lease, claim("", 1)), undefined);
      assert.equal(await write(pod, lease, claim("n1/boot-2", 2)), undefined);
    });

    it("only under their own name", async () => {
      await refused(write(pod, lease, claim("quorate-crm", 3)), /may hold its Lease only as "n1\/<boot id>"/);
      await refused(write(pod, lease, claim("n11/boot-2", 3)), /may hold its Lease only as "n1\/<boot id>"/);
    });

    it("no other Lease, and do not delete it", async () => {
      await refused(write(pod, "lease/quorate-agent-n2", claim("n1/boot-2", 9)), /may create and renew the Lease/);
      await refused(
        complaint(controlPlane, ["delete", lease, "-n", "lab", ...pod]),
        /not DELETE "quorate-agent-n1"|delete ClusterNode "n1"/,
      );
    });

    it("not when it was taken: the node counts as fenced until it is released", async () => {
      assert.equal(await write([], lease, claim("quorate-crm", 3)), undefined);
      await refused(
        write(pod, lease, claim("n1/boot-2", 4)),
        /the Lease "quorate-agent-n1" was taken by "quorate-crm", so node "n1" counts as fenced/,
      );
      assert.equal(await write([], lease, claim("", 3)), undefined);
      assert.equal(await write(pod, lease, claim("n1/boot-2", 4)), undefined);
    });

    it("in epochs that nobody turns back or skips", async () => {
      await refused(write([], lease, claim("n1/boot-2", 2)), /cannot fall from 4 to 2/);
      await refused(write([], lease, claim("quorate-crm", 4)), /passes to "quorate-crm" without a new epoch/);
    });
  });

  it("are the only ones that this binds: an administrator may do all of it", async () => {
    assert.equal(await write([], "clusternode/n2", { status: { state: "Online" } }), undefined);
    assert.equal(await write([], "haresource/web2", { status: { node: "n1" } }), undefined);
    assert.equal(await write([], "haresource/web2", { status: { node: "n2" } }), undefined);
  });

  it("do not come into it: the binding of a guest is changed by controllers only", async () => {
    const away = { spec: { nodeName: "n3" } };
    await refused(write([], "guest/web2", away), /guest "web2" lives on "n2"; to move it, create a Migration/);
    assert.equal(await write([], "guest/web2", away, "-n", "lab", "--field-manager=quorate-ha"), undefined);
    assert.equal(await write([], "guest/unbound", away), undefined);
  });

  it("could not make sockets for guests of very long names", async () => {
    const long = "n".repeat(50);
    await createNamespaces(controlPlane, [long]);
    const object = { ...guest("w".repeat(24), undefined), metadata: { name: "w".repeat(24), namespace: long } };
    await refused(
      complaint(controlPlane, ["create", "-f", "-"], JSON.stringify(object)),
      /have 74 characters together and may have 73; shorten one of them/,
    );
  });
});

function condition(type: string): object {
  return { type, status: "True", reason: "Seen", message: "", lastTransitionTime: "2026-11-21T00:00:00Z" };
}

function object(kind: string, name: string, spec: object, namespace = "lab"): object {
  return { apiVersion: "quorate.dev/v1alpha1", kind, metadata: { name, namespace }, spec };
}

function guest(name: string, node: string | undefined): object {
  return object("Guest", name, { machine: {}, ...(node === undefined ? {} : { nodeName: node }) });
}

const role = "agents-may-try-everything";
const items = [
  {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: role },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" },
    subjects: [
      { kind: "User", apiGroup: "rbac.authorization.k8s.io", name: "quorate:agent:lab:n1" },
      { kind: "ServiceAccount", name: "quorate-agent", namespace: "quorate" },
    ],
  },
  object("Cluster", "lab", { links: [{ network: "10.6.0.0/24" }] }),
  object("ClusterNode", "n1", {}),
  object("ClusterNode", "n2", {}),
  object("ClusterNode", "n1", {}, "other"),
  guest("web1", "n1"),
  guest("web2", "n2"),
  guest("unbound", undefined),
  object("HAResource", "web1", {}),
  object("HAResource", "web2", {}),
  object("ReplicationJob", "web1-n2", { guest: "web1", target: "n2" }),
  object("ReplicationJob", "web2-n1", { guest: "web2", target: "n1" }),
  object("Migration", "move-web1", { guest: "web1", target: "n2" }),
  object("Migration", "move-web2", { guest: "web2", target: "n1" }),
  {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "quorate-agent-n2", namespace: "lab" },
    spec: { holderIdentity: "n2/boot-7", leaseTransitions: 7 },
  },
];

const statuses: [string, object][] = [
  ["haresource/web1", { state: "Started", node: "n1" }],
  ["haresource/web2", { state: "Started", node: "n2" }],
  ["replicationjob/web1-n2", { source: "n1", target: "n2" }],
  ["replicationjob/web2-n1", { source: "n2", target: "n1" }],
  ["migration/move-web1", { source: "n1", state: "Pending" }],
  ["migration/move-web2", { source: "n2", state: "Pending" }],
];

const own: [string, object][] = [
  ["clusternode/n1", { linksUp: "2/2", lrm: { mode: "Active" }, corosync: { quorate: true } }],
  ["guest/web1", { state: "Running", node: "n1" }],
  ["haresource/web1", { result: { uid: "1.1", outcome: "Ok" } }],
  ["replicationjob/web1-n2", { state: "Running", progress: { bytes: 1 } }],
  ["migration/move-web1", { state: "Running", progress: { bytes: 1 } }],
];

const foreign: [string, object][] = [
  ["clusternode/n2", { linksUp: "0/2" }],
  ["guest/web2", { state: "Stopped" }],
  ["haresource/web2", { result: { uid: "1.1", outcome: "Ok" } }],
  ["replicationjob/web2-n1", { state: "Failed" }],
  ["migration/move-web2", { state: "Failed" }],
];
