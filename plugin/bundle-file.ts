import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { execa } from "execa";
import { QuorateError } from "../errors.ts";
import type { BundleFile } from "./support-bundle.ts";

const ARCHIVE = /\.(tar\.gz|tgz)$/;
const TAR_TIMEOUT_MS = 60_000;

/** Where a bundle goes that is given no name. */
export function bundleName(namespace: string, wallMs: number): string {
  const stamp = new Date(wallMs).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  return `quorate-support-${namespace}-${stamp}.tar.gz`;
}

/**
 * Writes the files as a compressed archive when `target` ends in .tar.gz or .tgz, else as a folder. Without a tar program
 * it is a folder in any case.
 * @returns where it is @throws QuorateError OutputExists, OutputNotWritten
 */
export async function writeBundle(files: readonly BundleFile[], target: string): Promise<string> {
  const output = resolve(target);
  const isArchive = ARCHIVE.test(output);
  const folder = isArchive ? output.replace(ARCHIVE, "") : output;
  for (const path of [output, folder]) {
    if (existsSync(path))
      throw new QuorateError("user", "OutputExists", `${path} exists; remove it, or name another file with -o`);
  }
  const scratch = mkdtempSync(join(tmpdir(), "quorate-support-"));
  try {
    const top = join(scratch, basename(folder));
    for (const { path, text } of files) {
      const file = join(top, path);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      writeFileSync(file, text, { mode: 0o600 });
    }
    if (isArchive && (await pack(scratch, basename(folder), output))) return output;
    cpSync(top, folder, { recursive: true });
    return folder;
  } catch (error) {
    if (error instanceof QuorateError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new QuorateError("environment", "OutputNotWritten", `${output} could not be written: ${why}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** False when there is no tar program. */
async function pack(scratch: string, folder: string, output: string): Promise<boolean> {
  const packed = await execa("tar", ["-czf", output, "-C", scratch, folder], {
    timeout: TAR_TIMEOUT_MS,
    stdin: "ignore",
    reject: false,
  });
  if (packed.exitCode === 0) return true;
  rmSync(output, { force: true });
  if (packed.code === "ENOENT") return false;
  const said = packed.stderr.trim().split("\n").slice(-3).join("; ");
  throw new QuorateError(
    "environment",
    "OutputNotWritten",
    `${output} could not be packed: ${said || packed.shortMessage}`,
  );
}
