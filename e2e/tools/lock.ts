import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { systemClock } from "../../clock.ts";
import { identifyProcess, type ProcessIdentity, processLives } from "./process-identity.ts";

let counter = 0;

/**
 * Runs `work` while no other process on this machine runs one under the same lock file.
 * The lock of a process that died is taken over. `onWait` is told once whom we wait for.
 *
 * Two processes that take over at the same instant may both go on: work under this lock must end in an atomic rename,
 * so that doing it twice only costs time.
 */
export async function withLock<T>(file: string, onWait: (holder: number) => void, work: () => Promise<T>): Promise<T> {
  const own = `${file}.${process.pid}.${counter++}`;
  writeFileSync(own, JSON.stringify(identifyProcess(process.pid)));
  try {
    let told = false;
    while (!acquired(own, file)) {
      const holder = readHolder(file);
      if (holder === undefined || !processLives(holder)) {
        rmSync(file, { force: true });
        continue;
      }
      if (!told) onWait(holder.pid);
      told = true;
      await systemClock.sleep(300);
    }
    try {
      return await work();
    } finally {
      rmSync(file, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
}

/** A link appears with its content at once, so nobody ever reads a half-written holder. */
function acquired(own: string, file: string): boolean {
  try {
    linkSync(own, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function readHolder(file: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
