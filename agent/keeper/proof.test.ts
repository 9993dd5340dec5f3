import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { judge, parseAnswer } from "./proof.ts";

const QUORATE = `Quorum information
------------------
Date:             Sat Nov 21 00:40:15 2026
Quorum provider:  corosync_votequorum
Nodes:            1
Node ID:          1
Ring ID:          1.9
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   1
Highest expected: 1
Total votes:      1
Quorum:           1  
Flags:            Quorate 

Membership information
----------------------
    Nodeid      Votes Name
         1          1 10.9.0.1 (local)
`;
const NOT_QUORATE = QUORATE.replace("Quorate:          Yes", "Quorate:          No")
  .replace("1  \n", "2 Activity blocked\n")
  .replace("Quorate \n", "\n");

describe("an answer of corosync-quorumtool", () => {
  test("is read when it is whole", () => {
    assert.deepEqual(parseAnswer(QUORATE, 0), { quorate: true, ringId: "1.9" });
    assert.deepEqual(parseAnswer(NOT_QUORATE, 2), { quorate: false, ringId: "1.9" });
    assert.deepEqual(parseAnswer(QUORATE.replace("Quorate \n", "2Node Quorate WaitForAll \n"), 0), {
      quorate: true,
      ringId: "1.9",
    });
  });

  test("that contradicts itself is none", () => {
    assert.equal(parseAnswer(QUORATE, 2), undefined, "exit code says not quorate");
    assert.equal(parseAnswer(NOT_QUORATE, 0), undefined, "exit code says quorate");
    for (const [from, to] of [
      ["1  \n", "1 Activity blocked\n"],
      ["Quorate \n", "\n"],
      ["Quorate:          Yes", "Quorate:          Yes\nQuorate:          Yes"],
      ["Quorate:          Yes", "Quorate:          Maybe"],
      ["corosync_votequorum", "none"],
      ["Ring ID:          1.9\n", ""],
    ] as const) {
      assert.ok(QUORATE.includes(from), from);
      assert.equal(parseAnswer(QUORATE.replace(from, to), 0), undefined, to);
    }
  });

  test("that was cut off before its end is none", () => {
    const end = QUORATE.indexOf("Membership information\n") + "Membership information\n".length;
    for (let length = 0; length < end; length++)
      assert.equal(parseAnswer(QUORATE.slice(0, length), 0), undefined, `after ${length} characters`);
  });

  test("that is none at all: no service, a signal", () => {
    assert.equal(parseAnswer("", 1), undefined);
    assert.equal(parseAnswer("", Number.NaN), undefined);
  });
});

describe("a proof", () => {
  const limits = { tokenMilliseconds: 3000, settleMilliseconds: 4000 };
  const at = (askedAtMs: number, ringId = "1.1", quorate = true) => ({
    askedAtMs,
    answeredAtMs: askedAtMs + 20,
    ringId,
    quorate,
  });
  /** Judges the answers one after the other; which of them prove? */
  const proving = (...answers: ReturnType<typeof at>[]) => {
    let history: Parameters<typeof judge>[0];
    return answers.map((answer) => {
      const verdict = judge(history, answer, limits);
      history = verdict.history;
      return verdict.proves;
    });
  };

  test("is each quorate answer without a long silence before it", () => {
    assert.deepEqual(proving(at(0), at(500), at(3000), at(3500, "1.1", false), at(4000)), [
      true,
      true,
      true,
      false,
      true,
    ]);
  });

  test("is none after a silence beyond the token time-out, until it has gone on for the settle time", () => {
    assert.deepEqual(proving(at(0), at(2980)), [true, true], "exactly the token time-out");
    assert.deepEqual(proving(at(0), at(2981), at(5000), at(7000), at(7001)), [true, false, false, false, true]);
  });

  test("is none by a question that waited for a corosync that slept: it settles from the answer on", () => {
    const slow = (askedAtMs: number, answeredAtMs: number) => ({ ...at(askedAtMs), answeredAtMs });
    const answers = [at(0), slow(500, 10_000), slow(10_050, 11_700), at(13_000), at(15_699), at(15_700)];
    assert.deepEqual(proving(...answers), [true, false, false, false, false, true]);
  });

  test("is none the better for late answers, and no silence either", () => {
    const late = (askedAtMs: number) => ({ ...at(askedAtMs), answeredAtMs: askedAtMs + 1450 });
    assert.deepEqual(proving(at(0), late(500), late(2000), late(3500), at(5000)), [true, true, true, true, true]);
  });

  test("is one at once when the ring is new: corosync took part in a membership after the silence", () => {
    assert.deepEqual(proving(at(0), at(8000), at(8500), at(9000, "1.5"), at(9500, "1.5")), [
      true,
      false,
      false,
      true,
      true,
    ]);
  });

  test("is none when the new ring has no quorum, and then believed as usual", () => {
    assert.deepEqual(proving(at(0), at(8000), at(8500, "3.5", false), at(9000, "3.5", false), at(9500, "1.9")), [
      true,
      false,
      false,
      false,
      true,
    ]);
  });

  test("settles anew after each silence", () => {
    assert.deepEqual(proving(at(0), at(4000), at(6000), at(10_000), at(12_000), at(14_020)), [
      true,
      false,
      false,
      false,
      false,
      true,
    ]);
  });

  test("is none at first when it is not known what was before", () => {
    const unknown = { askedAtMs: Number.NEGATIVE_INFINITY, ringId: undefined };
    assert.equal(judge(unknown, at(0), limits).proves, false);
  });
});
