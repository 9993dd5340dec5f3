import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { pino } from "pino";
import { QuorateError } from "../errors.ts";
import { LeaderElection } from "./election.ts";
import { LeaseServer, type Link } from "./lease-server.ts";
import { leaseEpoch, leaseHolder } from "./leases.ts";
import { ManualClock, settled } from "./manual-clock.ts";

const log = pino({ level: "silent" });
const KEY = "system/leader";

/** A process that wants to lead, with its own connection. */
class Candidate {
  readonly name: string;
  readonly link: Link = { cut: false, answersLost: false, delayMs: 10 };
  readonly election: LeaderElection;
  terms = 0;
  /** Its work goes on: between the call of onStartedLeading and the abort of its signal. */
  working = false;
  readonly ended: Promise<void>;

  constructor(name: string, server: LeaseServer, clock: ManualClock, onChange: () => void = () => {}) {
    this.name = name;
    this.election = new LeaderElection({
      client: server.client(this.link),
      namespace: "system",
      name: "leader",
      identity: name,
      clock,
      log,
    });
    this.ended = this.election.run(async (signal) => {
      if (signal.aborted) return;
      this.terms += 1;
      this.working = true;
      onChange();
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
      this.working = false;
      onChange();
    });
  }
}

describe("leader election", () => {
  let clock: ManualClock;
  let server: LeaseServer;
  let candidates: Candidate[];
  let together: string[];

  function join(name: string): Candidate {
    const candidate = new Candidate(name, server, clock, () => {
      const leaders = candidates.filter((one) => one.working).map((one) => one.name);
      if (leaders.length > 1) together.push(`${leaders.join(" and ")} at ${clock.elapsedMs()} ms`);
    });
    candidates.push(candidate);
    return candidate;
  }

  const leaders = () => candidates.filter((one) => one.election.isLeading()).map((one) => one.name);

  beforeEach(() => {
    clock = new ManualClock();
    server = new LeaseServer(clock);
    candidates = [];
    together = [];
  });
  afterEach(async () => {
    const stopped = Promise.all(
      candidates.map((one) => {
        one.link.cut = false;
        one.link.answersLost = false;
        return one.election.stop();
      }),
    );
    await clock.advance(20_000);
    await stopped;
    assert.deepEqual(together, [], "never two at once");
    assert.equal(clock.sleeping, 0, "no timer is left");
  });

  it("the first leads at once, the second waits as long as the first renews", async () => {
    join("a");
    await clock.advance(100);
    join("b");
    await clock.advance(120_000);
    assert.deepEqual(leaders(), ["a"]);
    assert.equal(candidates[0]?.terms, 1);
  });

  it("a clean stop hands over at once and begins a new epoch", async () => {
    const a = join("a");
    await clock.advance(100);
    const b = join("b");
    await clock.advance(5_000);
    const stopped = a.election.stop();
    await clock.advance(200);
    await stopped;
    assert.deepEqual(leaders(), ["b"]);
    assert.equal(b.election.epoch, 2);
  });

  it("a cut-off leader stops before another leads, and the other leads when the lease has run out", async () => {
    const a = join("a");
    await clock.advance(100);
    join("b");
    await clock.advance(5_000);
    a.link.cut = true;
    await clock.advance(6_100);
    assert.equal(a.working, false, "its signal is aborted after 6 s");
    assert.deepEqual(leaders(), []);
    await clock.advance(4_500);
    assert.deepEqual(leaders(), ["b"]);
    a.link.cut = false;
    await clock.advance(60_000);
    assert.deepEqual(leaders(), ["b"]);
  });

  it("a leader whose answers are lost finds its own renewals and leads on", async () => {
    const a = join("a");
    await clock.advance(100);
    a.link.answersLost = true;
    await clock.advance(3_000);
    a.link.answersLost = false;
    await clock.advance(10_000);
    assert.deepEqual(leaders(), ["a"]);
    assert.equal(a.terms, 1);
  });

  it("a leader whose every answer is lost stops, although its renewals arrive", async () => {
    const a = join("a");
    await clock.advance(100);
    a.link.answersLost = true;
    await clock.advance(7_000);
    assert.equal(a.working, false);
  });

  it("a process that was frozen past its lease knows it does not lead before it does anything", async () => {
    const a = join("a");
    await clock.advance(5_000);
    clock.freeze(60_000);
    assert.equal(a.election.isLeading(), false);
    await settled();
    assert.equal(a.working, false, "asking is enough to abort its signal");
  });

  it("a leader whose Lease was deleted stops before another leads", async () => {
    const a = join("a");
    await clock.advance(100);
    join("b");
    await clock.advance(5_000);
    server.delete(KEY);
    await clock.advance(15_000);
    assert.equal(leaders().length, 1);
    assert.ok(a.terms <= 2);
  });

  it("no server for a while: nobody leads, then one does again", async () => {
    join("a");
    await clock.advance(100);
    join("b");
    await clock.advance(5_000);
    for (const one of candidates) one.link.cut = true;
    await clock.advance(60_000);
    assert.deepEqual(leaders(), []);
    for (const one of candidates) one.link.cut = false;
    await clock.advance(20_000);
    assert.equal(leaders().length, 1);
  });

  it("no server at the moment it ceased to lead: it does not wait for the list that hangs since then", async () => {
    const a = join("a");
    await clock.advance(5_000);
    a.link.cut = true;
    await clock.advance(9_000);
    assert.deepEqual(leaders(), []);
    a.link.cut = false;
    await clock.advance(10_000);
    assert.deepEqual(leaders(), ["a"]);
  });

  it("waits for as long as the holder was promised, when that is longer than its own setting", async () => {
    const claim = { holderIdentity: "old version", leaseDurationSeconds: 40, leaseTransitions: 7 };
    const link = { cut: false, answersLost: false, delayMs: 0 };
    const seeded = server
      .client(link)
      .create({ apiVersion: "coordination.k8s.io/v1", kind: "Lease", plural: "leases", namespaced: true }, {
        metadata: { namespace: "system", name: "leader" },
        spec: claim,
      } as never);
    await clock.advance(0);
    await seeded;
    const a = join("a");
    await clock.advance(39_000);
    assert.deepEqual(leaders(), []);
    await clock.advance(2_000);
    assert.deepEqual(leaders(), ["a"]);
    assert.equal(a.election.epoch, 8);
  });

  it("releases the Lease when the work fails, and run rejects with its error", async () => {
    const election = new LeaderElection({
      client: server.client({ cut: false, answersLost: false, delayMs: 0 }),
      namespace: "system",
      name: "leader",
      identity: "a",
      clock,
      log,
    });
    const run = assert.rejects(
      election.run(async () => {
        throw new Error("the work failed");
      }),
      /the work failed/,
    );
    await clock.advance(100);
    await run;
    const lease = server.get(KEY);
    assert.ok(lease);
    assert.equal(leaseHolder(lease), "");
    assert.equal(leaseEpoch(lease), 1);
  });

  it("refuses times that leave a leader no room to stop in", () => {
    const times = { leaseMs: 10_000, renewDeadlineMs: 9_500, renewMs: 1_000 };
    const client = server.client({ cut: false, answersLost: false, delayMs: 0 });
    assert.throws(
      () => new LeaderElection({ client, namespace: "system", name: "leader", identity: "a", clock, log, ...times }),
      (error: unknown) => error instanceof QuorateError && error.class === "user" && error.reason === "ElectionTimings",
    );
  });

  it("never two at once, and one within 25 s of the last fault, whatever the connections do", async () => {
    const fault = fc.record({
      who: fc.nat(2),
      what: fc.constantFrom("cut", "answersLost", "heal", "stop", "slow"),
      waitMs: fc.nat(15_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fault, { maxLength: 15, size: "max" }), async (faults) => {
        clock = new ManualClock();
        server = new LeaseServer(clock);
        candidates = [];
        together = [];
        for (const name of ["a", "b", "c"]) join(name);
        let lastEpoch = 0;
        for (const { who, what, waitMs } of faults) {
          const one = candidates[who];
          assert.ok(one);
          if (what === "heal") Object.assign(one.link, { cut: false, answersLost: false, delayMs: 10 });
          else if (what === "slow") one.link.delayMs = 1_500;
          else if (what === "stop") {
            one.election.stop().catch(() => {});
            candidates[who] = new Candidate(`${one.name}+`, server, clock, () => {
              const working = candidates.filter((c) => c.working).map((c) => c.name);
              if (working.length > 1) together.push(working.join(" and "));
            });
          } else one.link[what] = true;
          await clock.advance(waitMs);
          const lease = server.get(KEY);
          if (lease !== undefined) {
            assert.ok(leaseEpoch(lease) >= lastEpoch, "the epoch only grows");
            lastEpoch = leaseEpoch(lease);
          }
        }
        for (const one of candidates) Object.assign(one.link, { cut: false, answersLost: false, delayMs: 10 });
        await clock.advance(25_000);
        assert.equal(leaders().length, 1, `leaders: ${leaders().join(", ") || "none"}`);
        assert.deepEqual(together, []);
        const stopped = Promise.all(candidates.map((one) => one.election.stop()));
        await clock.advance(20_000);
        await stopped;
      }),
      { numRuns: 60 },
    );
    candidates = [];
  });
});
