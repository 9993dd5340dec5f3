import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type ProcessIdentity, processLives } from "../tools/index.ts";
import { endProcesses } from "./processes.ts";
import { layout, type Network, type ServerName } from "./servers.ts";

/**
 * What is known of a control plane on disk, so that another process can use it or clean up after it.
 * Written before the first server starts and again right after each start.
 */
export interface ControlPlaneRecord {
  name: string;
  folder: string;
  cluster: boolean;
  url: string;
  network: Network;
  startedAt: string;
  /** The process that ends it; absent when it stays until `quorate controlplane down`. */
  owner?: ProcessIdentity;
  binaries: Record<string, string>;
  servers: Partial<Record<ServerName, ProcessIdentity>>;
}

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** A folder without a record is one being made; after this it is the remains of a process killed right there. */
const UNRECORDED_GRACE_MS = 60_000;

/** Makes the folder of a new control plane. @throws QuorateError `user` when the name is taken or not usable as a file name. */
export function claimFolder(name: string): string {
  const folder = folderOf(name);
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw new QuorateError(
      "user",
      "ControlPlaneExists",
      `control plane "${name}" exists; end it with: quorate controlplane down --name ${name}`,
    );
  }
  return folder;
}

export function writeRecord(record: ControlPlaneRecord): void {
  const file = layout(record.folder).record;
  writeFileSync(`${file}.new`, JSON.stringify(record, undefined, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function readRecord(name: string): ControlPlaneRecord | undefined {
  try {
    return JSON.parse(readFileSync(layout(folderOf(name)).record, "utf8")) as ControlPlaneRecord;
  } catch {
    return undefined;
  }
}

export function listRecords(): ControlPlaneRecord[] {
  return names()
    .map(readRecord)
    .filter((record) => record !== undefined);
}

/** Whether its owner died without ending it. */
export function isStale(record: ControlPlaneRecord): boolean {
  return record.owner !== undefined && !processLives(record.owner);
}

/** Ends the servers and removes the folder; without a control plane of that name it does nothing and returns false. */
export async function removeControlPlane(name: string): Promise<boolean> {
  const folder = folderOf(name);
  const servers = Object.values(readRecord(name)?.servers ?? {});
  await endProcesses(servers.reverse(), "SIGKILL");
  const existed = existsSync(folder);
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  return existed;
}

/** Ends every control plane whose owner died; returns their names. */
export async function reapStale(): Promise<string[]> {
  const reaped: string[] = [];
  for (const name of names()) {
    const record = readRecord(name);
    if (record === undefined ? isAbandoned(folderOf(name)) : isStale(record)) {
      await removeControlPlane(name);
      reaped.push(name);
    }
  }
  return reaped;
}

function names(): string[] {
  return readdirSync(cacheFolder("controlplane")).filter((name) => NAME.test(name));
}

function folderOf(name: string): string {
  if (!NAME.test(name)) {
    throw new QuorateError(
      "user",
      "InvalidName",
      `control plane name "${name}": use lower case letters, digits and "-", at most 63`,
    );
  }
  return join(cacheFolder("controlplane"), name);
}

function isAbandoned(folder: string): boolean {
  return Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > UNRECORDED_GRACE_MS;
}
