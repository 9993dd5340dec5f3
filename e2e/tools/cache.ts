import { mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** A folder of the cache for everything built or downloaded, made if it is missing: `$QUORATE_CACHE` or `~/.cache/quorate`. */
export function cacheFolder(...path: string[]): string {
  const folder = join(process.env.QUORATE_CACHE ?? join(homedir(), ".cache", "quorate"), ...path);
  mkdirSync(folder, { recursive: true });
  return folder;
}
