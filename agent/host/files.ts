import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { link, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { QuorateError } from "../../errors.ts";
import type { WriteOptions } from "./host.ts";

/**
 * Where `hostPath` lies when the host's root is reached at `root`. Symbolic links are followed here and not left to the
 * kernel: it would resolve an absolute one (/var/lib/quorate -> /data/quorate) from this process's own root.
 */
export function resolveInRoot(root: string, hostPath: string): string {
  if (!hostPath.startsWith("/") || hostPath.includes("\0")) {
    throw new QuorateError("bug", "PathNotAbsolute", `path ${JSON.stringify(hostPath)} of a host must be absolute`);
  }
  // Links in /proc are not names (self, fd/3); they must not be taken apart.
  if (hostPath.startsWith("/proc/")) return root + hostPath;
  const pending = hostPath.split("/");
  let resolved: string[] = [];
  let links = 0;
  for (let part = pending.shift(); part !== undefined; part = pending.shift()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      resolved.pop();
      continue;
    }
    const target = readLink(`${root}/${[...resolved, part].join("/")}`);
    if (target === undefined) {
      resolved.push(part);
      continue;
    }
    if (++links > 40)
      throw new QuorateError("environment", "TooManyLinks", `${hostPath}: symbolic links of the host run in a circle`);
    if (target.startsWith("/")) resolved = [];
    pending.unshift(...target.split("/"));
  }
  return `${root}/${resolved.join("/")}`;
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** See Host.writeFileAtomic; `path` and `options.backup` as this process reaches them. */
export async function writeFileAtomic(path: string, data: string | Uint8Array, options: WriteOptions): Promise<void> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const temporary = temporaryName(path);
  try {
    const file = await open(temporary, "wx", options.mode);
    try {
      await file.writeFile(data);
      await file.chmod(options.mode);
      await file.sync();
    } finally {
      await file.close();
    }
    if (options.backup !== undefined) await keepBackup(path, options.backup);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new QuorateError(
      "environment",
      "FileNotWritten",
      `${path} could not be replaced and is as it was: ${text(error)}`,
      { cause: error },
    );
  }
  await syncFolder(folder);
}

/** A second name for the current content: nothing is copied, and the old backup is replaced in one step. */
async function keepBackup(path: string, backup: string): Promise<void> {
  const temporary = temporaryName(backup);
  try {
    await link(path, temporary);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await rename(temporary, backup);
  await syncFolder(dirname(backup));
}

/** See Host.readFile. */
export async function readWholeFile(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      if (size > maxBytes)
        throw new QuorateError("environment", "FileTooLarge", `${path}: ${size} bytes, at most ${maxBytes} expected`);
      return await readFile(file);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (error instanceof QuorateError) throw error;
    throw new QuorateError("environment", "FileNotReadable", `${path}: ${text(error)}`, { cause: error });
  }
}

/** See Host.removeFile. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncFolder(dirname(path)).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
  });
}

/** A rename lasts only when the folder is on the disk. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${path.slice(path.lastIndexOf("/") + 1)}.${randomBytes(6).toString("hex")}.tmp`);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
