import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { run } from "./run.ts";

const noGo = spawnSync("go", ["version"]).error !== undefined;

test("the emulated watchdog counts, pets and closes as the kernel's do", {
  skip: noGo && "there is no Go toolchain in PATH",
}, async () => {
  await run(["go", "test", "-count=1", "./..."], { cwd: join(import.meta.dirname, "watchdog"), timeoutMs: 180_000 });
});
