import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { pino } from "pino";
import { type ErrorClass, QuorateError } from "../errors.ts";
import { ManualClock, settled } from "./manual-clock.ts";
import { type ReconcileResult, WorkQueue, type WorkQueueOptions } from "./queue.ts";

const log = pino({ level: "silent" });

describe("a work queue", () => {
  let clock: ManualClock;
  let queue: WorkQueue | undefined;
  /** Virtual times at which each key's reconcile began. */
  let runs: { key: string; atMs: number }[];

  beforeEach(() => {
    clock = new ManualClock();
    runs = [];
  });
  afterEach(() => queue?.stop());

  function start(
    reconcile: (key: string, signal: AbortSignal) => Promise<ReconcileResult | undefined>,
    options: Partial<WorkQueueOptions> = {},
  ): WorkQueue {
    queue = new WorkQueue({
      name: "test",
      clock,
      log,
      ...options,
      reconcile: (key, signal) => {
        runs.push({ key, atMs: clock.elapsedMs() });
        return reconcile(key, signal);
      },
    });
    return queue;
  }

  function failing(errorClass: ErrorClass) {
    return async () => {
      throw new QuorateError(errorClass, "Failed", "it fails");
    };
  }

  const times = () => runs.map((run) => run.atMs);

  it("works once on a key that was added many times while it waited", async () => {
    const q = start(async () => undefined);
    for (let i = 0; i < 10; i++) q.add("a");
    await clock.advance(0);
    assert.equal(runs.length, 1);
  });

  it("works once more, not twice, on a key that was added while it was worked on", async () => {
    const gate = Promise.withResolvers<undefined>();
    const q = start(() => gate.promise);
    q.add("a");
    await settled();
    q.add("a");
    q.add("a");
    await settled();
    assert.equal(runs.length, 1, "one in flight for a key");
    gate.resolve(undefined);
    await clock.advance(1000);
    assert.equal(runs.length, 2);
  });

  it("works on as many keys at once as its concurrency allows, in order of arrival", async () => {
    const gates = new Map<string, PromiseWithResolvers<undefined>>();
    const q = start(
      (key) => {
        const gate = Promise.withResolvers<undefined>();
        gates.set(key, gate);
        return gate.promise;
      },
      { concurrency: 2 },
    );
    for (const key of ["a", "b", "c", "d"]) q.add(key);
    await settled();
    assert.deepEqual([...gates.keys()], ["a", "b"]);
    assert.equal(q.depth, 2);
    gates.get("b")?.resolve(undefined);
    await settled();
    assert.deepEqual([...gates.keys()], ["a", "b", "c"]);
    for (const gate of gates.values()) gate.resolve(undefined);
    await settled();
    gates.get("d")?.resolve(undefined);
    await settled();
    assert.equal(q.inFlight, 0);
  });

  it("tries a transient error again after 5, 10, 20 … ms, at most every 30 s, and starts over after a success", async () => {
    let fails = true;
    const q = start(async () => {
      if (fails) throw new QuorateError("transient", "Failed", "it fails");
      return undefined;
    });
    q.add("a");
    await clock.advance(35);
    assert.deepEqual(times(), [0, 5, 15, 35]);
    await clock.advance(300_000);
    const gaps = times().map((at, i) => at - (times()[i - 1] ?? 0));
    assert.equal(Math.max(...gaps), 30_000);
    fails = false;
    await clock.advance(30_000);
    fails = true;
    runs = [];
    const againMs = clock.elapsedMs();
    q.add("a");
    await clock.advance(15);
    assert.deepEqual(times(), [againMs, againMs + 5, againMs + 15]);
  });

  it("counts failures of each key by itself", async () => {
    const q = start(failing("transient"));
    q.add("a");
    await clock.advance(100);
    runs = [];
    q.add("b");
    await clock.advance(5);
    assert.equal(runs.filter((run) => run.key === "b").length, 2);
  });

  it("does not try a wrong object or a bug again for minutes, but a change of the object brings it back at once", async () => {
    for (const errorClass of ["user", "bug"] as const) {
      runs = [];
      const q = start(failing(errorClass));
      const atMs = clock.elapsedMs();
      q.add("a");
      await clock.advance(299_000);
      assert.deepEqual(times(), [atMs], errorClass);
      q.add("a");
      await clock.advance(0);
      assert.equal(runs.length, 2, errorClass);
      await clock.advance(300_000);
      assert.equal(runs.length, 3, errorClass);
      await q.stop();
    }
  });

  it("takes what is thrown and is no QuorateError for a bug, and tells onError", async () => {
    const seen: string[] = [];
    const q = start(
      () => {
        throw new TypeError("undefined is not a function");
      },
      { onError: (key, error) => void seen.push(`${key} ${error.class} ${error.message}`) },
    );
    q.add("a");
    await clock.advance(10_000);
    assert.deepEqual(seen, ["a bug undefined is not a function"]);
  });

  it("survives an onError that throws", async () => {
    const q = start(failing("transient"), {
      onError: () => {
        throw new Error("oops");
      },
    });
    q.add("a");
    await clock.advance(15);
    assert.equal(runs.length, 3);
  });

  it("repairs of the environment are looked for every second at first", async () => {
    const q = start(failing("environment"));
    q.add("a");
    await clock.advance(7_000);
    assert.deepEqual(times(), [0, 1_000, 3_000, 7_000]);
  });

  it("looks again after requeueAfterMs; a run in between starts that anew", async () => {
    const q = start(async () => ({ requeueAfterMs: 60_000 }));
    q.add("a");
    await clock.advance(30_000);
    q.add("a");
    await clock.advance(150_000);
    assert.deepEqual(times(), [0, 30_000, 90_000, 150_000]);
  });

  it("of several addAfter the earliest counts, and they become one", async () => {
    const q = start(async () => undefined);
    q.addAfter("a", 500);
    q.addAfter("a", 200);
    q.addAfter("a", 300);
    q.addAfter("b", 100);
    await clock.advance(1_000);
    assert.deepEqual(runs, [
      { key: "b", atMs: 100 },
      { key: "a", atMs: 200 },
    ]);
  });

  it("a run does not make void what addAfter asked for", async () => {
    const q = start(async () => undefined);
    q.addAfter("a", 1_000);
    q.add("a");
    await clock.advance(2_000);
    assert.deepEqual(times(), [0, 1_000]);
  });

  it("stop aborts what runs, waits for it, and starts nothing more", async () => {
    const ended: string[] = [];
    const q = start((key, signal) =>
      new Promise<undefined>((resolve) =>
        signal.addEventListener("abort", () => setImmediate(() => resolve(undefined))),
      ).finally(() => ended.push(key)),
    );
    q.add("a");
    q.addAfter("b", 10);
    await settled();
    q.add("a");
    await q.stop();
    assert.deepEqual(ended, ["a"]);
    q.add("c");
    q.addAfter("d", 1);
    await clock.advance(60_000);
    assert.deepEqual(
      runs.map((run) => run.key),
      ["a"],
    );
    assert.equal(clock.sleeping, 0, "no timer is left");
  });

  it("every add is followed by a run that began after it, one at a time for a key, whatever the order", async () => {
    const keys = ["a", "b", "c"];
    const step = fc.record({
      key: fc.constantFrom(...keys),
      waitMs: fc.nat(20),
      after: fc.nat(3),
      fails: fc.boolean(),
      workMs: fc.nat(15),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40, size: "max" }), async (steps) => {
        const time = new ManualClock();
        const began = new Map<string, number>();
        const running = new Set<string>();
        let sequence = 0;
        let next = { fails: false, workMs: 0 };
        const q = new WorkQueue({
          name: "property",
          clock: time,
          log,
          concurrency: 2,
          reconcile: async (key) => {
            assert.ok(!running.has(key), `${key} runs twice at once`);
            running.add(key);
            began.set(key, ++sequence);
            const { fails, workMs } = next;
            await time.sleep(workMs);
            running.delete(key);
            if (fails) throw new QuorateError("transient", "Failed", "it fails");
          },
        });
        const added = new Map<string, number>();
        for (const { key, waitMs, after, fails, workMs } of steps) {
          next = { fails, workMs };
          if (after > 0) q.addAfter(key, after);
          else q.add(key);
          added.set(key, ++sequence);
          await time.advance(waitMs);
        }
        next = { fails: false, workMs: 1 };
        await time.advance(120_000);
        for (const [key, at] of added)
          assert.ok((began.get(key) ?? 0) > at, `${key} was added and not worked on since`);
        assert.equal(q.depth + q.inFlight, 0);
        await q.stop();
      }),
      { numRuns: 200 },
    );
  });
});
