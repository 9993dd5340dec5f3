import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type Progress, withLock } from "../tools/index.ts";
import { run } from "./run.ts";

/**
 * The path of one of the lab's own small Go programs, built once into the cache for each state of its sources.
 *
 * @param folder name of a folder beside this file that holds go.mod, go.sum and the sources
 * @throws QuorateError `environment` when it is not built yet and there is no Go toolchain, or the build fails.
 */
export async function ensureGoProgram(folder: "watchdog" | "witness", progress: Progress): Promise<string> {
  const sources = join(import.meta.dirname, folder);
  const hash = createHash("sha256");
  for (const name of readdirSync(sources)
    .filter((name) => !name.endsWith("_test.go"))
    .sort()) {
    hash.update(`${name}\n`).update(readFileSync(join(sources, name)));
  }
  const program = join(cacheFolder("lab-programs"), `${folder}-${hash.digest("hex").slice(0, 12)}`, folder);
  if (existsSync(program)) return program;
  const onWait = (holder: number) => progress(`process ${holder} builds ${folder}; waiting for it`);
  await withLock(`${cacheFolder("lab-programs")}/${folder}.lock`, onWait, async () => {
    if (existsSync(program)) return;
    progress(`building ${folder}, once`);
    const unfinished = `${program}.${process.pid}.building`;
    mkdirSync(dirname(program), { recursive: true });
    try {
      const settings = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags=-s -w"];
      const env = { CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off" };
      await run([goToolchain(), "build", ...settings, "-o", unfinished, "."], {
        cwd: sources,
        env,
        timeoutMs: 300_000,
      });
      renameSync(unfinished, program);
    } finally {
      rmSync(unfinished, { force: true });
    }
  });
  return program;
}

function goToolchain(): string {
  const folders = [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), "/usr/local/go/bin"];
  const go = folders.map((folder) => join(folder, "go")).find((path) => existsSync(path));
  if (go === undefined)
    throw new QuorateError("environment", "ToolMissing", "no Go toolchain in PATH; install Go 1.26");
  return go;
}
