import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  choosePlan,
  DEFAULT_LRM_PARAMETERS,
  initialLrmState,
  type LrmEffect,
  type LrmServiceView,
  type LrmState,
  type LrmView,
  lrmStep,
} from "./index.ts";

const service = (change: Partial<LrmServiceView> = {}): LrmServiceView => ({
  state: "Started",
  node: "n1",
  command: { uid: "u1" },
  maxRestart: 1,
  owner: "n1",
  running: false,
  canMoveLive: true,
  ...change,
});
const view = (change: Partial<LrmView> = {}): LrmView => ({
  node: "n1",
  quorate: true,
  storeReadable: true,
  lease: { holder: "self", epoch: 3 },
  watchdog: { armed: true, expiring: false },
  services: { web: service() },
  strays: [],
  work: {},
  disarmed: false,
  maintenance: false,
  sameRound: false,
  ...change,
});
const active: LrmState = { ...initialLrmState(), mode: "Active", epoch: 3 };
const types = (effects: readonly LrmEffect[]): string[] => effects.map((effect) => effect.type);
const step = (state: LrmState, given: LrmView): ReturnType<typeof lrmStep> =>
  lrmStep(state, given, 0, DEFAULT_LRM_PARAMETERS);

test("an agent that holds its lease in a quorate partition with an armed watchdog starts its guests", () => {
  assert.ok(types(step(active, view()).effects).includes("start"));
});

test("the watchdog is armed before the first guest starts", () => {
  const effects = types(step(initialLrmState(), view({ watchdog: { armed: false, expiring: false } })).effects);
  assert.ok(effects.includes("armWatchdog"));
  assert.ok(!effects.includes("start"));
});

test("a live move that failed says who has the guest only when it still runs here", () => {
  const work = { web: { uid: "u1", action: "move", mode: "live", outcome: "Failed" } } as const;
  const outcome = (running: boolean, state: "Migrate" | "Relocate"): unknown => {
    const given = view({ services: { web: service({ state, target: "n2", running }) }, work });
    return step(active, given).effects.find((effect) => effect.type === "report")?.outcome;
  };
  assert.equal(outcome(true, "Migrate"), "Failed", "it runs on here");
  assert.equal(outcome(false, "Migrate"), "WrongNode", "an earlier try may have carried it over");
  assert.equal(outcome(false, "Relocate"), "Failed", "a restart move starts nothing over there");
});

const anyView: fc.Arbitrary<LrmView> = fc
  .record({
    quorate: fc.boolean(),
    storeReadable: fc.boolean(),
    holder: fc.constantFrom("self", "crm", "other", "none"),
    epoch: fc.integer({ min: 1, max: 4 }),
    armed: fc.boolean(),
    expiring: fc.boolean(),
    disarmed: fc.boolean(),
    maintenance: fc.boolean(),
    state: fc.constantFrom(
      "RequestStart",
      "Started",
      "RequestStop",
      "Stopped",
      "Fence",
      "Recovery",
      "Freeze",
      "Migrate",
      "Relocate",
      "Error",
      "RequestStartBalance",
    ),
    running: fc.constantFrom<boolean | "unknown">(true, false, "unknown"),
    here: fc.boolean(),
    owned: fc.boolean(),
    stray: fc.boolean(),
    uid: fc.constantFrom("u1", "u2"),
    work: fc.constantFrom("none", "running", "ok", "failed"),
    shutdown: fc.constantFrom("none", "agent-restart", "reboot", "power-off"),
    sameRound: fc.boolean(),
  })
  .map((g) =>
    view({
      quorate: g.quorate,
      storeReadable: g.storeReadable,
      lease: { holder: g.holder as LrmView["lease"]["holder"], epoch: g.epoch },
      watchdog: { armed: g.armed, expiring: g.expiring },
      disarmed: g.disarmed,
      maintenance: g.maintenance,
      sameRound: g.sameRound,
      strays: g.stray ? ["old"] : [],
      services: {
        web: service({
          state: g.state as LrmServiceView["state"],
          running: g.running,
          node: g.here ? "n1" : "n2",
          target: g.here ? "n2" : "n1",
          owner: g.owned ? "n1" : "n2",
          command: { uid: g.uid, target: "n2" },
        }),
      },
      work:
        g.work === "none"
          ? {}
          : {
              web: {
                uid: g.uid,
                action: "start",
                ...(g.work === "running" ? {} : { outcome: g.work === "ok" ? "Ok" : "Failed" }),
              },
            },
      ...(g.shutdown === "none" ? {} : { shutdown: { kind: g.shutdown as "reboot", policy: "conditional" } }),
    }),
  );
const history = fc.array(anyView, { minLength: 1, maxLength: 12 });

/** Runs the views one after the other and checks each step. */
function always(
  check: (given: LrmView, before: LrmState, effects: readonly LrmEffect[], after: LrmState) => void,
): void {
  fc.assert(
    fc.property(history, (views) => {
      let state = initialLrmState();
      views.forEach((given, i) => {
        const result = lrmStep(state, given, i * 1000, DEFAULT_LRM_PARAMETERS);
        check(given, state, result.effects, result.state);
        state = result.state;
      });
    }),
    { numRuns: 3000 },
  );
}

test("whatever it saw before, it starts and moves nothing without lease, quorum, fresh objects and an armed watchdog in the same view", () => {
  always((given, before, effects, after) => {
    if (!effects.some((effect) => effect.type === "start" || effect.type === "move")) return;
    assert.equal(given.lease.holder, "self");
    assert.equal(given.lease.epoch, after.epoch ?? before.epoch);
    assert.ok(given.quorate && given.storeReadable && !given.watchdog.expiring && !given.disarmed);
    if (effects.some((effect) => effect.type === "start")) assert.ok(given.watchdog.armed);
  });
});

test("a lease found taken makes the watchdog expire while any guest may still run", () => {
  always((given, before, effects) => {
    if (before.epoch === undefined || before.exited || !given.storeReadable || given.watchdog.expiring) return;
    const taken = given.lease.holder === "crm" || given.lease.holder === "other" || given.lease.epoch !== before.epoch;
    const mayRun =
      given.strays.length > 0 || given.services.web?.running !== false || given.work.web?.action === "start";
    if (taken && mayRun) assert.ok(types(effects).includes("expireWatchdog"), JSON.stringify({ given, before }));
    if (taken)
      assert.ok(!types(effects).some((type) => ["start", "move", "acquireLease", "disarmWatchdog"].includes(type)));
  });
});

test("the watchdog is closed only when no guest runs here, or they are frozen or suspended", () => {
  always((given, _before, effects) => {
    if (!types(effects).includes("disarmWatchdog") || given.disarmed) return;
    const web = given.services.web;
    const frozenRestart = web?.state === "Freeze" && given.shutdown?.kind === "agent-restart";
    const elsewhere = web?.node !== "n1";
    assert.ok(web?.running === false || frozenRestart || elsewhere, JSON.stringify(given));
  });
});

test("it never renews a lease in a partition that is not quorate", () => {
  always((given, _before, effects) => {
    if (!given.quorate) assert.ok(!types(effects).some((type) => type === "renewLease" || type === "acquireLease"));
  });
});

test("a command is executed once for its uid", () => {
  const stopping = view({ services: { web: service({ state: "RequestStop", running: true }) } });
  const first = step(active, stopping);
  assert.ok(types(first.effects).includes("stop"));
  const ended = step(first.state, { ...stopping, work: { web: { uid: "u1", action: "stop", outcome: "Failed" } } });
  assert.ok(ended.effects.some((effect) => effect.type === "report" && effect.outcome === "Failed"));
  assert.ok(!types(step(ended.state, stopping).effects).includes("stop"));
});

test("a start is tried again here maxRestart times, then given up", () => {
  let state = active;
  const outcomes: string[] = [];
  for (let i = 0; i < 4; i += 1) {
    const begun = step(state, view());
    if (!types(begun.effects).includes("start")) break;
    const ended = step(
      begun.state,
      view({ sameRound: true, work: { web: { uid: "u1", action: "start", outcome: "Failed" } } }),
    );
    outcomes.push(...ended.events.map((event) => event.kind));
    state = ended.state;
  }
  assert.deepEqual(outcomes, ["start.fail", "start.retry-here", "start.fail", "start.give-up"]);
});

test("a shutdown follows the policy", () => {
  assert.equal(choosePlan("reboot", "conditional"), "freeze");
  assert.equal(choosePlan("power-off", "conditional"), "stop");
  assert.equal(choosePlan("reboot", "failover"), "stop");
  assert.equal(choosePlan("power-off", "freeze"), "freeze");
  assert.equal(choosePlan("power-off", "migrate"), "drain");
  assert.equal(choosePlan("agent-restart", "migrate"), "freeze");
});
