import type { JobId, Snapshot, VolumeState } from "../storage/index.ts";
import { ANY_NODE, jobVmid, snapshotJob, volumeName } from "../storage/index.ts";

/**
 * Decides how a volume gets from a source to a target, from the lists of both sides alone: no I/O, no clock.
 *
 * A snapshot is the same on both sides when its GUID is. Order is the order of creation on one side (`createTxg`);
 * neither names nor times decide anything, but for one thing: which snapshots a job made, and so may remove, is told
 * by their names.
 */
export type VolumePlan =
  | {
      readonly kind: "full";
      /** What other nodes go on from, oldest first: each is sent before the new snapshot, so that the target can serve them. */
      readonly via: readonly Snapshot[];
    }
  | {
      readonly kind: "incremental";
      /** The newest snapshot both sides have, as it is on the source. */
      readonly base: Snapshot;
      readonly via: readonly Snapshot[];
      /**
       * What becomes of snapshots that the target has beyond the base. `RollBack`: they are pieces of a broken run and go.
       * `Branch`: they are of a line that ended when the guest was recovered from an older copy; they are kept beside the copy.
       */
      readonly beyond: "Nothing" | "RollBack" | "Branch";
    }
  | { readonly kind: "conflict"; readonly reason: ConflictReason; readonly message: string };

export type ConflictReason =
  /** The source has no such volume. */
  | "DataMissing"
  /** The source is encrypted, and what is sent of it would not be. */
  | "EncryptedSource"
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

/** The nodes, beside the two of a run, that may be sent to one day. */
export interface Others {
  /** Whether a node's mark on a snapshot counts. Not so for one that left the cluster. */
  readonly counts: (node: string) => boolean;
  /** The nodes that may have a copy; absent: not known, so any may. */
  readonly mayHave?: readonly string[];
}

const ALL: Others = { counts: () => true };

/**
 * How the next run brings the source's present state to the target. Made before the run's own snapshot.
 */
export function planVolume(job: JobId, source: VolumeState, target: VolumeState, others: Others = ALL): VolumePlan {
  const conflict = (reason: ConflictReason, sentence: string): VolumePlan => ({
    kind: "conflict",
    reason,
    message: `${volumeName(source.id)}: ${sentence}\n${bothSides(source, target)}`,
  });

  if (!source.exists) return conflict("DataMissing", "the volume is not on the source");
  if (source.encrypted === true) {
    const message = `${volumeName(source.id)}: its dataset is encrypted (property encryption), and would be sent and kept decrypted, which is not done. Leave the volume out of replication (spec.volumes[].replicate: false), or put its data on a dataset that is not encrypted, of a pool on encrypted disks`;
    return { kind: "conflict", reason: "EncryptedSource", message };
  }
  if (!target.exists) return { kind: "full", via: neededBy(source, others) };
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
  const beyond = beyondBase(job, source, target, base);
  if (beyond === "Unknown") {
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
    via: neededBy(source, others).filter(({ createTxg }) => createTxg > base.createTxg),
    beyond,
  };
}

/** What the snapshots are that only the target has after the base. `Unknown`: perhaps somebody's data. */
function beyondBase(
  job: JobId,
  source: VolumeState,
  target: VolumeState,
  base: Snapshot,
): "Nothing" | "RollBack" | "Branch" | "Unknown" {
  const newer = after(target.snapshots, base);
  if (newer.length === 0) return "Nothing";
  const byJobs = newer.every((snapshot) => snapshotJob(snapshot.name) === job || isAnotherJobs(snapshot, job));
  if (target.replicaOf === undefined || !byJobs) return "Unknown";
  // The source went on from a copy that was taken over at or after the base: the target's rest is of the line before.
  if (source.tookOverTxg !== undefined && source.tookOverTxg >= base.createTxg) return "Branch";
  // A whole run ends with a snapshot of the job that brought it: other jobs' alone are what a broken one carried along.
  return newer.every(({ name }) => snapshotJob(name) !== target.replicaOf) ? "RollBack" : "Unknown";
}

/**
 * The snapshots some other node goes on from, oldest first. They are carried to every copy and kept on it, so that whichever
 * node becomes the source has a base in common with each of the others. At most one a node, and one for each time the guest
 * changed its node since the last of the others was sent to.
 */
export function neededBy(volume: VolumeState, others: Others): Snapshot[] {
  return inOrder(volume.snapshots).filter(
    (snapshot) => isNeeded(snapshot, volume, others) && jobVmid(snapshotJob(snapshot.name) ?? "") === volume.id.vmid,
  );
}

function isNeeded(
  { newestOn = [], createTxg }: Snapshot,
  { snapshots }: VolumeState,
  { counts, mayHave }: Others,
): boolean {
  if (newestOn.some((node) => node !== ANY_NODE && counts(node))) return true;
  if (!newestOn.includes(ANY_NODE)) return false;
  // Whoever is known to have a newer one goes on from there; what was known before this node took over is hearsay by now.
  const isSettled = (node: string) =>
    snapshots.some(
      (other) =>
        other.createTxg > createTxg && other.newestOn?.includes(node) === true && !other.newestOn.includes(ANY_NODE),
    );
  const heardOf = snapshots.flatMap((other) => other.newestOn ?? []).filter((node) => node !== ANY_NODE);
  return mayHave === undefined || [...mayHave, ...heardOf].some((node) => counts(node) && !isSettled(node));
}

/**
 * What earlier runs of this job that failed left on the source, as far as it is known: its snapshots that the target has not,
 * were not here already when the guest was taken over, and are beyond the retention. To be removed before the next snapshot,
 * so that runs that fail one after the other fill no pool, and only when the plan is no conflict. Without a target (it is
 * new, or its copy was set aside) they may all have arrived once: so many as the retention says stay in any case.
 */
export function leftovers(
  job: JobId,
  source: VolumeState,
  target: VolumeState,
  retention: Retention,
  others: Others = ALL,
): SnapshotRef[] {
  const base = newestCommon(source.snapshots, target.snapshots);
  if (base === undefined && target.exists) return [];
  const newer = base === undefined ? inOrder(source.snapshots) : after(source.snapshots, base);
  const own = newer.filter((snapshot) => snapshotJob(snapshot.name) === job && !isTakenOver(snapshot, source));
  // The base is one of those that are kept.
  const spared = Math.max(1, retention.source) - (base === undefined ? 0 : 1);
  return own
    .slice(0, Math.max(0, own.length - spared))
    .filter((snapshot) => !isNeeded(snapshot, source, others))
    .map(ref);
}

/** It was on this node when the guest went on here: a recovery point, not a piece of a run of this node. */
function isTakenOver({ createTxg }: Snapshot, { tookOverTxg }: VolumeState): boolean {
  return tookOverTxg !== undefined && createTxg <= tookOverTxg;
}

/**
 * What to remove after a run in which every volume arrived and was recorded. The newest common snapshot stays on both
 * sides whatever the retention; so does everything newer, every snapshot of a user, every one that another node goes on
 * from, and on the source every snapshot of another job that there is. On the target, another job's snapshot goes when the
 * source has it no more. What the source took over (it was a target until then, and has as many as a target keeps) stays
 * until the new target has as many recovery points as the retention says.
 * @param jobs the guest's jobs; absent: not known, so nothing of another job goes
 */
export function planCleanup(
  job: JobId,
  source: VolumeState,
  target: VolumeState,
  retention: Retention,
  others: Others = ALL,
  jobs?: readonly JobId[],
): { source: SnapshotRef[]; target: SnapshotRef[] } {
  const base = newestCommon(source.snapshots, target.snapshots);
  if (base === undefined) return { source: [], target: [] };
  const onSource = new Set(source.snapshots.map((snapshot) => snapshot.guid));
  const own = (snapshot: Snapshot) => snapshotJob(snapshot.name) === job;
  const orphan = (snapshot: Snapshot) =>
    isAnotherJobs(snapshot, job) && jobs !== undefined && !jobs.includes(snapshotJob(snapshot.name) ?? "");
  const stale = (snapshot: Snapshot) =>
    jobs !== undefined && isAnotherJobs(snapshot, job) && !onSource.has(snapshot.guid);
  const olderOnSource = before(source.snapshots, base);
  const olderOnTarget = before(target.snapshots, base);
  const removed = (volume: VolumeState, ...old: readonly Snapshot[][]) =>
    old
      .flat()
      .filter((snapshot) => !isNeeded(snapshot, volume, others))
      .map(ref);
  const takenOver = olderOnSource.filter((snapshot) => own(snapshot) && isTakenOver(snapshot, source));
  // The base is on the target as well.
  const stillNeeded = retention.target - olderOnTarget.filter(own).length;
  const onlyHere = takenOver.filter(({ guid }) => !target.snapshots.some((there) => there.guid === guid));
  const recoveryPoints = new Set(onlyHere.slice(beyond(onlyHere, stillNeeded).length));
  return {
    source: removed(
      source,
      beyond(olderOnSource.filter(own), retention.source).filter((snapshot) => !recoveryPoints.has(snapshot)),
      olderOnSource.filter(orphan),
    ),
    target: removed(
      target,
      beyond(olderOnTarget.filter(own), retention.target),
      olderOnTarget.filter((snapshot) => stale(snapshot) || orphan(snapshot)),
    ),
  };
}

/**
 * The newest snapshot of the guest's jobs that every volume has: the state a guest is recovered to. A run that broke between
 * two volumes leaves one of them ahead; a guest must never start from such a mixture. Within a guest a name belongs to one
 * run, which took it of all volumes at once; whichever job brought it here makes no difference.
 */
export function newestCompleteSet(
  job: JobId,
  volumes: readonly VolumeState[],
): { name: string; createdAt: number; ahead: VolumeState[] } | undefined {
  const [first, ...others] = volumes;
  const complete = first?.snapshots.findLast(
    (snapshot) =>
      jobVmid(snapshotJob(snapshot.name) ?? "") === jobVmid(job) &&
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
