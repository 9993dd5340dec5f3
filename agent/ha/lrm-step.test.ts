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
const history = fc.array(anyView, { minLength: 1, maxLength: 12, size: "max" });

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

test("a step that begins work lets go of nothing, and begins one piece of work for a guest", () => {
  always((given, _before, effects) => {
    const begun = effects.flatMap((e) =>
      e.type === "start" || e.type === "stop" || e.type === "move" ? [e.service] : [],
    );
    assert.equal(new Set(begun).size, begun.length, JSON.stringify(effects));
    if (begun.length === 0 || given.disarmed) return; // disarmed, the watchdog guards nothing
    const letsGo = ["disarmWatchdog", "releaseLease", "exit"];
    assert.deepEqual(
      types(effects).filter((type) => letsGo.includes(type)),
      [],
    );
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

test("a disarm closes the watchdog over a guest that runs and was given up, not over one that it answered for", () => {
  const closes = (state: "Error" | "Started") => {
    const services = { web: service({ state, running: true }) };
    const told = step(active, view({ services })).state;
    return types(step(told, view({ disarmed: true, services })).effects).includes("disarmWatchdog");
  };
  assert.equal(closes("Error"), true);
  assert.equal(closes("Started"), false);
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

const goesDown = (kind: "reboot" | "power-off", policy: "conditional" | "migrate" = "conditional") => ({
  shutdown: { kind, policy },
});
/** Steps once a second with what `at` says of that second, until the LRM exits. */
function goDown(at: (second: number, effects: readonly string[]) => LrmView, seconds = 700) {
  let state = active;
  const seen: { second: number; effects: string[] }[] = [];
  const all: string[] = [];
  for (let second = 0; second <= seconds && !state.exited; second += 1) {
    const result = lrmStep(state, at(second, all), second * 1000, DEFAULT_LRM_PARAMETERS);
    state = result.state;
    const effects = types(result.effects).filter((type) => type !== "renewLease" && type !== "report");
    if (effects.length > 0) seen.push({ second, effects });
    all.push(...effects);
  }
  return { state, seen, all };
}
const ordered = (all: readonly string[]) =>
  all.filter((type) => ["stop", "disarmWatchdog", "releaseLease", "exit", "start", "move"].includes(type));

test("a host that is powered off stops its guests, closes the watchdog, gives the lease back and ends, in this order", () => {
  const { all } = goDown((_second, before) => {
    const running = !before.includes("stop");
    return view({ ...goesDown("power-off"), services: { web: service({ running }) } });
  });
  assert.deepEqual(ordered(all), ["stop", "disarmWatchdog", "releaseLease", "exit"]);
});

test("a host that reboots waits until its guests are frozen, then stops them and gives the lease back", () => {
  const { seen, all } = goDown((second, before) =>
    view({
      ...goesDown("reboot"),
      services: { web: service({ running: !before.includes("stop"), state: second < 5 ? "Started" : "Freeze" }) },
    }),
  );
  assert.deepEqual(ordered(all), ["stop", "disarmWatchdog", "releaseLease", "exit"]);
  assert.equal(seen.find(({ effects }) => effects.includes("stop"))?.second, 5);
});

test("without the API server a host that reboots waits 20 s, stops its guests, closes the watchdog and keeps its lease", () => {
  const { seen, all } = goDown((_second, before) =>
    view({
      ...goesDown("reboot"),
      storeReadable: false,
      services: { web: service({ running: !before.includes("stop") }) },
    }),
  );
  assert.deepEqual(ordered(all), ["stop", "disarmWatchdog", "exit"]);
  assert.equal(seen.find(({ effects }) => effects.includes("stop"))?.second, 20);
});

test("controllers that freeze nothing hold a reboot up for a minute only, and the lease is kept", () => {
  const { seen, all } = goDown((_second, before) =>
    view({ ...goesDown("reboot"), services: { web: service({ running: !before.includes("stop") }) } }),
  );
  assert.deepEqual(ordered(all), ["stop", "disarmWatchdog", "exit"]);
  assert.equal(seen.find(({ effects }) => effects.includes("stop"))?.second, 60);
});

test("with policy migrate the guests leave first; what can't leave within nine minutes is stopped", () => {
  const gone = goDown((second) =>
    view({ ...goesDown("reboot", "migrate"), services: second < 7 ? { web: service({ running: true }) } : {} }),
  );
  assert.deepEqual(ordered(gone.all), ["disarmWatchdog", "releaseLease", "exit"]);
  const stays = goDown((_second, before) =>
    view({ ...goesDown("reboot", "migrate"), services: { web: service({ running: !before.includes("stop") }) } }),
  );
  assert.deepEqual(ordered(stays.all), ["stop", "disarmWatchdog", "releaseLease", "exit"]);
  assert.equal(stays.seen.find(({ effects }) => effects.includes("stop"))?.second, 540);
});

test("a guest that does not end keeps watchdog and lease: the host resets when its corosync stops", () => {
  const { all, state } = goDown(() =>
    view({ ...goesDown("power-off"), services: { web: service({ running: true }) } }),
  );
  assert.deepEqual(ordered(all), ["stop", "exit"]);
  assert.ok(state.exited);
});

test("what was seen of a guest before its stop ended does not count", () => {
  const { all } = goDown((second, before) =>
    view({
      ...goesDown("power-off"),
      services: { web: service({ running: !(before.includes("stop") && second > 4) }) },
    }),
  );
  assert.deepEqual(ordered(all), ["stop", "disarmWatchdog", "releaseLease", "exit"]);
});

test("a guest in error, or one that belongs elsewhere, is no reason to leave a watchdog of a host without guests armed", () => {
  const inError = goDown((_second, before) =>
    view({
      ...goesDown("reboot", "migrate"),
      services: { web: service({ state: "Error", running: !before.includes("stop") }) },
    }),
  );
  assert.deepEqual(ordered(inError.all), ["stop", "disarmWatchdog", "releaseLease", "exit"]);
  const stray = goDown(() => view({ ...goesDown("power-off"), services: {}, strays: ["old"] }));
  assert.deepEqual(ordered(stray.all), ["exit"]);
});

test("nothing is started on a host that goes down", () => {
  const { all } = goDown(() => view({ ...goesDown("reboot", "migrate") }), 30);
  assert.ok(!all.includes("start"));
});

test("the order of a host that goes down holds for whatever it sees: lease and watchdog go only without guests, and nothing starts", () => {
  const kinds = fc.constantFrom<"reboot" | "power-off">("reboot", "power-off");
  fc.assert(
    fc.property(fc.array(anyView, { minLength: 1, maxLength: 30, size: "max" }), kinds, (views, kind) => {
      let state: LrmState = active;
      for (const [i, given] of views.entries()) {
        const seen = { ...given, ...goesDown(kind) };
        const result = lrmStep(state, seen, i * 5000, DEFAULT_LRM_PARAMETERS);
        state = result.state;
        const effects = types(result.effects);
        const mayRun = seen.strays.length > 0 || seen.services.web?.running !== false;
        assert.ok(!effects.includes("start"));
        if (!seen.disarmed && mayRun)
          assert.ok(!effects.includes("disarmWatchdog") && !effects.includes("releaseLease"), JSON.stringify(seen));
      }
    }),
    { numRuns: 3000 },
  );
});
