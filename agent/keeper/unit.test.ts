import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { keeperUnit, UNIT_NAME } from "./unit.ts";

test("words of the command that mean something to systemd are quoted", () => {
  const unit = keeperUnit(["/a b/node", "50%", "$HOME", 'say "x"\\']);
  assert.match(unit, /^ExecStart="\/a b\/node" "50%%" "\$\$HOME" "say \\"x\\"\\\\"$/m);
});

test("it starts where nothing of a higher rank is granted: what systemd insists on is not asked of it", () => {
  // Each of these makes the start fail where it is refused.
  assert.doesNotMatch(
    keeperUnit(["/bin/true"]),
    /^(CPUScheduling|IOScheduling|CPUAffinity|AmbientCapabilities|Slice)/m,
  );
});

const hasVerify = spawnSync("systemd-analyze", ["--version"]).status === 0;

test("systemd has nothing to say against it", { skip: hasVerify ? false : "needs systemd-analyze" }, () => {
  const folder = mkdtempSync(join(tmpdir(), "quorate-unit-"));
  try {
    const path = join(folder, UNIT_NAME);
    writeFileSync(path, keeperUnit(["/bin/true", "keeper"]));
    const { stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", path], { encoding: "utf8" });
    const said = `${stdout}${stderr}`.split("\n").filter((line) => line.includes(UNIT_NAME));
    assert.deepEqual(said, []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
