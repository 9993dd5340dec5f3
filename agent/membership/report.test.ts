import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNodeMembership } from "../../crds/index.ts";
import { parseQuorum } from "../corosync/quorum.ts";
import { QUORATE, WITH_QDEVICE } from "../corosync/testing/recorded.ts";
import { membershipReport } from "./report.ts";

const report = (output: string) => membershipReport({ state: "Running", ...parseQuorum(output) }, 9);

test("a node says who the members are, and the votes of a quorum device only where corosync shows them", () => {
  assert.deepEqual(report(QUORATE), { ringId: "1.9", quorate: true, members: [1, 2, 3], nodeId: 1 });
  const device = { ringId: "1.1a", quorate: true, members: [1, 2], nodeId: 1 };
  assert.deepEqual(report(WITH_QDEVICE), { ...device, qdeviceVotes: 1 });
  assert.deepEqual(parseNodeMembership(JSON.stringify(report(WITH_QDEVICE))), { ...device, qdeviceVotes: 1 });
  const silent = WITH_QDEVICE.replace(/^ +0 +1 .*$/m, "         0          0            Qdevice (votes 1)");
  assert.deepEqual(report(silent), device);
});

test("without an answer of corosync it says that it is no member", () => {
  for (const quorum of [undefined, { state: "Unresponsive", message: "frozen" } as const])
    assert.deepEqual(membershipReport(quorum, 2), { ringId: "", quorate: false, members: [], nodeId: 2 });
});
