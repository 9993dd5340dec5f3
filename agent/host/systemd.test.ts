import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeHost } from "./fake-host.ts";
import { installDropIn, installUnit, startUnit, stopUnit, unitState } from "./systemd.ts";

test("a unit is written and loaded once, then left alone until it changes", async () => {
  using host = new FakeHost().on(["systemctl"], "");
  assert.equal(await installUnit(host, "web1.service", "[Service]\n"), true);
  assert.equal(await installUnit(host, "web1.service", "[Service]\n"), false);
  assert.equal(String(await host.readFile("/etc/systemd/system/web1.service")), "[Service]\n");
  assert.deepEqual(host.commands, ["systemctl --no-ask-password daemon-reload"]);
});

test("a drop-in lies beside the unit of the distribution", async () => {
  using host = new FakeHost().on(["systemctl"], "");
  await installDropIn(host, "corosync.service", "quorate", "[Service]\n");
  assert.equal(String(await host.readFile("/etc/systemd/system/corosync.service.d/quorate.conf")), "[Service]\n");
});

test("names that are no unit names reach no command", async () => {
  using host = new FakeHost().on(["systemctl"], "");
  for (const name of ["../x.service", "-x.service", "x", "a b.service", "x.service\n", ""]) {
    await assert.rejects(installUnit(host, name, ""), { reason: "InvalidUnitName" }, name);
    await assert.rejects(startUnit(host, name), { reason: "InvalidUnitName" }, name);
    await assert.rejects(stopUnit(host, name), { reason: "InvalidUnitName" }, name);
  }
  assert.deepEqual(host.commands, []);
});

test("the state of a unit, and of one that is not there", async () => {
  using host = new FakeHost()
    .on(["systemctl"], "LoadState=loaded\nActiveState=failed\n")
    .on(
      ["systemctl", "--no-ask-password", "show", "--property=ActiveState,LoadState", "gone.service"],
      "LoadState=not-found\nActiveState=inactive\n",
    );
  assert.equal(await unitState(host, "web1.service"), "failed");
  assert.equal(await unitState(host, "gone.service"), "unknown");
});
