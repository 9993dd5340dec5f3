import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { controllersClient } from "../../charts/quorate/testing.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  GUESTS,
  REPLICATION_JOBS,
  type ReplicationJob,
  type ReplicationJobStatus,
} from "../../crds/index.ts";
import { type ControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { KubeClient } from "../../kube/index.ts";
import { processLog } from "../../log.ts";
import { applyAll, condition, eventually, must, startApi } from "../membership/testing.ts";
import { type RunningReplication, startReplication } from "./controller.ts";
import { COPIES_REMOVED } from "./removal.ts";

const skip = whyNoControlPlane() ?? false;

describe("the replication controller", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let controller: RunningReplication;
  const namespace = "lab";
  const told: string[] = [];

  const cluster = {
    kind: "Cluster",
    metadata: { name: "lab" },
    spec: {
      links: [{ network: "10.6.0.0/24" }],
      storages: [{ name: "tank", type: "ZFS", dataset: "tank/guests" }],
      guestIds: { lower: 100, upper: 103 },
    },
  };
  const node = (name: string) => ({ kind: "ClusterNode", metadata: { name }, spec: {} });
  const guest = (name: string, spec: object = {}) => ({
    kind: "Guest",
    metadata: { name },
    spec: {
      nodeName: "n1",
      service: { unit: `${name}.service` },
      volumes: [{ name: "root", storage: "tank", size: "1Gi" }],
      ...spec,
    },
  });
  const job = (guestName: string, target: string, spec: object = {}) => ({
    kind: "ReplicationJob",
    metadata: { name: `${guestName}-${target}` },
    spec: { guest: guestName, target, ...spec },
  });
  const jobIs = (name: string, check: (one: ReplicationJob) => void) =>
    eventually(name, () => must(client, REPLICATION_JOBS, namespace, name), check);
  const ready = (name: string, wanted: string) =>
    jobIs(name, (one) => assert.equal(condition(one, "Ready"), wanted, JSON.stringify(one.status)));
  /** As the agent of the source writes. */
  const report = async (name: string, status: ReplicationJobStatus) => {
    await client.applyStatus(
      REPLICATION_JOBS,
      { metadata: { namespace, name }, status },
      { fieldManager: "quorate-agent-n1", force: true },
    );
  };
  /** As the membership controller writes. */
  const agentReady = async (name: string, isReady: boolean) => {
    const conditions = [
      {
        type: "AgentReady",
        status: isReady ? ("True" as const) : ("False" as const),
        reason: "R",
        message: "",
        lastTransitionTime: "2026-01-01T00:00:00Z",
      },
    ];
    await client.applyStatus(
      CLUSTER_NODES,
      { metadata: { namespace, name }, status: { conditions } },
      { fieldManager: "quorate-membership", force: true },
    );
  };

  before(async () => {
    controlPlane = await startApi();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await controlPlane.kubectl(["create", "namespace", namespace]);
    controller = await startReplication({
      client: await controllersClient(controlPlane),
      log: processLog("replication-test"),
      events: { event: ({ reason }) => void told.push(reason) },
    });
    await applyAll(controlPlane, namespace, [cluster, node("n1"), node("n2"), node("n3")]);
    for (const name of ["n1", "n2", "n3"]) await agentReady(name, true);
  });
  after(async () => {
    await controller?.stop();
    await controlPlane?.stop();
  });

  it("gives guests the lowest free ids, and keeps those that were chosen", async () => {
    await applyAll(controlPlane, namespace, [guest("db1", { vmid: 101 }), guest("web1"), guest("web2")]);
    const vmids = async () =>
      (await client.list(GUESTS, { namespace })).items
        .map(({ metadata, spec }) => `${metadata.name}=${spec.vmid}`)
        .sort();
    await eventually("ids", vmids, (found) => assert.deepEqual(found, ["db1=101", "web1=100", "web2=102"]));
    await applyAll(controlPlane, namespace, [guest("web3")]);
    await applyAll(controlPlane, namespace, [job("web3", "n2")]);
    await ready("web3-n2", "False NoVmid");
    // Its disks and copies are still there under its id, which nobody gets again.
    await controlPlane.kubectl(["delete", "guest", "web2", "-n", namespace]);
    const wider = { ...cluster, spec: { ...cluster.spec, guestIds: { lower: 100, upper: 104 } } };
    await applyAll(controlPlane, namespace, [wider]);
    await eventually(
      "an id that no guest had",
      () => must(client, GUESTS, namespace, "web3"),
      ({ spec }) => assert.equal(spec.vmid, 103),
    );
    const { metadata } = await must(client, CLUSTERS, namespace, "lab");
    assert.equal(metadata.annotations?.["quorate.dev/used-vmids"], "100-103");
  });

  it("makes a new job due at once, with its id and both ends, in the columns of kubectl", async () => {
    await applyAll(controlPlane, namespace, [job("web1", "n2", { schedule: "*/5" }), job("web1", "n3")]);
    const made = await ready("web1-n2", "True Scheduled");
    const { jobId, source, target, nextSync, state } = made.status ?? {};
    assert.deepEqual(
      { jobId, source, target, nextSync },
      { jobId: "100-0", source: "n1", target: "n2", nextSync: made.metadata.creationTimestamp },
    );
    await jobIs("web1-n2", (one) => assert.equal(one.status?.state, "Idle", state));
    await jobIs("web1-n3", (one) => assert.equal(one.status?.jobId, "100-1"));
    const { stdout } = await controlPlane.kubectl(["get", "replicationjobs", "web1-n2", "-n", namespace]);
    assert.match(stdout, /web1-n2 +100-0 +web1 +n1 +n2 +\*\/5 .*Idle +True/);
  });

  it("computes the next time after a run, the delay after a failure, and none while the target is away", async () => {
    await report("web1-n2", {
      state: "Idle",
      lastTry: "2026-11-21T00:01:00Z",
      lastSync: "2026-11-21T00:01:00Z",
      failCount: 0,
    });
    await jobIs("web1-n2", (one) =>
      assert.equal(
        one.status?.nextSync && Date.parse(one.status.nextSync) > Date.parse(one.metadata.creationTimestamp ?? "") - 1,
        true,
      ),
    );
    const lastTry = "2027-01-01T00:01:00Z";
    await report("web1-n2", { state: "Idle", lastTry, failCount: 0 });
    await jobIs("web1-n2", (one) => assert.equal(one.status?.nextSync, "2027-01-01T00:05:00Z"));
    await report("web1-n2", {
      state: "Failed",
      lastTry,
      failCount: 1,
      lastRun: { outcome: "Failed", reason: "NoSpace", message: "tank is full" },
    });
    await jobIs("web1-n2", (one) =>
      assert.deepEqual([one.status?.nextSync, condition(one, "Ready")], ["2027-01-01T00:06:00Z", "False NoSpace"]),
    );
    await agentReady("n2", false);
    await jobIs("web1-n2", (one) =>
      assert.deepEqual([one.status?.nextSync, condition(one, "Ready")], [undefined, "False TargetOffline"]),
    );
    await agentReady("n2", true);
    await ready("web1-n2", "False NoSpace");
    await report("web1-n2", { state: "Idle", lastTry, failCount: 0 });
    await ready("web1-n2", "True Scheduled");
  });

  it("shows a suspended job, and gives the state back to the agent", async () => {
    await applyAll(controlPlane, namespace, [job("web1", "n2", { schedule: "*/5", suspend: true })]);
    await jobIs("web1-n2", (one) =>
      assert.deepEqual(
        [one.status?.state, one.status?.nextSync, condition(one, "Ready")],
        ["Suspended", undefined, "False Suspended"],
      ),
    );
    await applyAll(controlPlane, namespace, [job("web1", "n2", { schedule: "*/5", suspend: false })]);
    await jobIs("web1-n2", (one) => assert.equal(one.status?.state, "Idle"));
    await report("web1-n2", { state: "Running", lastTry: "2027-01-01T00:05:00Z", failCount: 0 });
    await jobIs("web1-n2", (one) =>
      assert.deepEqual([one.status?.state, one.status?.nextSync], ["Running", "2027-01-01T00:10:00Z"]),
    );
    await report("web1-n2", { state: "Idle", lastTry: "2027-01-01T00:05:00Z", failCount: 0 });
  });

  it("says in a condition what is wrong, and takes it back when it is put right", async () => {
    await applyAll(controlPlane, namespace, [
      job("app1", "n2"),
      job("web1", "n1"),
      job("web1", "n9"),
      job("web3", "n3", { schedule: "02-30" }),
    ]);
    await ready("app1-n2", "False GuestNotFound");
    await ready("web1-n1", "False TargetIsSource");
    await ready("web1-n9", "False TargetNotFound");
    await ready("web3-n3", "False ScheduleRefused");
    await applyAll(controlPlane, namespace, [guest("app1", { vmid: 500 })]);
    await ready("app1-n2", "True Scheduled");
  });

  it("turns a job round when its guest has moved to the target", async () => {
    await client.mergePatch(
      GUESTS,
      { namespace, name: "app1" },
      { spec: { nodeName: "n2" } },
      { fieldManager: "quorate-ha" },
    );
    await jobIs("app1-n2", (one) => assert.deepEqual([one.status?.source, one.status?.target], ["n2", "n1"]));
  });

  it("gives no id while it cannot be read which ones were used, and goes on with the jobs", async () => {
    const used = (value: string) =>
      controlPlane.kubectl([
        "annotate",
        "cluster",
        "lab",
        `quorate.dev/used-vmids=${value}`,
        "--overwrite",
        "-n",
        namespace,
      ]);
    await used("oops");
    await applyAll(controlPlane, namespace, [
      { ...cluster, spec: { ...cluster.spec, guestIds: { lower: 100, upper: 105 } } },
      guest("web4"),
      job("app1", "n2", { suspend: true }),
    ]);
    await ready("app1-n2", "False Suspended");
    assert.equal((await must(client, GUESTS, namespace, "web4")).spec.vmid, undefined);
    await used("100-103");
    await eventually(
      "an id",
      () => must(client, GUESTS, namespace, "web4"),
      ({ spec }) => assert.equal(spec.vmid, 104),
    );
  });

  it("lets a deleted job go when its agent has removed the copies, at once when there are none", async () => {
    await controlPlane.kubectl(["delete", "replicationjob", "web1-n9", "web1-n1", "-n", namespace, "--timeout=10s"]);
    await controlPlane.kubectl(["delete", "replicationjob", "web1-n2", "-n", namespace, "--wait=false"]);
    await ready("web1-n2", "False Removing");
    const conditions = [
      {
        type: COPIES_REMOVED,
        status: "True" as const,
        reason: "Removed",
        message: "",
        lastTransitionTime: "2026-01-01T00:00:00Z",
      },
    ];
    await report("web1-n2", { state: "Idle", lastTry: "2027-01-01T00:05:00Z", conditions });
    await eventually(
      "gone",
      () => client.get(REPLICATION_JOBS, { namespace, name: "web1-n2" }),
      (gone) => assert.equal(gone, undefined),
    );
    assert.deepEqual(told, []);
  });

  it("does not wait for copies on a node that is gone, and tells that they stay", async () => {
    await report("web1-n3", { state: "Idle", lastTry: "2027-01-01T00:05:00Z" });
    await controlPlane.kubectl(["delete", "clusternode", "n3", "-n", namespace]);
    await controlPlane.kubectl(["delete", "replicationjob", "web1-n3", "-n", namespace, "--timeout=10s"]);
    assert.deepEqual(told, ["CopiesLeft"]);
  });
});
