import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { NodeMembership } from "../../crds/index.ts";
import type { CorosyncConfig } from "./corosync-config.ts";
import { agree, countVotes } from "./reports.ts";

const config = (votes: readonly number[], device?: number): CorosyncConfig => ({
  clusterName: "lab",
  cipher: "aes256",
  hash: "sha256",
  tokenMilliseconds: 3000,
  tokenCoefficientMilliseconds: 125,
  realtime: true,
  links: [{ number: 0, priority: 1 }],
  nodes: votes.map((count, n) => ({
    name: `n${n + 1}`,
    nodeId: n + 1,
    votes: count,
    addresses: [{ link: 0, address: `10.6.0.${n + 1}` }],
  })),
  ...(device === undefined
    ? {}
    : { qdevice: { host: "q", port: 5403, algorithm: "ffsplit", tieBreaker: "lowest", votes: device } }),
});
const report = (nodeId: number, members: number[], quorate = true, ringId = "1.4"): [number, NodeMembership] => [
  nodeId,
  { ringId, quorate, members, nodeId },
];
const summary = (votes: readonly number[], reports: [number, NodeMembership][], device?: number) => {
  const found = agree(new Map(reports), config(votes, device));
  return found && { members: [...found.members].sort().join(""), quorate: found.quorate, byMajority: found.byMajority };
};

describe("the membership that is agreed on", () => {
  test("is what a majority of the votes reports", () =>
    assert.deepEqual(summary([1, 1, 1], [report(1, [1, 2]), report(2, [2, 1]), report(3, [3], false, "3.9")]), {
      members: "12",
      quorate: true,
      byMajority: true,
    }));
  test("is not by majority while most agents are silent, though corosync is quorate", () =>
    assert.deepEqual(summary([1, 1, 1], [report(1, [1, 2, 3])]), { members: "123", quorate: true, byMajority: false }));
  test("counts votes, not nodes", () => {
    assert.equal(summary([3, 1, 1], [report(1, [1])])?.byMajority, true);
    assert.equal(summary([3, 1, 1], [report(2, [2, 3]), report(3, [2, 3])])?.byMajority, false);
  });
  test("of one node and a QDevice that votes", () => {
    assert.equal(summary([1, 1], [report(1, [1])], 1)?.byMajority, true);
    assert.equal(summary([1, 1], [report(1, [1], false)], 1)?.byMajority, false);
  });
  test("is none without reports", () => assert.equal(summary([1, 1], []), undefined));
  test("does not mix reporters that are in between two rings", () =>
    assert.equal(
      summary([1, 1, 1], [report(1, [1, 2, 3], true, "1.4"), report(2, [1, 2, 3], true, "1.8")])?.byMajority,
      false,
    ));
});

test("two memberships are never both by majority, whatever is reported", () => {
  const reports = fc.array(
    fc.tuple(fc.integer({ min: 1, max: 5 }), fc.constantFrom<number[]>([1, 2], [3, 4, 5], [1, 2, 3, 4, 5])),
    { maxLength: 5 },
  );
  fc.assert(
    fc.property(reports, fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 5, maxLength: 5 }), (given, votes) => {
      const all = new Map(given.map(([id, members]) => report(id, members, true, members.join("."))));
      const found = agree(all, config(votes));
      if (!found?.byMajority) return;
      const others = new Map([...all].filter(([, { ringId }]) => ringId !== found.ringId));
      assert.notEqual(agree(others, config(votes))?.byMajority, true);
    }),
  );
});

test("votes are those of members, and of the QDevice when it votes", () => {
  assert.deepEqual(countVotes(config([1, 1, 1]), new Set([1, 2]), false), { expected: 3, total: 2, needed: 2 });
  assert.deepEqual(countVotes(config([1, 1], 1), new Set([1]), true), { expected: 3, total: 2, needed: 2 });
  assert.deepEqual(countVotes({ ...config([1, 1, 1]), expectedVotes: 1 }, new Set([1]), false), {
    expected: 1,
    total: 1,
    needed: 1,
  });
});
