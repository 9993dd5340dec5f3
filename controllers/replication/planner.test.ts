import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { parseSchedule } from "./calendar-grammar.ts";
import { dueJobs, type Job, planJob, retryDelaySeconds } from "./planner.ts";

const quarterly = parseSchedule("*/15");
const job = (changes: Partial<Job> = {}): Job => ({
  id: "100-0",
  guest: { id: 100, node: "n1" },
  target: "n2",
  schedule: quarterly,
  timeZone: "UTC",
  suspended: false,
  removing: false,
  lastTry: 0,
  failCount: 0,
  ...changes,
});
const allOnline = () => true;
const never = () => 0;

describe("when a job runs next", () => {
  test("a good run is followed by the next time of the schedule, missed ones are one", () => {
    assert.deepEqual(planJob(job({ lastTry: 900 }), allOnline), { runAt: 1800 });
    assert.deepEqual(planJob(job({ lastTry: 100_000 }), allOnline), { runAt: 100_800 });
  });
  test("failures at 1000 give retries at 1300, 1900, 2800, 4600 and each half hour", () => {
    let lastTry = 1000;
    const tries = [1, 2, 3, 4, 5, 6].map((failCount) => {
      const plan = planJob(job({ lastTry, failCount }), allOnline);
      assert.ok("runAt" in plan);
      lastTry = plan.runAt;
      return lastTry;
    });
    assert.deepEqual(tries, [1300, 1900, 2800, 4600, 6400, 8200]);
  });
  test("a failed job waits for its target, and is due at once when it comes back late", () => {
    const failed = job({ lastTry: 1000, failCount: 1 });
    assert.deepEqual(
      planJob(failed, () => false),
      { skip: "TargetOffline" },
    );
    assert.deepEqual(dueJobs([failed], "n1", 5000, allOnline, never), [failed]);
  });
  test("the first success restores the schedule", () => {
    assert.deepEqual(planJob(job({ lastTry: 4600, failCount: 0 }), allOnline), { runAt: 5400 });
  });
  test("a suspended job, one without a guest, one to its own node and one that never fires are skipped", () => {
    assert.deepEqual(planJob(job({ suspended: true }), allOnline), { skip: "Suspended" });
    assert.deepEqual(planJob(job({ guest: undefined }), allOnline), { skip: "GuestNotFound" });
    assert.deepEqual(planJob(job({ target: "n1" }), allOnline), { skip: "TargetIsSource" });
    assert.deepEqual(planJob(job({ schedule: parseSchedule("02-30") }), allOnline), { skip: "NeverFires" });
  });
  test("a removal runs at once, even suspended, failed or to its own node", () => {
    const removed = job({ removing: true, suspended: true, target: "n1", failCount: 3, lastTry: 99_000 });
    assert.deepEqual(
      dueJobs([removed], "n1", 2, () => false, never),
      [removed],
    );
  });
});

describe("the order of due jobs", () => {
  test("is: longest not looked at, due time, guest id as a number, job id", () => {
    const jobs = [
      job({ id: "1000-0", guest: { id: 1000, node: "n1" } }),
      job({ id: "101-1", guest: { id: 101, node: "n1" } }),
      job({ id: "101-0", guest: { id: 101, node: "n1" } }),
      job({ id: "5-0", guest: { id: 5, node: "n1" }, lastTry: 900 }),
      job({ id: "1-0", guest: { id: 1, node: "n1" } }),
      job({ id: "2-0", guest: { id: 2, node: "n9" } }),
      job({ id: "3-0", guest: { id: 3, node: "n1" }, lastTry: 9000 }),
    ];
    const looked = (one: Job) => (one.id === "1-0" ? 7 : 0);
    assert.deepEqual(
      dueJobs(jobs, "n1", 5000, allOnline, looked).map((one) => one.id),
      ["101-0", "101-1", "1000-0", "5-0", "1-0"],
    );
  });
  test("does not depend on the order in which jobs are given", () => {
    const jobs = Array.from({ length: 8 }, (_, n) =>
      job({ id: `${100 + (n % 3)}-${n}`, guest: { id: 100 + (n % 3), node: "n1" }, lastTry: 900 * (n % 2) }),
    );
    const expected = dueJobs(jobs, "n1", 10_000, allOnline, never);
    fc.assert(
      fc.property(fc.shuffledSubarray(jobs, { minLength: jobs.length }), (shuffled) =>
        assert.deepEqual(dueJobs(shuffled, "n1", 10_000, allOnline, never), expected),
      ),
    );
  });
});

test("retries never come closer together", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 1000 }), (n) => retryDelaySeconds(n + 1) >= retryDelaySeconds(n)));
});

describe("conformance data", () => {
  interface Event {
    t: number;
    job: string;
    kind: string;
    next?: number;
    error?: string;
    set?: Record<string, unknown>;
  }
  interface Case {
    name: string;
    local_node: string;
    online: string[];
    schedule_default: string;
    guest: { id: number; node: string };
    jobs: { id: string; target: string; remove_job?: string }[];
    ticks?: { from: number; step: number; count: number };
    replicate?: "always-ok" | "always-fails";
    changes?: { before_tick: number; add_volume_to_guest?: string; create_volume?: string; remove_job?: string }[];
    run_single_at?: number;
    expect_runs?: { job: string; start: number; last_sync: number }[];
    expect?: Event[];
  }
  const folder = fileURLToPath(new URL("../../../shared/conformance/", import.meta.url));
  const file = `${folder}replication.json`;
  const skip = !existsSync(file) && `SKIPPED: no conformance data at ${folder}`;
  const cases: Case[] = skip ? [] : JSON.parse(readFileSync(file, "utf8")).cases;
  /** The rest of a trace is the work of the agent that runs the job. */
  const SCHEDULING = new Set(["job.seen", "run.begin", "run.ok", "run.fail", "next", "state", "job.gone"]);

  test("replication.json is there", { skip }, () => assert.ok(cases.length > 0));
  for (const scenario of cases.filter(({ ticks }) => ticks)) {
    test(scenario.name, () => {
      const { events, runs } = simulate(scenario);
      if (scenario.expect_runs) assert.deepEqual(runs, scenario.expect_runs);
      if (scenario.expect)
        assert.deepEqual(
          events,
          scenario.expect.filter(({ kind }) => SCHEDULING.has(kind)),
        );
    });
  }
  for (const scenario of cases.filter(({ run_single_at }) => run_single_at)) {
    test(scenario.name, () => {
      const [only] = scenario.jobs;
      assert.ok(only);
      assert.deepEqual(planJob(job({ guest: scenario.guest, target: only.target }), allOnline), {
        skip: "TargetIsSource",
      });
    });
  }

  /** The shell of the planner, in virtual time, with the runs made up. */
  function simulate({ ticks, changes = [], ...scenario }: Case) {
    assert.ok(ticks);
    const events: Event[] = [];
    const runs: { job: string; start: number; last_sync: number }[] = [];
    const jobs = scenario.jobs.map(({ id, target, remove_job }) => ({
      ...job({
        id,
        target,
        guest: scenario.guest,
        schedule: parseSchedule(scenario.schedule_default),
        removing: remove_job !== undefined,
      }),
      lastSync: 0,
      seen: false,
      lastNode: "",
      error: undefined as string | undefined,
      iteration: 0,
    }));
    const missing = new Set<string>();
    const online = (node: string) => scenario.online.includes(node);
    for (let tick = 0, t = ticks.from; tick < ticks.count; tick += 1, t += ticks.step) {
      for (const change of changes.filter(({ before_tick }) => before_tick === tick)) {
        if (change.add_volume_to_guest) missing.add(change.add_volume_to_guest);
        if (change.create_volume) missing.delete(change.create_volume);
        if (change.remove_job) for (const one of jobs) one.removing = true;
      }
      for (const one of jobs) {
        const plan = planJob(one, online);
        if (one.seen || !("runAt" in plan)) continue;
        one.seen = true;
        if (scenario.expect) events.push({ t, job: one.id, kind: "job.seen", next: plan.runAt });
      }
      const iteration = tick + 1;
      for (const one of dueJobs(jobs, scenario.local_node, t, online, ({ iteration }) => iteration)) {
        if (one.iteration === iteration) continue;
        one.iteration = iteration;
        runs.push({ job: one.id, start: t, last_sync: one.lastSync });
        events.push({ t, job: one.id, kind: "run.begin" });
        const [volume] = missing;
        const error =
          scenario.replicate === "always-fails" ? "faked replication error" : volume && `no such volid '${volume}'`;
        events.push(error ? { t, job: one.id, kind: "run.fail", error } : { t, job: one.id, kind: "run.ok" });
        if (one.removing) {
          events.push({ t, job: one.id, kind: "job.gone" });
          jobs.splice(jobs.indexOf(one), 1);
          continue;
        }
        const set: Record<string, unknown> = { last_try: t };
        if (one.lastNode !== scenario.local_node) set.last_node = scenario.local_node;
        if (error) set.fail_count = one.failCount + 1;
        else {
          set.last_sync = t;
          if (one.failCount > 0) set.fail_count = 0;
        }
        if (error !== one.error) set.error = error ?? "";
        one.lastTry = t;
        one.failCount = error ? one.failCount + 1 : 0;
        if (!error) one.lastSync = t;
        one.lastNode = scenario.local_node;
        one.error = error;
        const plan = planJob(one, online);
        assert.ok("runAt" in plan);
        events.push({ t, job: one.id, kind: "next", next: plan.runAt }, { t, job: one.id, kind: "state", set });
      }
    }
    return { events, runs };
  }
});
