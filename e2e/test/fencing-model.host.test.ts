import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { execa } from "execa";

/**
 * The fencing protocol (controllers/ha/fencing.pml) checked by spin: never two, always recovered, and each rule is needed,
 * shown by leaving it out.
 */
const model = resolve(dirname(fileURLToPath(import.meta.url)), "../../controllers/ha/fencing.pml");

type Verdict = { errors: number; states: number; what: string };

async function check(defines: Record<string, number | true>, property: "never-twice" | "recovered"): Promise<Verdict> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-model-"));
  try {
    const flags = Object.entries(defines).map(([name, value]) => (value === true ? `-D${name}` : `-D${name}=${value}`));
    await execa("spin", ["-a", ...flags, model], { cwd: folder, timeout: 60_000 });
    const mode = property === "never-twice" ? ["-DSAFETY"] : [];
    await execa("gcc", ["-O2", "-w", ...mode, "-DCOLLAPSE", "-DMEMLIM=4000", "-o", "pan", "pan.c"], {
      cwd: folder,
      timeout: 60_000,
    });
    const search = property === "never-twice" ? ["-m1000000", "-noclaim"] : ["-a", "-m1000000"];
    const { stdout } = await execa("./pan", search, { cwd: folder, timeout: 120_000 });
    const errors = /errors: (\d+)/.exec(stdout);
    const states = /(\d+) states, stored/.exec(stdout);
    assert.ok(errors && states, `spin gave no verdict:\n${stdout}`);
    assert.doesNotMatch(stdout, /max search depth too small|out of memory/, "the search was cut short");
    return { errors: Number(errors[1]), states: Number(states[1]), what: /pan:\d+: (.*)/.exec(stdout)?.[1] ?? "" };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("the fencing protocol, model-checked", () => {
  let started = 0;
  before(() => {
    started = Date.now();
  });
  after(() => assert.ok(Date.now() - started < 120_000, "the model takes more than two minutes"));

  for (const [name, defines] of Object.entries({
    "with short times and many faults": { FAULTS: 8 },
    "with a longer watchdog": { FAULTS: 6, T: 3, W: 4, L: 5 },
    "with a quorum override": { FAULTS: 6, WITH_OVERRIDE: true },
    "with reports that are on their way for any time": { FAULTS: 6, WITH_REPORTS: true },
    "with a watchdog that does not fire, behind a fence device": {
      FAULTS: 6,
      WITH_BROKEN_WATCHDOG: true,
      WITH_FENCE_DEVICE: true,
    },
  } as Record<string, Record<string, number | true>>)) {
    it(`never lets a guest run twice, ${name}`, async () => {
      const verdict = await check(defines, "never-twice");
      assert.equal(verdict.errors, 0, verdict.what);
      assert.ok(verdict.states > 10_000, `only ${verdict.states} states: the faults were not explored`);
    });
  }

  for (const defines of [{ FAULTS: 4 }, { FAULTS: 4, T: 3, W: 4, WITH_OVERRIDE: true as const }]) {
    it(`recovers the guest when a majority and the API stay (${JSON.stringify(defines)})`, async () => {
      assert.equal((await check(defines, "recovered")).errors, 0);
    });
  }

  for (const [defect, defines] of Object.entries({
    "the watchdog is petted by a timer": { BREAK_PET_BY_TIMER: true },
    "an old Lease alone is taken for a dead node": { BREAK_LEASE_ONLY: true },
    "M is one tick shorter than T + F + W": { T: 2, F: 1, W: 4, M: 6 },
    "M is far too short": { M: 3 },
    "the time under a quorum override counts": { WITH_OVERRIDE: true, BREAK_IGNORE_OVERRIDE: true },
    "a report counts up to now, not to the one before the newest": { WITH_REPORTS: true, BREAK_COUNT_SILENCE: true },
    "words from before the node renewed its Lease count against it": {
      WITH_REPORTS: true,
      BREAK_WORDS_BEFORE_RENEWAL: true,
    },
    "a thawed corosync is believed at once": { W: 4, BREAK_BELIEVE_AFTER_GAP: true },
    "the guest starts before the watchdog is armed": { BREAK_START_BEFORE_ARM: true },
    "the watchdog does not fire and there is no fence device": { WITH_BROKEN_WATCHDOG: true },
  } as Record<string, Record<string, number | true>>)) {
    it(`finds the second guest when ${defect}`, async () => {
      const verdict = await check(defines, "never-twice");
      assert.equal(verdict.errors, 1, "the defect was not found");
      assert.match(verdict.what, /assertion violated\s+!\(+guestA&&guestB/);
    });
  }
});
