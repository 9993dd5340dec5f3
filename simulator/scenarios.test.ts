/** Our own scenarios, with the default timings: what must and must not happen, and that no guest ever runs twice. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { DefaultWorld } from "./default-world.ts";
import type { SimEvent } from "./recorder.ts";
import { type Check, readScenario } from "./scenario.ts";

const folder = fileURLToPath(new URL("./scenarios", import.meta.url));

for (const file of readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .sort()) {
  const scenario = readScenario(join(folder, file));
  test(`${scenario.name}: ${scenario.description}`, () => {
    const world = new DefaultWorld(scenario);
    world.run();
    const { events } = world.recorder;
    if (!scenario.checks.some((check) => check.match.class === "violation")) {
      assert.deepEqual(
        events.filter((event) => event.class === "violation"),
        [],
        "what must not happen did",
      );
    }
    for (const check of scenario.checks) verify(check, events, world.timings.recoveryBound.milliseconds / 1000);
    for (const [id, final] of Object.entries(scenario.final.services)) {
      const ended = events.find((event) => event.class === "final" && event.subject === id);
      for (const key of ["node", "running_on", "state"] as const)
        assert.equal(ended?.[key] ?? null, final[key] ?? null, `${id} ends with another ${key}`);
    }
  });
}

/** @param recoveryBound seconds. */
function verify(check: Check, events: readonly SimEvent[], recoveryBound: number): void {
  const end = check.within === undefined ? check.before : (check.after ?? 0) + recoveryBound;
  const found = events.filter((event) => {
    const inTime = event.t >= (check.after ?? 0) && event.t <= (end ?? Number.POSITIVE_INFINITY);
    return inTime && Object.entries(check.match).every(([key, value]) => event[key] === value);
  });
  const seen = events
    .filter((event) => Object.entries(check.match).every(([key, value]) => event[key] === value))
    .map((event) => event.t);
  const message = `${JSON.stringify(check)}: found ${found.length}; such events came at ${seen.slice(0, 8).join(", ") || "no time"}`;
  if (check.count === undefined) assert.ok(found.length > 0, message);
  else assert.equal(found.length, check.count, message);
}
