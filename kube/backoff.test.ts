import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { backoffMs, jittered } from "./backoff.ts";

describe("backoff", () => {
  it("doubles from base to max", () => {
    const waits = [1, 2, 3, 4, 5, 6].map((failures) => backoffMs(failures, { baseMs: 5, maxMs: 100 }));
    assert.deepEqual(waits, [5, 10, 20, 40, 80, 100]);
  });

  it("stays finite and within its limits for any number of failures", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 1000 }), fc.nat(1_000_000), (failures, baseMs, more) => {
        const ms = backoffMs(failures, { baseMs, maxMs: baseMs + more });
        assert.ok(ms >= baseMs && ms <= baseMs + more, `${ms}`);
      }),
    );
  });

  it("jitters between half and whole", () => {
    assert.equal(
      jittered(100, () => 0),
      50,
    );
    assert.equal(
      jittered(100, () => 0.5),
      75,
    );
  });
});
