import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../clock.ts";
import { processLog } from "../../log.ts";
import { CommandError, type FakeAnswer, FakeHost } from "../host/index.ts";
import { type QuorumReport, QuorumWatch } from "./quorum-watch.ts";
import { NOT_QUORATE, QUORATE } from "./testing/recorded.ts";

/** Runs a watch over these answers, one a question, and gives the reports it called back with. */
async function watch(answers: FakeAnswer[]): Promise<{ reports: QuorumReport[]; last: QuorumReport | undefined }> {
  using host = new FakeHost().on(["corosync-quorumtool"], () => answers.shift() ?? assert.fail("asked too often"));
  const reports: QuorumReport[] = [];
  let now = 0;
  const done = Promise.withResolvers<void>();
  const clock: Clock = {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms, signal) => {
      now += ms;
      if (answers.length > 0) return;
      done.resolve();
      await new Promise((_, reject) => signal?.addEventListener("abort", reject));
    },
  };
  const log = processLog("test");
  log.level = "silent";
  const quorumWatch = new QuorumWatch({
    host,
    clock,
    log,
    intervalMs: 500,
    onChange: (report) => reports.push(report),
  });
  quorumWatch.start();
  await done.promise;
  await quorumWatch.stop();
  return { reports, last: quorumWatch.last };
}

const frozen = new CommandError("transient", "CommandTimeout", "no answer", { stdout: "", stderr: "" });
const cut: FakeAnswer = { exitCode: 2, stdout: NOT_QUORATE };

test("called back with the first answer and with each change, not in between", async () => {
  const { reports } = await watch([QUORATE, QUORATE, cut, cut, frozen, frozen, QUORATE]);
  assert.deepEqual(
    reports.map(({ quorum, askedAtMs }) => [askedAtMs, quorum.state, quorum.state === "Running" && quorum.quorate]),
    [
      [0, "Running", true],
      [1000, "Running", false],
      [2000, "Unresponsive", false],
      [3000, "Running", true],
    ],
  );
});

test("a new ring with the same members is a change", async () => {
  const { reports } = await watch([QUORATE, QUORATE.replace("1.9", "1.d")]);
  assert.equal(reports.length, 2);
});

test("the last answer tells when it was asked for, also without a change", async () => {
  const { reports, last } = await watch([QUORATE, QUORATE, QUORATE]);
  assert.equal(reports.length, 1);
  assert.equal(last?.askedAtMs, 1000);
});

test("an answer that cannot be read is no answer, and the watch goes on", async () => {
  const { reports, last } = await watch([QUORATE, "garbage", cut]);
  assert.equal(reports.length, 2);
  assert.equal(last?.askedAtMs, 1000);
});
