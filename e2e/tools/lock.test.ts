import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { identifyProcess, withLock } from "./index.ts";

describe("a lock between processes", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "quorate-lock-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  const silent = () => {};

  it("lets one in after the other", async () => {
    const file = join(folder, "order");
    const seen: string[] = [];
    const work = (name: string) => async () => {
      seen.push(`${name} in`);
      await new Promise(setImmediate);
      seen.push(`${name} out`);
    };
    await Promise.all([withLock(file, silent, work("a")), withLock(file, silent, work("b"))]);
    assert.deepEqual(seen, ["a in", "a out", "b in", "b out"]);
    assert.equal(existsSync(file), false);
  });

  it("is free again after work that failed", async () => {
    const file = join(folder, "failed");
    await assert.rejects(
      withLock(file, silent, () => Promise.reject(new Error("broken"))),
      /broken/,
    );
    assert.equal(await withLock(file, silent, async () => "next"), "next");
  });

  it("is taken over from a process that is gone, also when its pid lives on as another process", async () => {
    const file = join(folder, "dead");
    writeFileSync(file, JSON.stringify({ ...identifyProcess(process.pid), startTicks: "1" }));
    assert.equal(
      await withLock(
        file,
        () => assert.fail("waited for a dead process"),
        async () => "taken",
      ),
      "taken",
    );
  });
});
