import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../clock.ts";
import { FakeHost } from "../host/index.ts";
import { ensureWatchdogDevice } from "./watchdog-module.ts";

const BOOT_FILE = "/etc/modules-load.d/quorate-watchdog.conf";

function virtualClock(): Clock {
  let now = 0;
  return {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
}

test("a host with the device is left alone", async () => {
  using host = new FakeHost();
  await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
  assert.equal(await ensureWatchdogDevice(host, "/dev/watchdog0", "softdog", virtualClock()), false);
  assert.deepEqual(host.commands, []);
});

test("without a word which driver, softdog is loaded only where there is no watchdog at all", async () => {
  using host = new FakeHost();
  await host.writeFileAtomic("/dev/watchdog1", "", { mode: 0o600 });
  await assert.rejects(ensureWatchdogDevice(host, "/dev/watchdog0", undefined, virtualClock()), {
    reason: "WatchdogMissing",
    message: /but \/dev\/watchdog1: set spec.watchdog.device/,
  });
  assert.equal(host.commands.length, 0);
  await host.removeFile("/dev/watchdog1");
  host.on(["modprobe", "softdog"], async () => {
    await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
    return "";
  });
  assert.equal(await ensureWatchdogDevice(host, "/dev/watchdog0", undefined, virtualClock()), true);
});

test("a host without it gets the driver, now and at every boot", async () => {
  using host = new FakeHost();
  await host.writeFileAtomic("/dev/watchdog1", "", { mode: 0o600 });
  host.on(["modprobe", "softdog"], async () => {
    await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
    return "";
  });
  assert.equal(await ensureWatchdogDevice(host, "/dev/watchdog0", "softdog", virtualClock()), true);
  assert.equal(String(await host.readFile(BOOT_FILE)), "softdog\n");
});

test("a driver that cannot be loaded, or brings no device, is said; and not loaded at every boot", async () => {
  for (const [answer, message] of [
    [{ exitCode: 1, stderr: "Module softdog not found" }, /Module softdog not found.*spec.watchdog/],
    ["", /no such device came/],
  ] as const) {
    using host = new FakeHost().on(["modprobe"], answer);
    await host.writeFileAtomic("/dev/null", "", { mode: 0o600 });
    await assert.rejects(ensureWatchdogDevice(host, "/dev/watchdog0", "softdog", virtualClock()), {
      reason: "WatchdogMissing",
      message,
    });
    assert.equal(await host.readFile(BOOT_FILE), undefined);
  }
});

test("names that are none reach no command", async () => {
  using host = new FakeHost();
  await assert.rejects(ensureWatchdogDevice(host, "/dev/../etc/x", "softdog"), { reason: "InvalidWatchdog" });
  await assert.rejects(ensureWatchdogDevice(host, "/dev/watchdog0", "--show-depends"), { reason: "InvalidWatchdog" });
  assert.deepEqual(host.commands, []);
});
