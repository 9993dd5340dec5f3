import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import {
  API_VERSION,
  type Guest,
  type ReplicationJob,
  type ReplicationJobStatus,
  withDefaults,
} from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import type { KubeClient } from "../../kube/index.ts";
import { ManualClock } from "../../kube/testing.ts";
import { processLog } from "../../log.ts";
import { FakeHost } from "../host/index.ts";
import { JobRunner } from "./index.ts";
import { FakeCopies, root } from "./testing/index.ts";

/** The agent of n1 with one guest, and other nodes that take what they are sent. */
class Lab extends FakeCopies {
  readonly clock = new ManualClock();
  readonly written: ReplicationJobStatus[] = [];
  job: ReplicationJob = job();
  guest: Guest | undefined = guest();
  claimed = false;
  fails: QuorateError | undefined;
  /** How long the API server takes for a word of progress. */
  progressWritten: Promise<void> | undefined;
  readonly runner: JobRunner;

  constructor() {
    super();
    const client = {
      applyStatus: async (_: unknown, { status }: { status: ReplicationJobStatus }) => {
        if (status.progress !== undefined) await this.progressWritten;
        this.written.push(status);
        const { jobId, source, target, nextSync } = this.job.status ?? {};
        const controllers = Object.fromEntries(
          Object.entries({ jobId, source, target, nextSync }).filter(([, value]) => value !== undefined),
        );
        this.job = { ...this.job, status: { ...controllers, ...status } };
      },
      mergePatch: async (_: unknown, __: unknown, { status }: { status: Record<string, unknown> }) => {
        const merged = { ...this.job.status, ...status };
        const left = Object.entries(merged).filter(([, value]) => value !== null);
        this.job = { ...this.job, status: Object.fromEntries(left) as ReplicationJobStatus };
        this.written.push(this.job.status ?? {});
      },
    } as unknown as KubeClient;
    this.runner = new JobRunner({
      node: "n1",
      namespace: "lab",
      client,
      clock: this.clock,
      log: Object.assign(processLog("test"), { level: "silent" }),
      jobs: () => [this.job],
      guest: () => this.guest,
      nodes: () => ["n1", "n2", "n3"],
      volumes: () => [root],
      storage: () => this.driver(),
      parts: async (target) => this.parts(target),
      claim: () => (this.claimed ? undefined : () => undefined),
    });
  }

  parts(target: string) {
    if (this.fails !== undefined) throw this.fails;
    return {
      host: new FakeHost(),
      storage: () => this.driver(),
      target: this.client(target),
      quiesce: async () => async () => undefined,
    };
  }

  /** The last difference before the guest leaves for n2. */
  async move(job: string): Promise<void> {
    await this.clock.advance(60_000);
    const order = { job, target: "n2", volumes: [root] };
    await this.runner.runNow(order, this.guest ?? assert.fail(), this.parts("n2"), new AbortController().signal);
  }

  get status(): ReplicationJobStatus {
    return this.written.at(-1) ?? assert.fail("nothing was written");
  }

  /** One tick, and all that it began. */
  async tick(): Promise<void> {
    this.runner.tick(new AbortController().signal);
    await this.runner.idle();
  }

  async run(): Promise<void> {
    await this.clock.advance(60_000);
    this.job = { ...this.job, spec: { ...this.job.spec, runNow: String(this.written.length) } };
    await this.tick();
  }
}

function job(): ReplicationJob {
  return {
    apiVersion: API_VERSION,
    kind: "ReplicationJob",
    metadata: { name: "web1-n2", namespace: "lab", uid: "j1" },
    ...(withDefaults("ReplicationJob", { spec: { guest: "web1", target: "n2", number: 0 } }) as Pick<
      ReplicationJob,
      "spec"
    >),
    status: { jobId: "100-0", source: "n1", target: "n2" },
  };
}

function guest(lastOn = "n1", nodeName = "n1"): Guest {
  return {
    apiVersion: API_VERSION,
    kind: "Guest",
    metadata: { name: "web1", namespace: "lab", uid: "u1" },
    ...(withDefaults("Guest", {
      spec: { vmid: 100, nodeName, service: { unit: "x.service" }, resources: { cpu: 1, memory: "1Mi" } },
    }) as Pick<Guest, "spec">),
    status: { node: lastOn, volumes: [{ name: "root" }] },
  };
}

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
});

describe("the log of a run", () => {
  test("is kept of one that succeeded, to its last line", async () => {
    await lab.run();
    assert.equal(lab.status.state, "Idle");
    assert.match(lab.status.log?.[0] ?? "", /^2026-01-01T00:01:00.000Z job 100-0 from n1 to n2$/);
    assert.match(lab.status.log?.at(-1) ?? "", / is on n2: 1000 bytes in 0 s$/);
  });

  test("comes after those of earlier runs, good and bad; the oldest lines go", async () => {
    await lab.run();
    lab.fails = new QuorateError("transient", "NetworkUnreachable", "n2 is away");
    await lab.run();
    assert.equal(lab.status.state, "Failed");
    assert.match(lab.status.log?.at(-1) ?? "", /^2026-01-01T00:02:00.000Z failed: NetworkUnreachable: n2 is away$/);
    assert.match(lab.status.log?.[0] ?? "", /job 100-0 from n1 to n2$/, "the first run's is still there");
    lab.fails = undefined;
    for (let i = 0; i < 20; i++) await lab.run();
    assert.equal(lab.status.log?.length, 50);
    assert.match(lab.status.log?.at(-1) ?? "", / is on n2: /);
  });
});

test("a copy says of which Guest object it is", async () => {
  await lab.run();
  assert.equal(lab.sentAs, "u1");
});

describe("what is kept", () => {
  const destroyed = () => lab.calls.filter((call) => call.includes("destroys"));
  beforeEach(async () => {
    const retention = { source: { last: 5 }, target: { last: 5 } };
    lab.job = { ...lab.job, spec: { ...lab.job.spec, retention } };
    for (let i = 0; i < 5; i++) await lab.run();
    assert.deepEqual([lab.here.length, lab.there.get("n2")?.length], [5, 5]);
    lab.calls.length = 0;
  });

  test("on the source, of a copy that is gone, is what the retention says", async () => {
    lab.there.delete("n2");
    lab.send = async () => {
      assert.deepEqual(destroyed(), []);
      throw new QuorateError("transient", "ConnectionLost", "n2 went away");
    };
    await lab.run();
    assert.deepEqual([lab.status.lastRun?.reason, lab.here.length], ["ConnectionLost", 6]);
    lab.send = undefined;
    await lab.run();
    assert.deepEqual(destroyed(), ["n1: 100-0 destroys 1 snapshots", "n1: 100-0 destroys 1 snapshots"]);
    assert.equal(lab.here.length, 5);
  });

  test("when the guest moves, is what its job says", async () => {
    await lab.move("100-0");
    assert.deepEqual(destroyed(), ["n2: 100-0 destroys 1 snapshots", "n1: 100-0 destroys 1 snapshots"]);
    assert.deepEqual([lab.here.length, lab.there.get("n2")?.length], [5, 5]);
  });

  test("when the guest moves where none of its jobs goes, is all that jobs made", async () => {
    lab.here.shift();
    await lab.move("100-9999");
    await lab.move("100-9999");
    assert.deepEqual(destroyed(), ["n2: 100-9999 destroys 1 snapshots", "n1: 100-9999 destroys 1 snapshots"]);
    assert.deepEqual([lab.here.length, lab.there.get("n2")?.length], [5, 6]);
  });
});

test("the outcome of a run stays when a word of its progress is late", async () => {
  const late = Promise.withResolvers<void>();
  lab.progressWritten = late.promise;
  lab.beforePiece = () => lab.clock.advance(3_000);
  const run = lab.run();
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(lab.status.state, "Running");
  late.resolve();
  await run;
  assert.deepEqual(
    lab.written.map(({ state, progress }) => [state, progress?.bytes]),
    [
      ["Running", undefined],
      ["Running", 1000],
      ["Idle", undefined],
      ["Idle", undefined],
    ],
  );
});

test("a guest that leaves breaks off a run to another node, and waits for one that goes its way", async () => {
  const sending = Promise.withResolvers<void>();
  const stopped = Promise.withResolvers<void>();
  lab.send = (signal) => {
    sending.resolve();
    signal?.addEventListener("abort", () => stopped.resolve());
    return stopped.promise.then(() => assert.fail("broken off"));
  };
  lab.job = { ...lab.job, spec: { ...lab.job.spec, runNow: "1" } };
  lab.runner.tick(new AbortController().signal);
  await sending.promise;
  lab.runner.breakOff("web1", "n2");
  lab.runner.breakOff("web2", "n3");
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(lab.status.state, "Running");
  lab.runner.breakOff("web1", "n3");
  await lab.runner.idle();
  assert.deepEqual([lab.status.state, lab.status.lastRun?.reason], ["Failed", "Aborted"]);
});

describe("what the status says of the copies", () => {
  const made = "2026-11-21T00:00:30Z";

  test("is of when the data is, and of which node has it", async () => {
    await lab.run();
    const { lastSync, copies, snapshot } = lab.status;
    assert.equal(lastSync, made);
    assert.deepEqual(copies, [{ node: "n2", snapshot: snapshot?.name, time: made }]);
  });

  test("a job that turned round says nothing of the copy on its other end, but where that is", async () => {
    await lab.run();
    const before = lab.status;
    // n1 got the guest back after n2 had it, and the job has to go to n3 now.
    lab.job = { ...lab.job, status: { ...lab.job.status, target: "n3" } };
    const writes = lab.written.length;
    await lab.tick();
    assert.equal(lab.written.length, writes + 1);
    const { lastSync, snapshot, ageOfDataSeconds, copies } = lab.status;
    assert.deepEqual(
      { lastSync, snapshot, ageOfDataSeconds },
      { lastSync: undefined, snapshot: undefined, ageOfDataSeconds: undefined },
    );
    assert.deepEqual(copies, before.copies);
    await lab.tick();
    assert.equal(lab.written.length, writes + 1, "said once");
    await lab.run();
    assert.deepEqual(
      lab.status.copies?.map(({ node }) => node),
      ["n2", "n3"],
    );
    assert.equal(lab.status.lastSync, made);
    lab.job = { ...lab.job, status: { ...lab.job.status, target: "n2" } };
    await lab.tick();
    assert.equal(lab.status.snapshot?.name, before.snapshot?.name, "back again: of the copy that n2 has");
  });
});

describe("a job that is deleted", () => {
  const remove = (change: { spec?: Partial<ReplicationJob["spec"]>; status?: ReplicationJobStatus } = {}) => {
    lab.job = {
      ...lab.job,
      metadata: { ...lab.job.metadata, deletionTimestamp: "2026-11-21T01:00:00Z" },
      spec: { ...lab.job.spec, ...change.spec },
      status: { ...lab.job.status, ...change.status },
    };
    lab.calls.length = 0;
  };
  const answer = () => lab.job.status?.conditions?.find(({ type }) => type === "CopiesRemoved");

  test("takes its copies with it, on every node it copied to, then what is left of it here", async () => {
    await lab.run();
    remove({
      status: {
        copies: [
          { node: "n2", snapshot: "a", time: "2026-11-21T00:00:30Z" },
          { node: "n3", snapshot: "b", time: "2026-11-20T00:00:30Z" },
        ],
      },
    });
    await lab.tick();
    assert.deepEqual(lab.calls, [
      "n2: 100-0 destroys the copy",
      "n3: 100-0 destroys the copy",
      "mark n2=none,n3=none",
      "n1: 100-0 destroys 1 snapshots",
    ]);
    assert.deepEqual([answer()?.status, answer()?.reason], ["True", "Removed"]);
    await lab.tick();
    assert.equal(lab.calls.length, 4, "once");
  });

  test("keeps here what a third node goes on from", async () => {
    await lab.run();
    lab.here.splice(0, 1, { ...(lab.here[0] ?? assert.fail()), newestOn: ["n2", "n3"] });
    remove();
    await lab.tick();
    assert.equal(lab.calls.at(-1), "n1: 100-0 destroys 0 snapshots");
  });

  const refused: [string, () => void][] = [
    ["where the owner of the guest is unknown", () => (lab.guest = undefined)],
    ["when the guest is bound elsewhere", () => (lab.guest = guest("n1", "n2"))],
    ["when the guest ran last on another node, whose disk is the newest", () => (lab.guest = guest("n2"))],
    ["when another node is the source", () => remove({ status: { source: "n2" } })],
    ["when the copies are to be kept", () => remove({ spec: { removalPolicy: "Keep" } })],
  ];
  for (const [sentence, arrange] of refused)
    test(`nothing is removed ${sentence}`, async () => {
      await lab.run();
      const writes = lab.written.length;
      remove();
      arrange();
      await lab.tick();
      assert.deepEqual([lab.calls, lab.written.length], [[], writes]);
    });

  test("a copy that is no copy of this job is left alone, and that is said", async () => {
    await lab.run();
    remove();
    lab.refuses = new QuorateError("user", "NotOurs", "tank/guests/vm-100-root is not the target of job 100-0");
    await lab.tick();
    assert.equal(answer()?.status, "True");
    assert.match(answer()?.message ?? "", /left alone: .*not the target of job 100-0/);
  });

  test("a target that cannot be asked is asked again, and what to do is said; nothing is removed here before", async () => {
    await lab.run();
    remove();
    lab.fails = new QuorateError("transient", "NetworkUnreachable", "n2 is away");
    await lab.tick();
    assert.deepEqual([answer()?.status, answer()?.reason, lab.calls], ["False", "NetworkUnreachable", []]);
    assert.match(answer()?.message ?? "", /set spec.removalPolicy to Keep/);
    lab.fails = undefined;
    await lab.tick();
    assert.equal(answer()?.status, "False", "not at once");
    await lab.clock.advance(30_000);
    await lab.tick();
    assert.equal(answer()?.status, "True");
  });

  test("answers at once, so that the controller waits, though a run of another job is under way", async () => {
    await lab.run();
    remove();
    lab.claimed = true;
    await lab.tick();
    assert.deepEqual([answer()?.status, answer()?.reason, lab.calls], ["False", "Removing", []]);
    lab.claimed = false;
    await lab.tick();
    assert.equal(answer()?.status, "True");
  });

  test("during its run: the run is broken off first", async () => {
    const sending = Promise.withResolvers<void>();
    lab.send = (signal) => {
      sending.resolve();
      return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    };
    lab.job = { ...lab.job, spec: { ...lab.job.spec, runNow: "1" } };
    lab.runner.tick(new AbortController().signal);
    await sending.promise;
    remove();
    await lab.tick();
    assert.equal(lab.status.lastRun?.reason, "Aborted");
    remove();
    await lab.tick();
    assert.equal(answer()?.status, "True");
    assert.equal(lab.there.has("n2"), false);
  });
});
