import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { agentClient } from "../../charts/quorate/testing.ts";
import { systemClock } from "../../clock.ts";
import { type Guest, REPLICATION_JOBS, type ReplicationJob, type ReplicationJobStatus } from "../../crds/index.ts";
import { startApi } from "../../crds/testing.ts";
import { type ControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { QuorateError } from "../../errors.ts";
import { KubeClient } from "../../kube/index.ts";
import { processLog } from "../../log.ts";
import { FakeHost } from "../host/index.ts";
import { JobRunner } from "./index.ts";
import { FakeCopies, root } from "./testing/index.ts";

const skip = whyNoControlPlane() ?? false;
const namespace = "lab";
const name = "web1-n2";

/** Two agents write the status of one job, one after the other, as when its guest moves: server-side apply keeps what each wrote. */
describe("the status of a job on a real API server", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  const get = async (): Promise<ReplicationJob> =>
    (await client.get(REPLICATION_JOBS, { namespace, name })) ?? assert.fail("the job is gone");

  before(async () => {
    controlPlane = await startApi();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await controlPlane.kubectl(["create", "namespace", namespace]);
    await controlPlane.kubectl(["apply", "-f", "-"], {
      input: JSON.stringify({
        apiVersion: "quorate.dev/v1alpha1",
        kind: "ReplicationJob",
        metadata: { name, namespace, finalizers: ["quorate.dev/replication"] },
        spec: { guest: "web1", target: "n2", number: 0 },
      }),
    });
  });
  after(() => controlPlane?.stop());

  /** As the controller writes. */
  const turn = (source: string, target: string) =>
    client.applyStatus(
      REPLICATION_JOBS,
      { metadata: { name, namespace }, status: { jobId: "100-0", source, target } },
      { fieldManager: "quorate-replication", force: true },
    );
  /** One tick of the agent of this node, where the guest lives. */
  const tick = async (node: string, copies: FakeCopies): Promise<ReplicationJobStatus> => {
    const job = await get();
    const guest = {
      metadata: { name: "web1", namespace },
      spec: { nodeName: node, vmid: 100 },
      status: { node, volumes: [{ name: "root" }] },
    } as Guest;
    const runner = new JobRunner({
      node,
      namespace,
      client: await agentClient(controlPlane, namespace, node),
      clock: systemClock,
      log: Object.assign(processLog("test"), { level: "silent" }),
      jobs: () => [job],
      guest: () => guest,
      nodes: () => ["n1", "n2", "n3"],
      volumes: () => [root],
      storage: () => copies.driver(),
      parts: async (target) => ({
        host: new FakeHost(),
        storage: () => copies.driver(),
        target: copies.client(target),
        quiesce: async () => async () => undefined,
      }),
      claim: () => () => undefined,
    });
    runner.tick(new AbortController().signal);
    await runner.idle();
    return (await get()).status ?? {};
  };
  const runNow = (value: string) =>
    client.mergePatch(REPLICATION_JOBS, { namespace, name }, { spec: { runNow: value } }, { fieldManager: "user" });

  it("a run's is accepted whole", async () => {
    await turn("n1", "n2");
    await runNow("1");
    const status = await tick("n1", new FakeCopies());
    assert.equal(status.state, "Idle");
    assert.equal(status.lastSync, "2026-11-21T00:00:30Z");
    assert.deepEqual(status.copies, [{ node: "n2", snapshot: status.snapshot?.name, time: status.lastSync }]);
    assert.match(status.log?.at(-1) ?? "", / is on n2: /);
  });

  it("turned round, another agent takes back what is said of the target, though it never wrote it", async () => {
    const before = (await get()).status;
    await turn("n2", "n1");
    const status = await tick("n2", new FakeCopies());
    assert.deepEqual(
      [status.lastSync, status.snapshot, status.baseGuid, status.ageOfDataSeconds],
      [undefined, undefined, undefined, undefined],
    );
    assert.deepEqual(status.copies, before?.copies, "where the guest's data was is still told");
    assert.deepEqual([status.source, status.target, status.jobId], ["n2", "n1", "100-0"]);
    const { resourceVersion } = (await get()).metadata;
    await tick("n2", new FakeCopies());
    assert.equal((await get()).metadata.resourceVersion, resourceVersion, "once");
  });

  it("the first turned run tells of the new target's copy alone", async () => {
    await runNow("2");
    const copies = new FakeCopies();
    copies.madeAt += 60;
    const status = await tick("n2", copies);
    assert.equal(status.lastSync, "2026-11-21T00:01:30Z");
    assert.deepEqual(
      status.copies?.map(({ node }) => node),
      ["n1"],
      "n2's disk is what the guest runs on now",
    );
  });

  it("a failure on one node leaves nothing in the success on the other", async () => {
    await turn("n1", "n2");
    await runNow("3");
    const failing = new FakeCopies();
    failing.send = () => Promise.reject(new QuorateError("environment", "NoSpace", "the pool is full"));
    assert.equal((await tick("n1", failing)).lastRun?.reason, undefined, "first what is said of the copy is put right");
    assert.equal((await tick("n1", failing)).lastRun?.reason, "NoSpace");
    await turn("n2", "n1");
    await tick("n2", new FakeCopies());
    await runNow("4");
    const { lastRun } = await tick("n2", new FakeCopies());
    assert.deepEqual([lastRun?.outcome, lastRun?.reason, lastRun?.message], ["Succeeded", undefined, undefined]);
  });

  it("deleted, it gets its answer and keeps it until the finalizer goes", async () => {
    await client.delete(REPLICATION_JOBS, { namespace, name });
    const copies = new FakeCopies();
    const status = await tick("n2", copies);
    const answer = status.conditions?.find(({ type }) => type === "CopiesRemoved");
    assert.deepEqual([answer?.status, answer?.reason], ["True", "Removed"], JSON.stringify(status));
    assert.equal(copies.calls[0], "n1: 100-0 destroys the copy");
  });
});
