import { classify, QuorateError } from "../../errors.ts";
import { neededBy } from "../replication/index.ts";
import { type JobId, type StorageDriver, snapshotJob, type VolumeRef } from "../storage/index.ts";
import type { TransferClient } from "../transfer/index.ts";

/** What the agent of the guest's node says of a deleted job: True when its copies are gone. The controller waits for that. */
export const COPIES_REMOVED = "CopiesRemoved";

export interface RemovalParts {
  readonly job: JobId;
  /** This node, where the guest lives and ran last: the caller makes sure of both. */
  readonly source: string;
  /** The nodes that may have a copy of this job. */
  readonly targets: readonly string[];
  /** The nodes of the cluster. */
  readonly nodes: readonly string[];
  /** The nodes that may have a copy of another job of the guest. */
  readonly mayHave: readonly string[];
  readonly volumes: readonly VolumeRef[];
  readonly storage: (name: string) => StorageDriver | undefined;
  readonly client: (target: string) => Promise<Pick<TransferClient, "destroyReplica">>;
}

/**
 * Removes the copies of a deleted job: first those on other nodes, each of which refuses what is no copy of this job or belongs to
 * a guest that runs or ran last there, then what is left of it here. May be broken off and done again.
 * @returns what was left alone, and why
 * @throws QuorateError when a node that may have a copy could not be asked
 */
export async function removeCopies(parts: RemovalParts): Promise<string[]> {
  const { job, source, targets, nodes, volumes, storage } = parts;
  const left: string[] = [];
  for (const node of targets) {
    if (node === source) continue;
    if (!nodes.includes(node)) {
      left.push(`${node} is no node of the cluster any more`);
      continue;
    }
    const client = await parts.client(node);
    for (const volume of volumes) {
      try {
        await client.destroyReplica(job, volume);
      } catch (error) {
        const { reason, message } = classify(error);
        if (reason !== "NotOurs") throw error;
        left.push(message);
      }
    }
  }
  for (const volume of volumes) await forgetHere(parts, volume, storage(volume.storage));
  return left;
}

/** What another node goes on from stays: a job that goes there tidies it up one day. */
async function forgetHere(
  { job, source, targets, nodes, mayHave }: RemovalParts,
  volume: VolumeRef,
  driver: StorageDriver | undefined,
): Promise<void> {
  if (driver === undefined) {
    const message = `storage "${volume.storage}" of volume "${volume.volume}" is not on this node`;
    throw new QuorateError("environment", "StorageMissing", message);
  }
  const { replication } = driver;
  if (replication === undefined) return;
  const [state] = await driver.inspect([volume]);
  if (state?.exists !== true) return;
  const counts = (node: string) => node !== source && !targets.includes(node) && nodes.includes(node);
  const needed = new Set(neededBy(state, { counts, mayHave }).map(({ guid }) => guid));
  const own = state.snapshots.filter(({ name, guid }) => snapshotJob(name) === job && !needed.has(guid));
  await replication.mark(
    volume,
    targets.map((node) => ({ node })),
  );
  await replication.destroySnapshots(volume, job, own);
  const others = state.snapshots.filter(({ name, holds }) => holds > 0 && snapshotJob(name) !== job);
  await replication.release(
    volume,
    job,
    others.map(({ name }) => name),
  );
}
