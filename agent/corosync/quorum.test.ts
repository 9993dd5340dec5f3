import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CommandError, FakeHost } from "../host/index.ts";
import { parseQuorum, readQuorum } from "./quorum.ts";
import { NOT_QUORATE, QUORATE, WITH_QDEVICE } from "./testing/recorded.ts";

describe("corosync-quorumtool -s", () => {
  test("of a quorate node", () => {
    assert.deepEqual(parseQuorum(QUORATE), {
      nodeId: 1,
      ringId: "1.9",
      quorate: true,
      members: [
        { nodeId: 1, votes: 1 },
        { nodeId: 2, votes: 1 },
        { nodeId: 3, votes: 1 },
      ],
      votes: { expected: 3, highestExpected: 3, total: 3, needed: 2 },
      flags: ["Quorate"],
    });
  });

  test("of a node that was cut off", () => {
    const answer = parseQuorum(NOT_QUORATE);
    assert.equal(answer.quorate, false);
    assert.deepEqual(answer.members, [{ nodeId: 3, votes: 1 }]);
    assert.deepEqual(answer.votes, { expected: 3, highestExpected: 3, total: 1, needed: 2 });
    assert.deepEqual(answer.flags, []);
  });

  test("with a quorum device, which is no member", () => {
    const answer = parseQuorum(WITH_QDEVICE);
    assert.deepEqual(answer.members, [
      { nodeId: 1, votes: 1, qdevice: "A,V,NMW" },
      { nodeId: 2, votes: 1, qdevice: "NR" },
    ]);
    assert.equal(answer.qdeviceVotes, 1);
    assert.deepEqual(answer.flags, ["Quorate", "Qdevice"]);
  });

  test("cut off anywhere it says the same or is refused, never something else", () => {
    for (const whole of [QUORATE, NOT_QUORATE, WITH_QDEVICE]) {
      const expected = parseQuorum(whole);
      for (let length = 0; length < whole.length; length++) {
        const cut = whole.slice(0, length);
        let answer: ReturnType<typeof parseQuorum>;
        try {
          answer = parseQuorum(cut);
        } catch {
          continue;
        }
        // The device's line is the last and may be cut off: then its vote counts for nothing.
        assert.deepEqual(
          { ...answer, qdeviceVotes: 0 },
          { ...expected, qdeviceVotes: 0 },
          `cut after ${length} characters`,
        );
      }
    }
  });
});

describe("asking", () => {
  const ask = (host: FakeHost) => readQuorum(host, { timeoutMs: 1000 });
  const failing = (reason: string) =>
    new CommandError(reason === "CommandTimeout" ? "transient" : "environment", reason, "why", {
      stdout: "",
      stderr: "",
    });

  test("exit code 2 is an answer: not quorate", async () => {
    using host = new FakeHost().on(["corosync-quorumtool"], { exitCode: 2, stdout: NOT_QUORATE });
    const quorum = await ask(host);
    assert.ok(quorum.state === "Running" && !quorum.quorate);
  });

  test("silence, absence and lack of corosync are told apart", async () => {
    for (const [reason, state] of [
      ["CommandTimeout", "Unresponsive"],
      ["CommandFailed", "Stopped"],
      ["CommandNotFound", "NotInstalled"],
    ] as const) {
      using host = new FakeHost().on(["corosync-quorumtool"], failing(reason));
      assert.equal((await ask(host)).state, state, reason);
    }
  });

  test("an answer that cannot be read is no state but an error", async () => {
    using host = new FakeHost().on(["corosync-quorumtool"], "Quorate:          Yes\n");
    await assert.rejects(ask(host), { reason: "CorosyncOutputUnreadable" });
  });
});
