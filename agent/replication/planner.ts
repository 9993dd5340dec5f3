import type { JobId, Snapshot, VolumeState } from "../storage/index.ts";
import { jobVmid, snapshotJob, volumeName } from "../storage/index.ts";

/**
 * Decides how a volume gets from a source to a target, from the lists of both sides alone: no I/O, no clock.
 *
 * A snapshot is the same on both sides when its GUID is. Order is the order of creation on one side (`createTxg`);
 * neither names nor times decide anything, but for one thing: which snapshots a job made, and so may remove, is told
 * by their names.
 */
export type VolumePlan =
  | { readonly kind: "full" }
  | {
      readonly kind: "incremental";
      /** The newest snapshot both sides have, as it is on the source. */
      readonly base: Snapshot;
      /** Send the snapshots between base and newest as well: another job of the guest goes on from one of them. */
      readonly intermediates: boolean;
      /** The target holds pieces of a broken run after the base and has to go back to it first. */
      readonly rollBack: boolean;
    }
  | { readonly kind: "conflict"; readonly reason: ConflictReason; readonly message: string };

export type ConflictReason =
  /** The source has no such volume. */
  | "DataMissing"
  /** Something that is not a copy of this volume has its name on the target. */
  | "NameTaken"
  /** Both sides hold the volume, and no snapshot in common. */
  | "NoCommonBase"
  /** Both sides have snapshots after the common base. */
  | "Diverged"
  /** Only the target has snapshots after the common base: the source is the older one. */
  | "TargetNewer"
  /** The target was written to after the common base. */
  | "TargetModified";

export type SnapshotRef = Pick<Snapshot, "name" | "guid">;

/** How many snapshots of a job to keep on each side, the base included: at least 1. */
export interface Retention {
  readonly source: number;
  readonly target: number;
}

/** How the next run brings the source's present state to the target. Made before the run's own snapshot. */
export function planVolume(job: JobId, source: VolumeState, target: VolumeState): VolumePlan {
  const conflict = (reason: ConflictReason, sentence: string): VolumePlan => ({
    kind: "conflict",
    reason,
    message: `${volumeName(source.id)}: ${sentence}\n${bothSides(source, target)}`,
  });

  if (!source.exists) return conflict("DataMissing", "the volume is not on the source");
  if (!target.exists) return { kind: "full" };
  if (target.snapshots.length === 0) {
    return conflict(
      "NameTaken",
      "the target has a volume of this name without any snapshot; rename or remove it there",
    );
  }
  const base = newestCommon(source.snapshots, target.snapshots);
  if (base === undefined) {
    return conflict("NoCommonBase", "no snapshot is on both sides; set the target's copy aside to send all of it anew");
  }

  const newerOnSource = after(source.snapshots, base);
  const newerOnTarget = after(target.snapshots, base);
  const pieces = target.replicaOf !== undefined && newerOnTarget.every((snapshot) => isAnotherJobs(snapshot, job));
  if (newerOnTarget.length > 0 && !pieces) {
    const own = newerOnSource.length > 0;
    return own
      ? conflict("Diverged", `both sides went on from ${base.name} in different ways; decide which one to keep`)
      : conflict(
          "TargetNewer",
          `the target is newer than the source, which ends at ${base.name}; is it the wrong direction?`,
        );
  }
  if (newerOnTarget.length === 0 && (target.writtenBytes ?? 0) > 0) {
    return conflict("TargetModified", `${target.writtenBytes} bytes were written to the target after ${base.name}`);
  }
  return {
    kind: "incremental",
    base,
    intermediates: newerOnSource.some((snapshot) => isAnotherJobs(snapshot, job)),
    rollBack: newerOnTarget.length > 0,
  };
}

/**
 * What earlier runs of this job that failed left on the source: its snapshots that the target never got. To be removed
 * before the next snapshot, and only when the plan is no conflict.
 */
export function leftovers(job: JobId, source: VolumeState, target: VolumeState): SnapshotRef[] {
  const base = newestCommon(source.snapshots, target.snapshots);
  if (base === undefined && target.exists) return [];
  const newer = base === undefined ? source.snapshots : after(source.snapshots, base);
  return newer.filter((snapshot) => snapshotJob(snapshot.name) === job).map(ref);
}

/**
 * What to remove after a run in which every volume arrived and was recorded. The newest common snapshot stays on both
 * sides whatever the retention; so does everything newer, every snapshot of a user, and on the source every snapshot of
 * another job. On the target, another job's snapshot goes when the source has it no more.
 */
export function planCleanup(
  job: JobId,
  source: VolumeState,
  target: VolumeState,
  retention: Retention,
): { source: SnapshotRef[]; target: SnapshotRef[] } {
  const base = newestCommon(source.snapshots, target.snapshots);
  if (base === undefined) return { source: [], target: [] };
  const onSource = new Set(source.snapshots.map((snapshot) => snapshot.guid));
  const own = (snapshot: Snapshot) => snapshotJob(snapshot.name) === job;
  const stale = (snapshot: Snapshot) => isAnotherJobs(snapshot, job) && !onSource.has(snapshot.guid);
  const olderOnTarget = before(target.snapshots, base);
  return {
    source: beyond(before(source.snapshots, base).filter(own), retention.source).map(ref),
    target: [...beyond(olderOnTarget.filter(own), retention.target), ...olderOnTarget.filter(stale)].map(ref),
  };
}

/**
 * The newest snapshot of the job that every volume has: the state a guest is recovered to. A run that broke between two
 * volumes leaves one of them ahead; a guest must never start from such a mixture. Within a job a name belongs to one run.
 */
export function newestCompleteSet(
  job: JobId,
  volumes: readonly VolumeState[],
): { name: string; createdAt: number; ahead: VolumeState[] } | undefined {
  const [first, ...others] = volumes;
  const complete = first?.snapshots.findLast(
    (snapshot) =>
      snapshotJob(snapshot.name) === job &&
      others.every((other) => other.snapshots.some(({ name }) => name === snapshot.name)),
  );
  if (complete === undefined) return undefined;
  const ahead = volumes.filter((volume) => volume.snapshots.at(-1)?.name !== complete.name);
  return { name: complete.name, createdAt: complete.createdAt, ahead };
}

/** As it is on the source. */
export function newestCommon(source: readonly Snapshot[], target: readonly Snapshot[]): Snapshot | undefined {
  const onTarget = new Set(target.map((snapshot) => snapshot.guid));
  return inOrder(source).findLast((snapshot) => onTarget.has(snapshot.guid));
}

function after(snapshots: readonly Snapshot[], base: Snapshot): Snapshot[] {
  const here = snapshots.find((snapshot) => snapshot.guid === base.guid);
  return here === undefined ? [] : inOrder(snapshots).filter((snapshot) => snapshot.createTxg > here.createTxg);
}

function before(snapshots: readonly Snapshot[], base: Snapshot): Snapshot[] {
  const here = snapshots.find((snapshot) => snapshot.guid === base.guid);
  return here === undefined ? [] : inOrder(snapshots).filter((snapshot) => snapshot.createTxg < here.createTxg);
}

function inOrder(snapshots: readonly Snapshot[]): Snapshot[] {
  return snapshots.toSorted((a, b) => a.createTxg - b.createTxg);
}

/** All but the newest `keep - 1` of these, which are older than the base. */
function beyond(older: readonly Snapshot[], keep: number): Snapshot[] {
  return older.slice(0, Math.max(0, older.length - Math.max(0, keep - 1)));
}

function isAnotherJobs(snapshot: Snapshot, job: JobId): boolean {
  const other = snapshotJob(snapshot.name);
  return other !== undefined && other !== job && jobVmid(other) === jobVmid(job);
}

function ref({ name, guid }: Snapshot): SnapshotRef {
  return { name, guid };
}

const SHOWN = 10;

function bothSides(source: VolumeState, target: VolumeState): string {
  const list = (side: string, { exists, snapshots }: VolumeState) => {
    const shown = inOrder(snapshots).slice(-SHOWN);
    const lines = shown.map(({ name, guid, createTxg }) => `  ${name} guid=${guid} txg=${createTxg}`);
    const hidden = snapshots.length - shown.length;
    return [
      `${side}${exists ? "" : " (no such volume)"}:`,
      ...(hidden > 0 ? [`  ... ${hidden} older`] : []),
      ...lines,
    ].join("\n");
  };
  return `${list("source", source)}\n${list("target", target)}`;
}
