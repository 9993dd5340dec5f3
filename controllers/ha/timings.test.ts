import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CLOCK_RATE_ERROR, checkTimings, deriveTimings, type Timings } from "./timings.ts";

function derived(settings: Parameters<typeof deriveTimings>[0]): Timings {
  const result = deriveTimings(settings);
  if (!result.ok) throw new Error(result.message);
  return result.timings;
}

test("three nodes with default settings recover within 30 s of a cut", () => {
  const timings = derived({ nodes: 3 });
  assert.ok(timings.recoveryBound.milliseconds <= 30_000, timings.recoveryBound.because);
  assert.equal(timings.membershipChange.milliseconds, 8030); // 7.6 to 8.0 s were measured on real corosync
});

test("a token of 1 s and a watchdog of 5 s recover within 15 s", () => {
  assert.ok(derived({ nodes: 3, tokenMilliseconds: 1000, watchdogSeconds: 5 }).recoveryBound.milliseconds <= 15_000);
});

test("what is derived always keeps the inequality, and the lease never delays more than the proof", () => {
  const settings = fc.record({
    nodes: fc.integer({ min: 1, max: 50 }),
    watchdogSeconds: fc.integer({ min: 5, max: 300 }),
    tokenMilliseconds: fc.integer({ min: 1000, max: 60_000 }),
  });
  fc.assert(
    fc.property(settings, (given) => {
      const result = deriveTimings(given);
      if (!result.ok) return;
      const { membershipChange: t, quorumProofAge: f, watchdog: w, fenceDelay: m, leaseDuration: l } = result.timings;
      const alive = (t.milliseconds + f.milliseconds + w.milliseconds) * (1 + CLOCK_RATE_ERROR);
      assert.ok(m.milliseconds * (1 - CLOCK_RATE_ERROR) >= alive + 500 - 1e-6, JSON.stringify(given));
      assert.ok(l.milliseconds <= m.milliseconds);
      assert.equal(checkTimings(result.timings), undefined);
    }),
  );
});

test("unsafe settings are refused with a reason, never clamped", () => {
  const refusals = [
    [{ nodes: 3, watchdogSeconds: 4 }, "WatchdogOutOfRange"],
    [{ nodes: 3, tokenMilliseconds: 999 }, "TokenOutOfRange"],
    [{ nodes: 0 }, "InvalidNodeCount"],
    [{ nodes: 3, leaseRenewalMilliseconds: 10_000 }, "RenewalOutOfRange"],
    [{ nodes: 3, watchdogGranularityMilliseconds: 20_000 }, "WatchdogTooCoarse"],
  ] as const;
  for (const [settings, reason] of refusals) {
    const result = deriveTimings(settings);
    assert.equal(result.ok ? "accepted" : result.reason, reason, JSON.stringify(settings));
  }
});

test("a fence delay shorter than a host may live is refused", () => {
  const timings = derived({ nodes: 3 });
  const shorter = {
    ...timings,
    fenceDelay: { ...timings.fenceDelay, milliseconds: timings.fenceDelay.milliseconds - 1 },
  };
  const refused = checkTimings(shorter);
  assert.equal(refused?.reason, "FenceDelayTooShort");
});

test("a QDevice's time-outs are part of the time in which a cut-off host may believe in its quorum", () => {
  const without = derived({ nodes: 2 }).membershipChange.milliseconds;
  const withDevice = derived({ nodes: 2, qdevice: { timeoutMilliseconds: 3000, syncTimeoutMilliseconds: 5000 } });
  assert.equal(withDevice.membershipChange.milliseconds, without + 5000);
});

test("a corosync that still runs slower than the settings ask for counts until it is gone, and one that is faster does not", () => {
  const asked = derived({ nodes: 3, tokenMilliseconds: 1000 });
  const slow = derived({ nodes: 3, tokenMilliseconds: 10_000 }).membershipChange.milliseconds;
  const waits = derived({ nodes: 3, tokenMilliseconds: 1000, slowestCorosyncMilliseconds: slow });
  assert.equal(waits.membershipChange.milliseconds, slow);
  assert.match(waits.membershipChange.because, /a host may still run a slower configuration, with 23430 ms/);
  assert.equal(checkTimings(waits), undefined);
  const faster = derived({ nodes: 3, tokenMilliseconds: 1000, slowestCorosyncMilliseconds: 2000 });
  assert.deepEqual(faster, asked);
});
