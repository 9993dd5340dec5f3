import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../clock.ts";
import { waitFor } from "./wait.ts";

/** A clock that moves only when someone sleeps. */
function sleepingClock(): Clock {
  let now = 0;
  return {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
}

test("gives back what the condition found, looking again until it did", async () => {
  let looks = 0;
  const look = () => (++looks === 3 ? "found" : undefined);
  assert.equal(await waitFor(look, 1000, "something", { clock: sleepingClock() }), "found");
  assert.equal(looks, 3);
});

test("after the deadline the error says what was waited for and why the last look failed", async () => {
  const failing = () => {
    throw new Error("connection refused");
  };
  await assert.rejects(waitFor(failing, 500, "three votes", { clock: sleepingClock() }), {
    reason: "DeadlineExceeded",
    message: "waited 500 ms in vain for three votes; the last look failed: connection refused",
  });
});

test("looks once more after the last sleep, so that what happens just in time counts", async () => {
  const clock = sleepingClock();
  const look = () => clock.elapsedMs() >= 500;
  assert.equal(await waitFor(look, 500, "the end", { clock, intervalMs: 250 }), true);
});

test("with ignoreErrors false the first error ends the wait", async () => {
  const failing = () => {
    throw new Error("no such host");
  };
  const options = { clock: sleepingClock(), ignoreErrors: false };
  await assert.rejects(waitFor(failing, 500, "anything", options), { message: "no such host" });
});
