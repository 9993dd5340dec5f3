/**
 * Every scenario of the conformance data beside the project, with the timings of its file: the decisions and actions of each subject in
 * order, their times within a round, and where all ends. Where the data is absent this says so.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { simulateDefault } from "./default-world.ts";
import type { SimEvent } from "./recorder.ts";
import { simulateReference } from "./reference-world.ts";
import { readScenario } from "./scenario.ts";

const folder = fileURLToPath(new URL("../../shared/conformance/ha", import.meta.url));
const present = existsSync(folder);
const files = present ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
const TOLERANCE = 20;
const SIGNIFICANT = ["kind", "from", "to", "node", "target", "mode", "op", "reason", "what", "plan", "then"];

if (!present) process.stderr.write(`conformance: SKIPPED, no scenarios at ${folder}\n`);
test("the conformance data is there", {
  skip: present ? false : `no ${folder}: the scenarios of the conformance data were NOT run`,
}, () => {
  assert.ok(files.length > 0, "the folder is there but has no scenario");
});

interface Expected {
  readonly expected: readonly SimEvent[];
  readonly final: { readonly services: Readonly<Record<string, Readonly<Record<string, unknown>>>> };
}

for (const file of files) {
  const path = join(folder, file);
  test(`${file} happens as expected with the timings of the file`, () => {
    const { expected, final } = JSON.parse(readFileSync(path, "utf8")) as Expected;
    const events = simulateReference(readScenario(path));
    const want = bySubject(expected);
    const have = bySubject(events);
    for (const subject of new Set([...want.keys(), ...have.keys()])) {
      const wanted = want.get(subject) ?? [];
      const got = have.get(subject) ?? [];
      assert.deepEqual(
        got.map((e) => e.signature),
        wanted.map((e) => e.signature),
        `${subject} in ${file}`,
      );
      wanted.forEach((e, i) => {
        const at = got[i]?.t ?? Number.NaN;
        assert.ok(
          Math.abs(e.t - at) <= TOLERANCE,
          `${subject} in ${file}: ${e.signature} came at ${at}, expected at ${e.t}`,
        );
      });
    }
    checkFinals(file, events, final.services);
  });

  test(`${file} never runs a guest twice with the default timings`, () => {
    const violations = simulateDefault(readScenario(path)).filter((event) => event.class === "violation");
    assert.deepEqual(violations, []);
  });
}

function checkFinals(file: string, events: readonly SimEvent[], wanted: Expected["final"]["services"]): void {
  const finals = new Map(events.filter((event) => event.class === "final").map((event) => [event.subject, event]));
  for (const [id, final] of Object.entries(wanted)) {
    for (const key of ["node", "running_on", "state"]) {
      assert.equal(finals.get(id)?.[key] ?? null, final[key] ?? null, `${id} in ${file} ends with another ${key}`);
    }
  }
}

/** Decisions and actions of each subject; a run of equal ones counts once. */
function bySubject(events: readonly SimEvent[]): Map<string, { signature: string; t: number }[]> {
  const subjects = new Map<string, { signature: string; t: number }[]>();
  for (const event of events) {
    if ((event.class !== "decision" && event.class !== "action") || event.subject === undefined) continue;
    const signature = JSON.stringify(
      SIGNIFICANT.filter((key) => event[key] !== undefined).map((key) => [key, event[key]]),
    );
    const list = subjects.get(event.subject) ?? [];
    subjects.set(event.subject, list);
    if (list.at(-1)?.signature !== signature) list.push({ signature, t: event.t });
  }
  return subjects;
}
