import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { MACHINE_DROP_IN, SHUTDOWN_UNIT, STOP_LIMIT_SECONDS, shutdownUnit } from "./unit.ts";

test("systemd waits longer than the program does, and its job longer than both", () => {
  const agentLimit = 720;
  const machines = 60 + 5 + 10;
  assert.ok(STOP_LIMIT_SECONDS > agentLimit + machines);
  assert.ok(STOP_LIMIT_SECONDS < 30 * 60); // reboot.target is forced after half an hour
});

const hasVerify = spawnSync("systemd-analyze", ["--version"]).status === 0;

test("systemd has nothing to say against it", { skip: hasVerify ? false : "needs systemd-analyze" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "quorate-unit-"));
  try {
    writeFileSync(join(folder, SHUTDOWN_UNIT), shutdownUnit(["/bin/true", "host-shutdown"]));
    mkdirSync(join(folder, "quorate-guest-.service.d"));
    writeFileSync(join(folder, "quorate-guest-.service.d/shutdown.conf"), MACHINE_DROP_IN);
    writeFileSync(join(folder, "quorate-guest-lab.web1.service"), "[Service]\nExecStart=/bin/true\n");
    const paths = [SHUTDOWN_UNIT, "quorate-guest-lab.web1.service"].map((name) => join(folder, name));
    const { stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...paths], { encoding: "utf8" });
    const said = `${stdout}${stderr}`.split("\n").filter((line) => /quorate-|cycle/.test(line));
    assert.deepEqual(said, []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
