/**
 * Random histories of faults in the event-driven world, with the invariant of the whole: no guest ever runs on two hosts, and when
 * everything is repaired everything that shall run does. The same seeds every time; QUORATE_SEED and QUORATE_RUNS look further.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { simulateDefault } from "./default-world.ts";
import { history, scenarioOf } from "./random-history.ts";

const seed = Number(process.env.QUORATE_SEED ?? 20260101);
const numRuns = Number(process.env.QUORATE_RUNS ?? 150);
test(`no guest runs twice in ${numRuns} random histories of faults, and everything runs in the end`, () => {
  fc.assert(
    fc.property(history, ({ count, qdevice, policy, faults }) => {
      const events = simulateDefault(scenarioOf(count, qdevice, policy, faults));
      assert.deepEqual(
        events.filter((event) => event.class === "violation"),
        [],
      );
      for (const final of events.filter((event) => event.class === "final")) {
        assert.equal(final.state, "Started", `${final.subject} ends in ${final.state}`);
        assert.equal(
          final.running_on,
          final.node,
          `${final.subject} belongs to ${final.node} and runs on ${final.running_on}`,
        );
      }
    }),
    { seed, numRuns, endOnFailure: process.env.QUORATE_RUNS !== undefined && process.env.QUORATE_SHRINK === undefined },
  );
});
