import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeHost } from "../host/index.ts";
import { isPreparingForShutdown, kindOfJobs, shutdownKind } from "./kind.ts";

const jobs = (...lines: string[]) => lines.map((line, i) => `${i + 1} ${line}`).join("\n");

test("a reboot and a power-off are told apart by what systemd is to reach", () => {
  assert.equal(kindOfJobs(jobs("web.service stop running", "reboot.target start waiting")), "reboot");
  assert.equal(kindOfJobs(jobs("kexec.target start waiting", "shutdown.target start waiting")), "reboot");
  assert.equal(kindOfJobs(jobs("poweroff.target start waiting")), "power-off");
  assert.equal(kindOfJobs(jobs("halt.target start waiting")), "power-off");
  assert.equal(kindOfJobs(jobs("rescue.target start waiting")), "power-off");
});

test("nothing else is a shutdown: not the stop of the unit, nor a target that is stopped", () => {
  assert.equal(kindOfJobs(""), undefined);
  assert.equal(kindOfJobs(jobs("quorate-shutdown.service stop running", "reboot.target stop waiting")), undefined);
  assert.equal(kindOfJobs("No jobs running."), undefined);
});

test("a systemd that is stopping and does not say why keeps no guests for the host", async () => {
  using host = new FakeHost()
    .on(["systemctl", "list-jobs"], "")
    .on(["systemctl", "is-system-running"], { stdout: "stopping\n", exitCode: 1 });
  assert.equal(await shutdownKind(host), "power-off");
});

test("only a clear yes of logind is one", async () => {
  for (const [answer, expected] of [
    ["b true\n", true],
    ["b false\n", false],
    [new Error("no logind here"), false],
  ] as const) {
    using host = new FakeHost().on(["busctl"], answer);
    assert.equal(await isPreparingForShutdown(host), expected);
  }
});
