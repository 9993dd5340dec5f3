import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { durationOf, objectName } from "./connection.ts";

describe("durations on the command line", () => {
  it("are written as for kubectl", () => {
    assert.deepEqual(["30", "30s", "2m", "1.5h", "500ms"].map(durationOf), [30_000, 30_000, 120_000, 5_400_000, 500]);
    for (const wrong of ["", "5x", "-3s", "s"]) assert.throws(() => durationOf(wrong), /use a number/);
  });
});

describe("names on the command line", () => {
  it("are refused when no object can have them", () => {
    for (const right of ["n1", "web1-n2", "host.example.org"]) assert.equal(objectName(right), right);
    for (const wrong of ["", "N1", "../secrets", "a b", "-a", "a".repeat(254)])
      assert.throws(() => objectName(wrong), /not a name of an object/);
  });
});
