import { QuorateError } from "../../errors.ts";

/** One disk of one guest. The storage it lies on is named beside it: see VolumeRef. */
export interface VolumeId {
  readonly vmid: number;
  /** The name in the guest's spec: `root`, `data-1`. */
  readonly volume: string;
}

/** A volume and the storage (by its name in the Cluster) that holds it. The same on every node. */
export interface VolumeRef extends VolumeId {
  readonly storage: string;
}

/** A replication job's identity, `<vmid>-<n>`, unique in its cluster. */
export type JobId = string;

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const JOB = /^([1-9][0-9]{0,8})-(0|[1-9][0-9]{0,3})$/;
const SNAPSHOT = /^quorate-([1-9][0-9]{0,8}-(?:0|[1-9][0-9]{0,3}))-([0-9]{8}T[0-9]{6}Z)$/;
const UID = /^[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?$/;
const VMID_MAX = 999_999_999;

/** `vm-100-root`. Throws `InvalidName` (user) when it could not be one path component of a dataset. */
export function volumeName(id: VolumeId): string {
  if (!Number.isInteger(id.vmid) || id.vmid < 1 || id.vmid > VMID_MAX) {
    throw invalid(`vmid ${id.vmid} is not a whole number from 1 to ${VMID_MAX}`);
  }
  return `vm-${id.vmid}-${checkedLabel("volume name", id.volume)}`;
}

/** Returns the name when it is a DNS label (storages, volumes), else throws `InvalidName` (user). */
export function checkedLabel(what: string, name: string): string {
  if (!LABEL.test(name)) {
    throw invalid(
      `${what} ${JSON.stringify(name)} is not 1 to 63 characters of a-z, 0-9 and "-" with no "-" at its ends`,
    );
  }
  return name;
}

/** Returns the uid of a Guest object when it is one, else throws `InvalidName` (user). */
export function checkedUid(uid: string): string {
  if (!UID.test(uid)) throw invalid(`${JSON.stringify(uid)} is no uid of a Guest object`);
  return uid;
}

/** Returns the job id when it is one of this guest, else throws `InvalidName` (user). */
export function checkedJob(job: JobId, vmid: number): JobId {
  if (Number(JOB.exec(job)?.[1]) !== vmid) {
    throw invalid(`replication job ${JSON.stringify(job)} is not of the form ${vmid}-<n>`);
  }
  return job;
}

/**
 * `quorate-<vmid>-<n>-<UTC>`. The time in it is for humans: nothing is ever ordered or chosen by it. A name already in
 * `taken` (two runs within a second, a clock that stepped back) moves on by a second.
 */
export function snapshotName(job: JobId, wallMs: number, taken: ReadonlySet<string>): string {
  for (let ms = wallMs; ; ms += 1000) {
    const time = `${new Date(ms).toISOString().slice(0, 19).replaceAll("-", "").replaceAll(":", "")}Z`;
    const name = `quorate-${job}-${time}`;
    if (!taken.has(name)) return name;
  }
}

/** The job that made the snapshot, or nothing for a snapshot of the user or of another tool. */
export function snapshotJob(name: string): JobId | undefined {
  return SNAPSHOT.exec(name)?.[1];
}

/** The guest a job belongs to. */
export function jobVmid(job: JobId): number {
  return Number(JOB.exec(job)?.[1]);
}

function invalid(message: string): QuorateError {
  return new QuorateError("user", "InvalidName", message);
}
