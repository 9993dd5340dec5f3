import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

const skip = hasGo() ? false : "building from Go modules needs the Go toolchain in PATH";

describe("building a program that is not there yet", { skip }, () => {
  let cache: string;
  before(() => {
    cache = mkdtempSync(join(tmpdir(), "quorate-tools-"));
  });
  after(() => rmSync(cache, { recursive: true, force: true }));

  it("is done once when two processes ask at the same time, and leaves only the program", async () => {
    const [first, second] = await Promise.all([askForLoopback(cache), askForLoopback(cache)]);
    assert.equal(first.stdout, second.stdout);
    const progress = first.stderr + second.stderr;
    assert.equal(progress.match(/building loopback from/g)?.length, 1, progress);
    assert.match(progress, /waiting for it/);
    const path = first.stdout.trim();
    assert.match(
      execFileSync(path, { env: { CNI_COMMAND: "VERSION" }, input: '{"cniVersion":"1.0.0"}' }).toString(),
      /supportedVersions/,
    );
    assert.deepEqual(readdirSync(join(path, "..")), ["loopback"]);
    assert.deepEqual(
      readdirSync(join(cache, "tools")).filter((name) => name.includes("lock")),
      [],
    );
    const third = await askForLoopback(cache);
    assert.equal(third.stderr, "", "nothing to build, nothing to say");
  });
});

function askForLoopback(cache: string): Promise<{ stdout: string; stderr: string }> {
  const program = `
    import { ensureBinaries } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
    console.log((await ensureBinaries(["loopback"])).loopback);`;
  const env = { ...process.env, QUORATE_CACHE: cache, KUBEBUILDER_ASSETS: "" };
  return promisify(execFile)(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", program],
    { env },
  );
}

function hasGo(): boolean {
  try {
    execFileSync("go", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
