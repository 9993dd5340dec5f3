import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ReplicationJob } from "../crds/index.ts";
import { followJob } from "./replication-runs.ts";
import { collected, moments, stepping } from "./testing/steps.ts";

describe("following a replication job", () => {
  const job = (status: object, runNow?: string): ReplicationJob =>
    ({ metadata: { name: "web1-n2", namespace: "lab" }, spec: { runNow }, status }) as ReplicationJob;
  const old = { startedAt: "2026-11-21T00:00:00Z", finishedAt: "2026-11-21T00:00:03Z", outcome: "Succeeded", bytes: 7 };
  const again = { startedAt: "2026-11-21T00:05:00Z" };
  const done = { ...again, finishedAt: "2026-11-21T00:05:02Z", outcome: "Succeeded", bytes: 2048, full: false };

  it("that was asked to run waits for that run and prints its log only", async () => {
    const first = job({ lastRun: old, log: ["old"] }, "now");
    const api = moments(
      first,
      job({ state: "Running", observedRunNow: "now", lastRun: again, log: ["new 1"] }, "now"),
      job({ state: "Idle", observedRunNow: "now", lastRun: done, log: ["new 1", "new 2"] }, "now"),
    );
    const { lines, printer } = collected();
    await followJob(api, first, "Asked", printer, stepping());
    assert.deepEqual(lines, ["new 1", "new 2", "web1-n2: succeeded in 2s (what changed, 2.0 KiB)"]);
  });

  it("that runs already is followed to the end of that run", async () => {
    const first = job({ state: "Running", lastRun: again, log: ["new 1"] });
    const { lines, printer } = collected();
    await followJob(
      moments(job({ state: "Idle", lastRun: done, log: ["new 1"] })),
      first,
      "PresentOrNext",
      printer,
      stepping(),
    );
    assert.deepEqual(lines, ["new 1", "web1-n2: succeeded in 2s (what changed, 2.0 KiB)"]);
  });

  it("ends with an error when the run failed", async () => {
    const failed = { ...done, outcome: "Failed", reason: "NoSpace", message: "tank on n2 is full" };
    const first = job({ state: "Idle", lastRun: old, log: [] });
    await assert.rejects(
      followJob(
        moments(job({ state: "Failed", lastRun: failed })),
        first,
        "PresentOrNext",
        collected().printer,
        stepping(),
      ),
      { reason: "RunFailed", message: "web1-n2: failed in 2s: NoSpace: tank on n2 is full" },
    );
  });
});
