import { readdir } from "node:fs/promises";
import type { Guest } from "../../crds/index.ts";
import type { Host } from "../host/index.ts";
import type { VolumeState } from "../storage/index.ts";

const FOLDER = "/var/lib/quorate/takeover";

/**
 * What a node took over when the guest's last node was lost, on the host from then until the guest has started here. It is what
 * tells disks that were taken over from an old disk of the node's own, and so it counts for these disks and this loss only.
 */
export interface TakeOver {
  readonly guest: string;
  readonly uid: string;
  /** The node on which the guest ran last, and since when; another run, on the same node too, is another loss. */
  readonly lastOn: string;
  readonly startedAt?: string;
  /** The snapshot from which every volume goes on. */
  readonly set: string;
  readonly volumes: readonly {
    readonly volume: string;
    /** Of the volume itself on this node: a copy that was sent anew is another one. */
    readonly guid: string;
    /** Of the set's snapshot. */
    readonly snapshot: string;
  }[];
}

/** What is to be remembered of the volumes, which end with the set. One whose GUIDs are not known is left out, and never counts. */
export function takeOverOf(guest: Guest, set: string, volumes: readonly VolumeState[]): TakeOver {
  const { metadata, status } = guest;
  return {
    guest: metadata.name,
    uid: metadata.uid ?? "",
    lastOn: status?.node ?? "",
    ...(status?.startedAt === undefined ? {} : { startedAt: status.startedAt }),
    set,
    volumes: volumes.flatMap(({ id, guid, snapshots }) => {
      const snapshot = snapshots.at(-1);
      if (guid === undefined || snapshot?.name !== set) return [];
      return [{ volume: id.volume, guid, snapshot: snapshot.guid }];
    }),
  };
}

/**
 * Whether these are, one and all, the volumes that were taken over after the guest's last run: each already this node's own, or
 * still a replica that nothing came to.
 */
export function isTakenOver(mark: TakeOver | undefined, guest: Guest, volumes: readonly VolumeState[]): boolean {
  if (mark === undefined || !isAfterLastRun(mark, guest)) return false;
  return volumes.every(({ id, guid, replicaOf, snapshots }) => {
    const taken = mark.volumes.find(({ volume }) => volume === id.volume);
    if (taken === undefined || taken.guid !== guid) return false;
    return replicaOf === undefined
      ? snapshots.some((snapshot) => snapshot.guid === taken.snapshot)
      : snapshots.at(-1)?.guid === taken.snapshot;
  });
}

/** Whether the guest has run nowhere since the take-over, as far as its status says. */
export function isAfterLastRun({ uid, lastOn, startedAt }: TakeOver, { metadata, status }: Guest): boolean {
  return uid === metadata.uid && lastOn === status?.node && startedAt === status.startedAt;
}

/** The names of the guests of which the host has a mark. */
export async function takenOver(host: Host, namespace: string): Promise<string[]> {
  const files = await readdir(host.path(FOLDER)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const prefix = `${namespace}.`;
  return files.filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
}

/** @returns undefined also for one that cannot be read, as that of an earlier version: what it says is not known. */
export async function readTakeOver(host: Host, namespace: string, guest: string): Promise<TakeOver | undefined> {
  const text = (await host.readFile(fileOf(namespace, guest)))?.toString() ?? "";
  try {
    const mark = JSON.parse(text) as Partial<TakeOver> | null;
    return mark?.guest === guest && Array.isArray(mark.volumes) ? (mark as TakeOver) : undefined;
  } catch {
    return undefined;
  }
}

export async function writeTakeOver(host: Host, namespace: string, mark: TakeOver): Promise<void> {
  await host.writeFileAtomic(fileOf(namespace, mark.guest), JSON.stringify(mark), { mode: 0o600 });
}

export async function removeTakeOver(host: Host, namespace: string, guest: string): Promise<void> {
  await host.removeFile(fileOf(namespace, guest));
}

function fileOf(namespace: string, guest: string): string {
  return `${FOLDER}/${namespace}.${guest}`;
}
