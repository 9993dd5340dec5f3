import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { API_VERSION, type Guest, type ReplicationJob, withDefaults } from "../../crds/index.ts";
import { allocateNumbers, allocateVmids } from "./ids.ts";

const guest = (name: string, vmid?: number, created = "2026-01-01T00:00:00Z"): Guest => ({
  apiVersion: API_VERSION,
  kind: "Guest",
  metadata: { name, creationTimestamp: created },
  ...defaulted<Guest>("Guest", { spec: { service: { unit: "x.service" }, ...(vmid === undefined ? {} : { vmid }) } }),
});
const job = (name: string, guestName: string, number?: number): ReplicationJob => ({
  apiVersion: API_VERSION,
  kind: "ReplicationJob",
  metadata: { name, creationTimestamp: "2026-01-01T00:00:00Z" },
  ...defaulted<ReplicationJob>("ReplicationJob", {
    spec: { guest: guestName, target: "n2", ...(number === undefined ? {} : { number }) },
  }),
});
const range = { lower: 100, upper: 105 };
const vmids = (...guests: Guest[]) => Object.fromEntries(allocateVmids(guests, range).vmids);

describe("a vmid", () => {
  test("is the lowest free one, in order of age, then of name", () => {
    assert.deepEqual(vmids(guest("b"), guest("a"), guest("old", undefined, "2025-01-01T00:00:00Z")), {
      old: 100,
      a: 101,
      b: 102,
    });
    assert.deepEqual(vmids(guest("x", 100), guest("y", 102), guest("a"), guest("b")), { a: 101, b: 103 });
  });
  test("one outside the range can be chosen by hand", () =>
    assert.deepEqual(vmids(guest("x", 7), guest("a")), { a: 100 }));
  test("the lower end of the range is given out, the upper is not", () => {
    const five = ["a", "b", "c", "d", "e", "f"].map((name) => guest(name));
    assert.deepEqual(vmids(...five), { a: 100, b: 101, c: 102, d: 103, e: 104 });
  });
  test("is never given twice", () => {
    const some = fc.array(fc.option(fc.integer({ min: 98, max: 110 }), { nil: undefined }), { maxLength: 12 });
    fc.assert(
      fc.property(some, (chosen) => {
        const guests = chosen.map((vmid, n) => guest(`g${n}`, vmid));
        const given = [...allocateVmids(guests, range).vmids.values()];
        const taken = new Set(chosen.filter((vmid) => vmid !== undefined));
        assert.equal(new Set(given).size, given.length);
        assert.ok(given.every((vmid) => !taken.has(vmid) && vmid >= 100 && vmid < 105));
      }),
    );
  });
  test("is never given again when its guest is gone, whoever chose it", () => {
    const first = allocateVmids([guest("a"), guest("b"), guest("x", 103), guest("y", 7)], range);
    assert.equal(first.used, "7,100-101,103");
    const second = allocateVmids([guest("c"), guest("d")], range, first.used);
    assert.deepEqual(Object.fromEntries(second.vmids), { c: 102, d: 104 });
    assert.equal(second.used, "7,100-104");
    assert.deepEqual(allocateVmids([guest("e")], range, second.used), { vmids: new Map(), used: "7,100-104" });
  });
  test("is not given while it cannot be read which ones were used", () => {
    for (const used of ["100-", "a", "104-100", "100,,101", " "])
      assert.throws(() => allocateVmids([guest("a")], range, used), { reason: "UsedVmidsUnreadable" }, used);
  });
  test("is none that was used in any history of guests that come and go", () => {
    const some = fc.array(fc.tuple(fc.integer({ min: 98, max: 110 }), fc.boolean()), { maxLength: 10 });
    fc.assert(
      fc.property(some, (steps) => {
        const ever = new Set<number>();
        let used = "";
        for (const [vmid, byHand] of steps) {
          const answer = allocateVmids([guest("g", byHand ? vmid : undefined)], { lower: 100, upper: 200 }, used);
          used = answer.used;
          for (const given of answer.vmids.values()) assert.ok(!ever.has(given));
          for (const id of byHand ? [vmid] : answer.vmids.values()) ever.add(id);
        }
      }),
    );
  });
});

test("jobs are numbered from 0 for each guest, and a number in use is left out", () => {
  const jobs = [job("a-n3", "a"), job("a-n2", "a"), job("b-n2", "b"), job("a-n4", "a", 1)];
  assert.deepEqual(Object.fromEntries(allocateNumbers(jobs)), { "a-n2": 0, "a-n3": 2, "b-n2": 0 });
});

/** The spec as the API server would store it. */
function defaulted<T extends { spec: object }>(kind: string, object: { spec: object }): Pick<T, "spec"> {
  return withDefaults(kind, object) as Pick<T, "spec">;
}
