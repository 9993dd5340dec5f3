import assert from "node:assert/strict";
import { test } from "node:test";
import {
  currentMembership,
  type FenceObservations,
  fenceGate,
  type GateInput,
  type LeaseSample,
  type MembershipReport,
  observeLeases,
} from "./fence-gate.ts";
import { deriveTimings } from "./timings.ts";

const gate = { fenceDelay: 20_000, leaseDuration: 16_000, reportFreshness: 6000 };
const nodes = ["n1", "n2", "n3"];
const votes = { n1: 1, n2: 1, n3: 1 };
const all: MembershipReport = { quorate: true, members: nodes, ringId: "1.1" };
const without3: MembershipReport = { quorate: true, members: ["n1", "n2"], ringId: "1.2" };

type Reports = Partial<Record<string, MembershipReport | undefined>>;
interface World {
  observations: FenceObservations;
  now: number;
  tokens: Record<string, number>;
}

/** n1 and n2 renew every 2 s with these reports; n3's lease stays as it is. */
function run(world: World, seconds: number, reports: Reports, holder: LeaseSample["holder"] = "agent"): World {
  let { observations, now } = world;
  const tokens = { ...world.tokens };
  for (let i = 0; i < seconds; i += 1) {
    now += 1000;
    const samples = nodes.map((node): LeaseSample => {
      const report = reports[node];
      if (report && i % 2 === 0) tokens[node] = (tokens[node] ?? 0) + 1;
      return { node, token: String(tokens[node]), holder: node === "n3" ? holder : "agent", report: report ?? all };
    });
    observations = observeLeases(observations, samples, nodes, now, gate);
  }
  return { observations, now, tokens };
}
const fresh = (): World => run({ observations: {}, now: 0, tokens: {} }, 10, { n1: all, n2: all, n3: all });
const ask = (world: World, change: Partial<GateInput> = {}): ReturnType<typeof fenceGate> =>
  fenceGate(
    {
      observations: world.observations,
      node: "n3",
      votes,
      qdeviceVotes: 0,
      quorumOverride: false,
      fencing: "Watchdog",
      ...change,
    },
    world.now,
    gate,
  );
const bothLack: Reports = { n1: without3, n2: without3 };

test("the gate opens when a majority has reported the node gone for M and its lease is unchanged for L, not before", () => {
  assert.equal(ask(run(fresh(), 20, bothLack)).proven, false);
  assert.equal(
    ask(run(fresh(), 22, bothLack)).proven,
    false,
    "the word of 21 s after is not followed by another one yet",
  );
  assert.equal(ask(run(fresh(), 24, bothLack)).proven, true);
});

test("each reason why not yet is given", () => {
  const verdict = ask(run(fresh(), 5, bothLack));
  assert.equal(verdict.proven, false);
  assert.match(verdict.reasons.join("\n"), /unchanged for \d+ of 16000 ms/);
  assert.match(verdict.reasons.join("\n"), /0 of 3 votes .* for \d+ of 20000 ms/);
});

const FORBIDDEN: readonly [string, (world: World) => World, Partial<GateInput>, RegExp][] = [
  ["a quorum override is active", (w) => run(w, 40, bothLack), { quorumOverride: true }, /override/],
  ["only one of three reports it", (w) => run(w, 40, { n1: without3, n2: all }), {}, /1 of 3 votes/],
  [
    "the reports are not quorate",
    (w) => run(w, 40, { n1: { ...without3, quorate: false }, n2: { ...without3, quorate: false } }),
    {},
    /0 of 3 votes/,
  ],
  ["the reporters fell silent", (w) => run(run(w, 40, bothLack), 10, {}), {}, /no fresh report/],
  [
    "the reports were interrupted by one that has the node",
    (w) => run(run(run(w, 18, bothLack), 2, { n1: all, n2: all }), 18, bothLack),
    {},
    /0 of 3 votes/,
  ],
  [
    "the ring changed in between",
    (w) => run(run(w, 18, bothLack), 18, { n1: { ...without3, ringId: "1.3" }, n2: { ...without3, ringId: "1.3" } }),
    {},
    /0 of 3 votes/,
  ],
  [
    "the node still renews its lease",
    (w) => run(w, 40, { ...bothLack, n3: all }),
    {},
    /lease of node n3 has been unchanged/,
  ],
  ["the CRM has just started", (w) => run({ ...w, observations: {} }, 18, bothLack), {}, /of 20000 ms/],
  [
    "the CRM could not read for a while",
    (w) => run({ ...run(w, 40, bothLack), now: 1_000_000 }, 10, bothLack),
    {},
    /unchanged for/,
  ],
  [
    "the node is to be fenced by hardware only",
    (w) => run(w, 40, bothLack),
    { fencing: "Hardware" },
    /no device has confirmed/,
  ],
];
for (const [why, world, change, reason] of FORBIDDEN) {
  test(`the gate stays closed when ${why}`, () => {
    const verdict = ask(world(fresh()), change);
    assert.equal(verdict.proven, false);
    assert.match(verdict.reasons.join("\n"), reason);
  });
}

test("a confirmed fence device opens it at once, even with an override", () => {
  assert.equal(
    ask(fresh(), { hardwareConfirmed: { device: "ipmi" }, quorumOverride: true, fencing: "Hardware" }).proven,
    true,
  );
});

test("a lease given back in order may be taken at once", () => {
  assert.equal(ask(run(fresh(), 1, bothLack, "none")).proven, true);
});

test("with a QDevice one of two nodes proves it, if the device votes with it", () => {
  const two = { votes: { n1: 1, n3: 1 }, qdeviceVotes: 1 };
  const world = (qdeviceVotes: number): World =>
    run(fresh(), 40, { n1: { quorate: true, members: ["n1"], ringId: "1.2", qdeviceVotes } });
  assert.equal(ask(world(1), two).proven, true);
  assert.equal(ask(world(0), two).proven, false);
});

test("the CRM's own write to a lease makes no dead node's last report look fresh", () => {
  const cut = run(fresh(), 40, bothLack);
  const taken = { ...cut, tokens: { ...cut.tokens, n3: 999 } };
  const after = run(taken, 2, bothLack, "crm");
  const membership = currentMembership(after.observations, after.now, gate);
  assert.deepEqual([...membership.members].sort(), ["n1", "n2"]);
  assert.equal(membership.alive.has("n3"), false);
});

test("a node whose agent alone is lost stays a member and is not alive", () => {
  const world = run(fresh(), 30, { n1: all, n2: all });
  const membership = currentMembership(world.observations, world.now, gate);
  assert.equal(membership.members.has("n3"), true);
  assert.equal(membership.alive.has("n3"), false);
  assert.equal(ask(world).proven, false);
});

test("what was last heard just before the node came back proves nothing for the time after, however fresh it still is", () => {
  for (const [watchdogSeconds, tokenMilliseconds] of [
    [5, 1000],
    [10, 3000],
    [30, 3000],
  ] as const) {
    const derived = deriveTimings({ nodes: 3, watchdogSeconds, tokenMilliseconds });
    assert.ok(derived.ok);
    const ms = (name: "membershipChange" | "fenceDelay" | "quorumProofAge" | "watchdog" | "leaseDuration") =>
      derived.timings[name].milliseconds;
    const parameters = {
      fenceDelay: ms("fenceDelay"),
      leaseDuration: ms("leaseDuration"),
      reportFreshness: derived.timings.reportFreshness.milliseconds,
    };
    const lostAt = ms("membershipChange");
    const backAt = lostAt + ms("quorumProofAge") + ms("watchdog") - 100;
    // The reporters' words are on their way for long, each as late as the one before; the last ones of before it was back arrive late.
    for (const lateMs of [0, 1000, 3000, 5000]) {
      let observations: FenceObservations = {};
      for (let now = -10_000; now < 60_000; now += 250) {
        const toldAt = now < backAt ? now - (now % 2000) : backAt - 250 - (now < backAt + lateMs ? 2000 : 0);
        const [members, ringId] = toldAt >= lostAt ? [["n2", "n3"], "1.2"] : [nodes, "1.1"];
        const told = (node: string): LeaseSample => ({
          node,
          token: String(toldAt),
          holder: "agent",
          report: { ringId, quorate: true, members },
        });
        const silent: LeaseSample = { ...told("n1"), token: String(Math.min(toldAt, 0)) };
        observations = observeLeases(observations, [silent, told("n2"), told("n3")], nodes, now, parameters);
        const asked = { observations, node: "n1", votes, qdeviceVotes: 0, quorumOverride: false } as const;
        const { proven } = fenceGate({ ...asked, fencing: "Watchdog" }, now, parameters);
        assert.equal(
          proven,
          false,
          `watchdog ${watchdogSeconds} s, late by ${lateMs} ms: taken ${now - backAt} ms after`,
        );
      }
    }
  }
});

test("what was said before the node renewed its lease is no word against it", () => {
  // Off for long; then it is back and renews, and a report from before comes late: only the next one, which has the node, tells.
  const off = run(fresh(), 21, bothLack);
  const tokens: Record<string, number> = { ...off.tokens, n3: (off.tokens.n3 ?? 0) + 1 };
  const sample = (node: string, token: number, report: MembershipReport): LeaseSample => ({
    node,
    token: String(token),
    holder: "agent",
    report,
  });
  let { observations, now } = off;
  const look = (seconds: number, late: number) => {
    now += seconds * 1000;
    const reporters = ["n1", "n2"].map((node) => sample(node, (tokens[node] ?? 0) + late, without3));
    observations = observeLeases(observations, [...reporters, sample("n3", tokens.n3 ?? 0, all)], nodes, now, gate);
  };
  look(1, 0);
  look(5, 1);
  const patient = { ...gate, leaseDuration: 1000 };
  const input = {
    observations,
    node: "n3",
    votes,
    qdeviceVotes: 0,
    quorumOverride: false,
    fencing: "Watchdog",
  } as const;
  assert.equal(fenceGate(input, now, patient).proven, false);
});
