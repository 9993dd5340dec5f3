import assert from "node:assert/strict";
import { test } from "node:test";
import { parseWitnessDisk } from "./witness-disk.ts";

function disk(claim: string, mark: string): Buffer {
  const content = Buffer.alloc(9 * 512);
  content.write(claim, 0);
  content.write(mark, 8 * 512);
  return content;
}

test("a disk nobody wrote on tells of no boot and no mark", () => {
  assert.deepEqual(parseWitnessDisk(disk("", "")), { boots: 0 });
});

test("the last claim tells how many boots there were and who writes", () => {
  const content = disk("QUORATE-WITNESS boots=3 boot=487a8bb4 count=17\n", "");
  assert.deepEqual(parseWitnessDisk(content), { boots: 3, boot: "487a8bb4", count: 17 });
});

test("the mark is found whatever the claim says", () => {
  for (const claim of ["", "QUORATE-WITNESS boots=2 boot=b count=1\n"]) {
    assert.equal(parseWitnessDisk(disk(claim, "TWICE boot=a found: x\n")).twice, "TWICE boot=a found: x");
  }
});

test("other bytes in the place of the mark are no mark", () => {
  assert.equal(parseWitnessDisk(disk("", "twice\n")).twice, undefined);
});
