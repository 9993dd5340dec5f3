import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** What must survive the keeper, on the host's disk. It is written before anything is confirmed that rests on it. */
export interface StoredState {
  armed: boolean;
  expiring: boolean;
  /** Wall clock, for people. */
  since: string;
  /** The boot of the host it belongs to: a reset ends all of it. */
  bootId: string;
}

export interface StateFile {
  /** Undefined when there is none. @throws Error when there is one that cannot be read. */
  load(): StoredState | undefined;
  /** Returns when it is on the disk. @throws Error */
  save(state: StoredState): void;
}

export function stateFile(path: string): StateFile {
  return {
    load() {
      let text: string;
      try {
        text = readFileSync(path, "utf8");
      } catch (error) {
        if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
        throw error;
      }
      const state: unknown = JSON.parse(text);
      if (isState(state)) return state;
      throw new Error(`${path} is not the state of a keeper`);
    },
    save(state) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      const temporary = `${path}.new`;
      const file = openSync(temporary, "w", 0o600);
      try {
        writeSync(file, `${JSON.stringify(state)}\n`);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, path);
      const folder = openSync(dirname(path), "r");
      try {
        fsyncSync(folder);
      } finally {
        closeSync(folder);
      }
    },
  };
}

function isState(value: unknown): value is StoredState {
  const state = value as Partial<StoredState> | null;
  return (
    typeof state?.armed === "boolean" &&
    typeof state.expiring === "boolean" &&
    typeof state.since === "string" &&
    typeof state.bootId === "string"
  );
}

/** The kernel's boot id, and when PID 1 started: a host that is a container keeps the former when it is reset. */
export function readBootId(): string {
  const started = readFileSync("/proc/1/stat", "utf8").replace(/^.*\)/s, "").trim().split(" ")[19];
  return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}.${started}`;
}

/** The last answer a keeper petted on, in memory of the host only: a keeper that is started again knows how long it was away. */
export interface ProofRecord {
  load(): { askedAtMs: number; ringId: string } | undefined;
  /** Best effort: without it the next keeper believes corosync later. */
  save(proof: { askedAtMs: number; ringId: string }): void;
}

/** @param path on a tmpfs, so that it ends with the boot */
export function proofRecord(path: string): ProofRecord {
  return {
    load() {
      try {
        const { askedAtMs, ringId } = JSON.parse(readFileSync(path, "utf8"));
        return typeof askedAtMs === "number" && typeof ringId === "string" ? { askedAtMs, ringId } : undefined;
      } catch {
        return undefined;
      }
    },
    save(proof) {
      try {
        writeFileSync(`${path}.new`, JSON.stringify(proof), { mode: 0o600 });
        renameSync(`${path}.new`, path);
      } catch {
        // See above.
      }
    },
  };
}
