import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { bytes, duration } from "./age.ts";

describe("ages and amounts", () => {
  it("are short", () => {
    const seconds = [0, 41, 119, 120, 185, 600, 10_799, 10_800, 28_799, 28_800, 172_799, 172_800, 864_000];
    assert.deepEqual(
      seconds.map((count) => duration(count * 1000)),
      ["0s", "41s", "119s", "2m", "3m5s", "10m", "179m", "3h", "7h59m", "8h", "47h", "2d", "10d"],
    );
    assert.deepEqual([0, 1023, 1536, 5_242_880, 3e12].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "2.7 TiB"]);
  });

  it("never go below zero when clocks differ", () => {
    assert.equal(duration(-5000), "0s");
  });
});
