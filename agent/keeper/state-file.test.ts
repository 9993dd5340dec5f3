import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { proofRecord, readBootId, stateFile } from "./state-file.ts";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "quorate-keeper-state-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const STATE = { armed: true, expiring: false, since: "2026-01-01T00:00:00Z", bootId: "a.1" };

test("what is saved is loaded; for root's eyes, and with nothing left beside it", () => {
  const path = join(folder, "made/state.json");
  const file = stateFile(path);
  assert.equal(file.load(), undefined);
  file.save(STATE);
  file.save({ ...STATE, expiring: true });
  assert.deepEqual(stateFile(path).load(), { ...STATE, expiring: true });
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(join(folder, "made")), ["state.json"]);
});

test("what is no state is an error, never taken for none", () => {
  for (const content of ["", "{", "[]", "null", '{"armed":"yes"}', '{"armed":true,"expiring":false,"since":"x"}']) {
    const path = join(folder, "broken.json");
    writeFileSync(path, content);
    assert.throws(() => stateFile(path).load(), Error, content);
  }
  assert.throws(() => stateFile(folder).load(), { code: "EISDIR" });
});

test("a state that cannot be written is an error", () => {
  assert.throws(() => stateFile(join(folder, "broken.json", "below")).save(STATE));
});

test("the record of the last proof is missing rather than wrong", () => {
  const path = join(folder, "proof");
  assert.equal(proofRecord(path).load(), undefined);
  proofRecord(path).save({ askedAtMs: 12, ringId: "1.9" });
  assert.deepEqual(proofRecord(path).load(), { askedAtMs: 12, ringId: "1.9" });
  writeFileSync(path, "half");
  assert.equal(proofRecord(path).load(), undefined);
  proofRecord(join(folder, "nowhere/proof")).save({ askedAtMs: 12, ringId: "1.9" });
});

test("the boot id of this machine", () => {
  assert.match(readBootId(), /^[0-9a-f-]{36}\.\d+$/);
});
