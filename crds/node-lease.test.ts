import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type NodeMembership, nodeLeaseName, nodeOfLease, parseNodeMembership } from "./node-lease.ts";

test("the node of a lease", () => {
  assert.equal(nodeOfLease(nodeLeaseName("n1")), "n1");
  assert.equal(nodeOfLease("quorate-controllers"), undefined);
});

describe("a report in an annotation", () => {
  test("is read", () => {
    const value: NodeMembership = { ringId: "1.4", quorate: true, members: [1, 2], nodeId: 1 };
    assert.deepEqual(parseNodeMembership(JSON.stringify(value)), value);
  });
  test("says what a quorum device gives, and nothing when that is no number of votes", () => {
    const value = { ringId: "1.4", quorate: true, members: [1], nodeId: 1 };
    assert.deepEqual(parseNodeMembership(JSON.stringify({ ...value, qdeviceVotes: 1 })), { ...value, qdeviceVotes: 1 });
    for (const qdeviceVotes of [0, -1, 1.5, "1", null, true])
      assert.deepEqual(parseNodeMembership(JSON.stringify({ ...value, qdeviceVotes })), value);
  });
  test("that makes no sense counts as none", () => {
    for (const text of [
      undefined,
      "",
      "{",
      "null",
      "[]",
      '{"ringId":"1.4","quorate":"yes","members":[1],"nodeId":1}',
      '{"ringId":"1.4","quorate":true,"members":[0],"nodeId":1}',
      '{"ringId":"1.4","quorate":true,"members":{"length":1},"nodeId":1}',
    ]) {
      assert.equal(parseNodeMembership(text), undefined, text);
    }
    fc.assert(
      fc.property(
        fc.json(),
        (text) => parseNodeMembership(text) === undefined || typeof parseNodeMembership(text)?.ringId === "string",
      ),
    );
  });
});
