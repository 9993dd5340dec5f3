import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { QuorateError } from "../../errors.ts";
import { cacheFolder } from "./cache.ts";
import { TOOLS, type Tool, type ToolName } from "./catalogue.ts";
import { withLock } from "./lock.ts";

export type Progress = (line: string) => void;

/** A build of everything takes nine minutes on two cores; one program alone never this long. */
const BUILD_TIMEOUT_MS = 30 * 60_000;

/**
 * Paths of programs, each from the first place that has it: `$KUBEBUILDER_ASSETS`, the cache, or built into the cache
 * from its pinned Go module (minutes, once). Only what is asked for is built; processes that ask at the same time build once.
 *
 * @throws QuorateError `environment` when something must be built and there is no Go toolchain, or the build fails.
 */
export async function ensureBinaries<N extends ToolName>(
  names: readonly N[],
  progress: Progress = (line) => process.stderr.write(`${line}\n`),
): Promise<Record<N, string>> {
  const missing = names.filter((name) => findBinary(name) === undefined);
  for (const [index, name] of missing.entries()) {
    await buildOnce(name, progress, missing.length > 1 ? ` (${index + 1} of ${missing.length})` : "");
  }
  return Object.fromEntries(names.map((name) => [name, findBinary(name) ?? cachedPath(name)])) as Record<N, string>;
}

/** The path of a program that is there already, or undefined: then `ensureBinaries` would build it. */
export function findBinary(name: ToolName): string | undefined {
  const assets = process.env.KUBEBUILDER_ASSETS;
  const candidates = assets ? [join(assets, name), cachedPath(name)] : [cachedPath(name)];
  return candidates.find(isExecutable);
}

/** Why these programs are neither there nor can be built here, or undefined when they can be had. */
export function whyNotAvailable(names: readonly ToolName[]): string | undefined {
  const missing = names.filter((name) => findBinary(name) === undefined);
  if (missing.length === 0 || goToolchain() !== undefined) return undefined;
  return `${missing.join(", ")} not found in $KUBEBUILDER_ASSETS or ${cacheFolder("tools")}, and there is no Go toolchain in PATH to build from`;
}

/**
 * Where a program lies in the cache. The folder's name holds the content of go.mod and go.sum and the linker settings,
 * so an upgrade of a pin never meets the programs of the version before.
 */
export function cachedPath(name: ToolName): string {
  const tool: Tool = TOOLS[name];
  const key = createHash("sha256")
    .update(readFileSync(join(moduleFolder(tool), "go.mod")))
    .update(readFileSync(join(moduleFolder(tool), "go.sum")))
    .update(JSON.stringify(tool.linkerSettings ?? {}))
    .update(process.arch)
    .digest("hex");
  return join(cacheFolder("tools", `${tool.module}-${key.slice(0, 12)}`), name);
}

async function buildOnce(name: ToolName, progress: Progress, position: string): Promise<void> {
  const target = cachedPath(name);
  const onWait = (holder: number) => progress(`${name}: process ${holder} is building; waiting for it`);
  await withLock(join(cacheFolder("tools"), "build.lock"), onWait, async () => {
    if (isExecutable(target)) return;
    progress(`building ${name}${position} from ${TOOLS[name].package}, once`);
    const started = Date.now();
    const seconds = () => Math.round((Date.now() - started) / 1000);
    const heartbeat = setInterval(() => progress(`building ${name}: ${seconds()} s so far`), 20_000);
    try {
      await build(name, target);
    } finally {
      clearInterval(heartbeat);
    }
    progress(`built ${name} in ${seconds()} s`);
  });
}

async function build(name: ToolName, target: string): Promise<void> {
  const tool: Tool = TOOLS[name];
  const go = goToolchain();
  if (go === undefined)
    throw new QuorateError(
      "environment",
      "ToolMissing",
      `${whyNotAvailable([name])}; install Go 1.26 or set KUBEBUILDER_ASSETS`,
    );
  const settings = Object.entries(tool.linkerSettings ?? {}).flatMap(([variable, value]) => [
    "-X",
    `${variable}=${value}`,
  ]);
  const unfinished = `${target}.${process.pid}.building`;
  const args = [
    "build",
    "-trimpath",
    "-buildvcs=false",
    "-mod=readonly",
    "-ldflags",
    ["-s", "-w", ...settings].join(" "),
    "-o",
    unfinished,
    tool.package,
  ];
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "", GOWORK: "off" };
  mkdirSync(join(target, ".."), { recursive: true });
  try {
    await promisify(execFile)(go, args, {
      cwd: moduleFolder(tool),
      env,
      timeout: BUILD_TIMEOUT_MS,
      maxBuffer: 64 << 20,
    });
    renameSync(unfinished, target);
  } catch (error) {
    const stderr = (error as { stderr?: string }).stderr ?? String(error);
    const lastLines = stderr.trim().split("\n").slice(-8).join("\n");
    throw new QuorateError(
      "environment",
      "BuildFailed",
      `building ${name} in ${moduleFolder(tool)} failed:\n${lastLines}`,
      { cause: error },
    );
  } finally {
    rmSync(unfinished, { force: true });
  }
}

function moduleFolder(tool: Tool): string {
  return join(import.meta.dirname, tool.module);
}

function goToolchain(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...folders, "/usr/local/go/bin"].map((folder) => join(folder, "go")).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
