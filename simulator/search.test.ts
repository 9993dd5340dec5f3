/**
 * The fault search finds nothing where nothing is broken, and finds each known defect that is planted: a search that misses one of those
 * would prove nothing. The same worlds every time; `quorate search --seed` looks at others.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { simulateDefault } from "./default-world.ts";
import { DEFECTS } from "./defects.ts";
import { parseScenario, readScenario } from "./scenario.ts";
import { search, worldOf } from "./search.ts";

const FAULTS = 10_000;
const SEED = 20260101;

test(`what must hold does in ${FAULTS} random faults`, () => {
  const { found, faults } = search({ seed: SEED, faults: FAULTS });
  assert.equal(found?.violation.text, undefined, JSON.stringify(found?.scenario));
  assert.ok(faults >= FAULTS);
});

/** What each defect must be seen by; others may be seen first, but not nothing. */
const SEEN_AS: Readonly<Record<string, RegExp>> = {
  "fence-delay-too-short": /^guest\.runs-twice/,
  "recovery-before-fence": /^guest\.runs-twice/,
  "fence-lost-agent": /^fence\.without-cause|^guest\.runs-twice/,
  "fence-on-api-outage": /^fence\.without-cause/,
  "stale-quorum-proof": /^guest\.runs-twice/,
  "keeper-closes-on-exit": /^guest\.runs-twice/,
  "starts-unarmed": /^guest\.runs-twice/,
  "lock-ignored": /^guest\.started-without-lease/,
  "lease-kept": /^guest\.not-running/,
  "restart-counter-ignored": /^start\.too-often/,
  "relocation-counter-ignored": /^start\.too-often/,
  "result-lost": /^guest\.not-running/,
  "time-under-override-counts": /^guest\.runs-twice/,
};

for (const [defect, { summary }] of Object.entries(DEFECTS)) {
  test(`a planted defect is found: ${summary}`, () => {
    const { found } = search({ seed: SEED, faults: FAULTS, defect });
    assert.match(found?.violation.text ?? "nothing", SEEN_AS[defect] ?? /^$/);
    const scenario = parseScenario(found?.scenario ?? {});
    assert.ok(scenario.batches.length <= 14, `not small: ${JSON.stringify(scenario.batches)}`);
    const kinds = (broken: boolean): string[] =>
      simulateDefault(broken ? scenario : { ...scenario, defect: "none" })
        .filter((event) => event.class === "violation")
        .map((event) => event.kind);
    assert.ok(kinds(true).includes(found?.violation.kind ?? ""), "the scenario shows it");
    assert.deepEqual(kinds(false), [], "and shows nothing without the defect");
  });
}

test("a world is the same for the same seed and another for another", () => {
  assert.deepEqual(worldOf(1, 2), worldOf(1, 2));
  assert.notDeepEqual(worldOf(1, 2), worldOf(2, 1));
  assert.notDeepEqual(worldOf(1, 2), worldOf(1, 3));
});

test("the command says what it found, writes it down and exits accordingly", () => {
  const out = mkdtempSync(join(tmpdir(), "quorate-search-"));
  const quorate = (...args: string[]) =>
    spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", "main.ts", ...args], {
      cwd: join(import.meta.dirname, ".."),
      encoding: "utf8",
      timeout: 60_000,
    });
  try {
    const clean = quorate("search", "--faults", "50", "--seed", "7", "--out", out);
    assert.equal(clean.status, 0, clean.stderr);
    assert.match(clean.stdout, /^search: \d+ faults in \d+ worlds of seed 7 in .* faults\/s: no violation$/m);
    assert.deepEqual(readdirSync(out), []);

    const broken = quorate("search", "--faults", "5000", "--break", "recovery-before-fence", "--out", out);
    assert.equal(broken.status, 1, broken.stderr);
    assert.match(broken.stdout, /guest\.runs-twice in world \d+$/m);
    const [file = ""] = readdirSync(out);
    assert.ok(readScenario(join(out, file)).batches.length > 0);
    const again = quorate("simulate", join(out, file));
    assert.equal(again.status, 3, again.stderr);
    assert.match(again.stdout, /"kind":"guest\.runs-twice"/);
    assert.match(readFileSync(join(out, file), "utf8"), /"defect": "recovery-before-fence"/);

    for (const wrong of [["--faults", "0"], ["--break", "nothing-known"], ["--colour"], ["more"]])
      assert.equal(quorate("search", ...wrong).status, 64, wrong.join(" "));
    assert.match(quorate("search", "--break", "list").stdout, /fence-delay-too-short/);
  } finally {
    rmSync(out, { recursive: true });
  }
});
