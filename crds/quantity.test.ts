import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesOf } from "./index.ts";

test("binary and decimal suffixes", () => {
  assert.equal(bytesOf("64Mi"), 67_108_864);
  assert.equal(bytesOf("2Gi"), 2_147_483_648);
  assert.equal(bytesOf("1500M"), 1_500_000_000);
  assert.equal(bytesOf("1048576"), 1_048_576);
});

test("what is not a whole number of bytes is refused", () => {
  for (const bad of ["", "2 Gi", "2GB", "-1Gi", "0.3", "1.5Gi", "1e3", "Gi", "9999999Pi", "100m"]) {
    assert.throws(() => bytesOf(bad), { reason: "InvalidQuantity" }, bad);
  }
});

test("a whole number of mebibytes is exact", () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 }), (n) => bytesOf(`${n}Mi`) === n * 2 ** 20));
});
