import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  API_VERSION,
  type Cluster,
  type ClusterNode,
  type Guest,
  type ReplicationJob,
  type ReplicationJobStatus,
  withDefaults,
} from "../../crds/index.ts";
import { decideJob, type JobsView } from "./jobs.ts";
import { COPIES_REMOVED, decideRelease } from "./removal.ts";

const created = "2026-11-21T00:00:00Z";
const meta = (name: string) => ({ name, namespace: "lab", creationTimestamp: created, generation: 1 });
const cluster = (storages: object[] = [{ name: "tank", type: "ZFS", dataset: "tank/guests" }]): Cluster => ({
  apiVersion: API_VERSION,
  kind: "Cluster",
  metadata: meta("lab"),
  ...defaulted<Cluster>("Cluster", { spec: { links: [{ network: "10.6.0.0/24" }], storages } }),
});
const node = (name: string, agentReady = true): ClusterNode => ({
  apiVersion: API_VERSION,
  kind: "ClusterNode",
  metadata: meta(name),
  ...defaulted<ClusterNode>("ClusterNode", { spec: {} }),
  status: {
    conditions: [
      {
        type: "AgentReady",
        status: agentReady ? "True" : "False",
        reason: "R",
        message: "",
        lastTransitionTime: created,
      },
    ],
  },
});
const guest = (spec: object = {}, name = "web1"): Guest => ({
  apiVersion: API_VERSION,
  kind: "Guest",
  metadata: meta(name),
  ...defaulted<Guest>("Guest", {
    spec: {
      vmid: 100,
      nodeName: "n1",
      service: { unit: "x.service" },
      volumes: [{ name: "root", storage: "tank", size: "1Gi" }],
      ...spec,
    },
  }),
});
const job = (status?: ReplicationJobStatus, spec: object = {}): ReplicationJob => {
  const { target = "n2" } = spec as { target?: string };
  return {
    apiVersion: API_VERSION,
    kind: "ReplicationJob",
    metadata: meta(`web1-${target}`),
    ...defaulted<ReplicationJob>("ReplicationJob", { spec: { guest: "web1", target, number: 0, ...spec } }),
    ...(status ? { status } : {}),
  };
};
const wallMs = Date.parse("2026-11-21T00:07:00Z");
const world = (changes: Partial<JobsView> = {}): JobsView => ({
  cluster: cluster(),
  nodes: [node("n1"), node("n2"), node("n3")],
  guests: [guest()],
  jobs: [],
  wallMs,
  ...changes,
});
const decide = (one: ReplicationJob, changes: Partial<JobsView> = {}) =>
  decideJob(one, world({ jobs: [one], ...changes }));
const ready = (one: ReplicationJob, changes: Partial<JobsView> = {}) => {
  const found = decide(one, changes).status.conditions?.[0];
  return `${found?.status} ${found?.reason}: ${found?.message}`;
};

describe("a sound job", () => {
  test("has its id, both ends, and is due at once when it is new", () => {
    const { status, state } = decide(job());
    const { jobId, source, target, nextSync } = status;
    assert.deepEqual(
      { jobId, source, target, nextSync, state },
      { jobId: "100-0", source: "n1", target: "n2", nextSync: created, state: "Idle" },
    );
    assert.equal(ready(job()), "True Scheduled: from n1 to n2");
  });
  test("runs next by its schedule, counted from the last try, in its time zone", () => {
    assert.equal(
      decide(job({ lastTry: "2026-11-21T00:16:10Z", state: "Idle" })).status.nextSync,
      "2026-11-21T00:30:00Z",
    );
    const vienna = job(
      { lastTry: "2026-11-21T00:16:10Z", state: "Idle" },
      { schedule: "3:00", timeZone: "Europe/Vienna" },
    );
    assert.equal(decide(vienna).status.nextSync, "2026-11-21T02:00:00Z");
  });
  test("says a warning of the schedule", () =>
    assert.match(ready(job(undefined, { schedule: "*/00" })), /True Scheduled: .*repeats nothing/));
});

describe("a failed job", () => {
  const failed = job({
    lastTry: "2026-11-21T00:00:00Z",
    failCount: 2,
    state: "Failed",
    lastRun: { outcome: "Failed", reason: "NoSpace", message: "tank is full" },
  });
  test("is tried again after its delay, and Ready says why it failed", () => {
    assert.equal(decide(failed).status.nextSync, "2026-11-21T00:10:00Z");
    assert.equal(
      ready(failed),
      "False NoSpace: 2 runs in a row failed, the last with NoSpace: tank is full; it is tried again at 2026-11-21T00:10:00Z",
    );
  });
  test("waits for its target", () => {
    const nodes = [node("n1"), node("n2", false)];
    assert.equal(decide(failed, { nodes }).status.nextSync, undefined);
    assert.match(ready(failed, { nodes }), /False TargetOffline: .* tried again when n2 is back/);
  });
});

describe("a suspended job", () => {
  test("has no next time; its state comes and goes with the suspension, but not over a run", () => {
    const suspended = (state?: "Idle" | "Running" | "Suspended" | "Failed") =>
      decide(job(state ? { state } : {}, { suspend: true }));
    assert.equal(suspended().status.nextSync, undefined);
    assert.deepEqual(
      [suspended().state, suspended("Failed").state, suspended("Running").state, suspended("Suspended").state],
      ["Suspended", "Suspended", undefined, undefined],
    );
    assert.equal(decide(job({ state: "Suspended" })).state, "Idle");
    assert.equal(decide(job({ state: "Suspended", failCount: 1, lastTry: created })).state, "Failed");
    assert.equal(decide(job({ state: "Idle" })).state, undefined, "the agent's");
  });
});

describe("a job that cannot run says why", () => {
  const shared = { name: "nfs", type: "Directory", path: "/srv/nfs", shared: true };
  const cases: [string, ReplicationJob, Partial<JobsView>, RegExp][] = [
    ["no cluster", job(), { cluster: undefined }, /ClusterNotFound: no Cluster in namespace "lab"/],
    [
      "no guest",
      job(),
      { guests: [] },
      /GuestNotFound: no Guest "web1" in namespace "lab"; apply it first, or delete this job/,
    ],
    [
      "guest without node",
      job(),
      { guests: [{ ...guest(), spec: (({ nodeName: _, ...rest }) => rest)(guest().spec) }] },
      /GuestUnbound/,
    ],
    [
      "two guests of one vmid",
      job(),
      { guests: [guest(), guest({}, "web2")] },
      /VmidNotUnique: Guests "web1" and "web2" both have vmid 100/,
    ],
    ["to its own node", job(undefined, { target: "n1" }), {}, /TargetIsSource: Guest "web1" lives on "n1"/],
    ["no such target", job(undefined, { target: "n9" }), {}, /TargetNotFound: no ClusterNode "n9" in namespace "lab"/],
    [
      "unknown storage",
      job(),
      { cluster: cluster([]) },
      /StorageNotFound: volume "root" of Guest "web1" is on storage "tank"/,
    ],
    [
      "storage not on the target",
      job(),
      { cluster: cluster([{ name: "tank", type: "ZFS", dataset: "t/g", nodes: ["n1"] }]) },
      /StorageMissing: "n2" does not have storage "tank"/,
    ],
    [
      "nothing to replicate",
      job(),
      { cluster: cluster([shared]), guests: [guest({ volumes: [{ name: "root", storage: "nfs", size: "1Gi" }] })] },
      /NothingToReplicate/,
    ],
    [
      "a bad schedule",
      job(undefined, { schedule: "*/61" }),
      {},
      /ScheduleRefused: schedule "\*\/61" at position 3: repetition 61/,
    ],
    ["a schedule that never fires", job(undefined, { schedule: "02-30" }), {}, /ScheduleRefused: .*never fires/],
    [
      "a bad time zone",
      job(undefined, { timeZone: "Mars/Olympus", schedule: "12-24" }),
      {},
      /ScheduleRefused: time zone "Mars\/Olympus" is unknown/,
    ],
    [
      "a bad time zone, every day",
      job(undefined, { timeZone: "Mars/Olympus" }),
      {},
      /ScheduleRefused: time zone "Mars\/Olympus" is unknown/,
    ],
    ["source without agent", job(), { nodes: [node("n1", false), node("n2")] }, /SourceOffline/],
  ];
  for (const [name, one, changes, message] of cases) {
    test(name, () => {
      assert.match(ready(one, changes), /^False /);
      assert.match(ready(one, changes), message);
      if (name !== "source without agent") assert.equal(decide(one, changes).status.nextSync, undefined);
    });
  }
});

describe("a job turns round with its guest", () => {
  const ends = (one: ReplicationJob, nodeName: string, siblings: ReplicationJob[] = []) => {
    const { status } = decide(one, { guests: [guest({ nodeName })], jobs: [one, ...siblings] });
    return `${status.source} -> ${status.target}`;
  };
  test("when the guest moved to the target, to where it came from, and stays so", () => {
    assert.equal(ends(job({ source: "n1", target: "n2" }), "n2"), "n2 -> n1");
    assert.equal(ends(job({ source: "n2", target: "n1" }), "n2"), "n2 -> n1");
    assert.equal(ends(job({ source: "n2", target: "n1" }), "n1"), "n1 -> n2");
    assert.match(ready(job({ source: "n1" }), { guests: [guest({ nodeName: "n2" })] }), /from n2 to n1, turned round/);
  });
  test("the other jobs go on from the new node", () =>
    assert.equal(ends(job({ source: "n1" }, { target: "n3" }), "n2"), "n2 -> n3"));
  test("never to a node that another job of the guest copies to", () => {
    // The guest went n1 -> n2 -> n3.
    const toN2 = job({ source: "n2", target: "n1" });
    const toN3 = job({ source: "n2", target: "n3" }, { target: "n3" });
    assert.equal(ends(toN2, "n3", [toN3]), "n3 -> n2");
    assert.equal(ends(toN3, "n3", [toN2]), "n3 -> n1");
  });
});

describe("a deleted job", () => {
  const deleted = (status?: ReplicationJobStatus, spec: object = {}) => {
    const one = job(status, spec);
    return { ...one, metadata: { ...one.metadata, deletionTimestamp: "2026-11-21T00:07:00Z" } };
  };
  const ran = { source: "n1", target: "n2", lastTry: created };
  const nodes = [node("n1"), node("n2")];
  const answer = (status: "True" | "False") => ({
    conditions: [{ type: COPIES_REMOVED, status, reason: "R", message: "", lastTransitionTime: created }],
  });
  test("goes at once when there are no copies, or they are to be kept", () => {
    assert.deepEqual(decideRelease(deleted({ source: "n1" }), nodes, wallMs), { release: true });
    assert.deepEqual(decideRelease(deleted(ran, { removalPolicy: "Keep" }), nodes, wallMs), { release: true });
  });
  test("waits for the agent that removes them", () => {
    assert.deepEqual(decideRelease(deleted(ran), nodes, wallMs), { release: false, lookAgainMs: 30_000 });
    assert.equal(decideRelease(deleted({ ...ran, ...answer("False") }), nodes, wallMs + 3_600_000).release, false);
    assert.deepEqual(decideRelease(deleted({ ...ran, ...answer("True") }), nodes, wallMs), { release: true });
  });
  test("does not wait for ever, and says what stays", () => {
    assert.deepEqual(decideRelease(deleted(ran), nodes, wallMs + 30_000), {
      release: true,
      left: "the agent of n1 did not remove them",
    });
    assert.deepEqual(decideRelease(deleted(ran), [node("n1")], wallMs), {
      release: true,
      left: "n2 is no node of the cluster any more",
    });
  });
  test("has no next time", () => assert.equal(decide(deleted(ran)).status.nextSync, undefined));
});

/** The spec as the API server would store it. */
function defaulted<T extends { spec: object }>(kind: string, object: { spec: object }): Pick<T, "spec"> {
  return withDefaults(kind, object) as Pick<T, "spec">;
}
