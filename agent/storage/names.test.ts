import assert from "node:assert/strict";
import { test } from "node:test";
import { checkedJob, checkedUid, jobVmid, snapshotJob, snapshotName, volumeName } from "./index.ts";

const at = Date.UTC(2026, 10, 21, 9, 5, 7);

test("a volume's name is one harmless component of a dataset", () => {
  assert.equal(volumeName({ vmid: 100, volume: "root" }), "vm-100-root");
  for (const volume of ["", "..", "a/b", "a@b", "-x", "A", "a b", "a\nb", "a".repeat(64), "a,b"]) {
    assert.throws(() => volumeName({ vmid: 100, volume }), { reason: "InvalidName" }, JSON.stringify(volume));
  }
  for (const vmid of [0, -1, 1.5, Number.NaN, 1e9]) {
    assert.throws(() => volumeName({ vmid, volume: "root" }), { reason: "InvalidName" }, String(vmid));
  }
});

test("the uid of a Guest object is one harmless word", () => {
  assert.equal(checkedUid("0b3e4f5a-0000-4000-8000-000000000001"), "0b3e4f5a-0000-4000-8000-000000000001");
  for (const uid of ["", "-", "-x", "a b", "a\nb", "a/b", "a=b", "a".repeat(65)])
    assert.throws(() => checkedUid(uid), { reason: "InvalidName" }, JSON.stringify(uid));
});

test("a snapshot is named after its job and the time, and one second later when that name is taken", () => {
  assert.equal(snapshotName("100-0", at, new Set()), "quorate-100-0-20261121T090507Z");
  assert.equal(
    snapshotName("100-0", at, new Set(["quorate-100-0-20261121T090507Z"])),
    "quorate-100-0-20261121T090508Z",
  );
});

test("the longest legal volume and job make a dataset name within the limit of ZFS", () => {
  const volume = volumeName({ vmid: 999_999_999, volume: "v".repeat(63) });
  const snapshot = snapshotName("999999999-9999", at, new Set());
  const whole = `${"d".repeat(150)}/.quorate-recv/${volume}`;
  assert.ok(Buffer.byteLength(`${whole}@${snapshot}`) < 320);
  assert.ok(Buffer.byteLength(`${"d".repeat(150)}/${volume}@`) < 256);
});

test("a snapshot of a user is no job's, however close its name comes", () => {
  assert.equal(snapshotJob("quorate-100-0-20261121T090507Z"), "100-0");
  assert.equal(jobVmid("100-12"), 100);
  for (const name of [
    "0",
    "quorate-100-0",
    "quorate-100-0-20261121T090507Z-keep",
    "my-quorate-100-0-20261121T090507Z",
    "quorate-0100-0-20261121T090507Z",
  ]) {
    assert.equal(snapshotJob(name), undefined, name);
  }
});

test("a job of another guest is refused", () => {
  assert.equal(checkedJob("100-0", 100), "100-0");
  for (const job of ["1001-0", "10-0", "100", "100-0-1", "100-00", "x"]) {
    assert.throws(() => checkedJob(job, 100), { reason: "InvalidName" }, job);
  }
});
