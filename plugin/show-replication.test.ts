import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { newLines } from "./show-replication.ts";

describe("the new lines of a log", () => {
  it("are those after what was printed, also when the log has lost its first lines", () => {
    assert.deepEqual(newLines([], ["a"]), ["a"]);
    assert.deepEqual(newLines(["a", "b"], ["a", "b", "c"]), ["c"]);
    assert.deepEqual(newLines(["a", "b", "c"], ["b", "c", "d"]), ["d"]);
    assert.deepEqual(newLines(["a", "b"], ["a", "b"]), []);
    assert.deepEqual(newLines(["a", "b"], ["x", "y"]), ["x", "y"]);
  });

  it("put together give the whole log, for any window and any steps", () => {
    const steps = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 20 });
    fc.assert(
      fc.property(fc.integer({ min: 5, max: 9 }), steps, (window, grown) => {
        const all: string[] = [];
        let printed: readonly string[] = [];
        const heard: string[] = [];
        for (const count of grown) {
          for (let line = 0; line < count; line += 1) all.push(`line ${all.length}`);
          const log = all.slice(-window);
          heard.push(...newLines(printed, log));
          printed = log;
        }
        assert.deepEqual(heard, all);
      }),
    );
  });
});
