import type { QuorateError } from "../../errors.ts";
import type { JobId, VolumeId } from "./names.ts";

/** A storage of `Cluster.spec.storages` as it is on this node. */
export type StorageConfig =
  | { readonly name: string; readonly type: "ZFS"; readonly dataset: string }
  | { readonly name: string; readonly type: "Directory"; readonly path: string; readonly shared?: boolean };

export interface Snapshot {
  readonly name: string;
  /** Unique for ever and the same on every copy. Decimal, 64 bits: never a JavaScript number. */
  readonly guid: string;
  /** Transaction of its creation: orders the snapshots of one side, means nothing on the other. */
  readonly createTxg: number;
  /** Seconds since the epoch as the source's clock said. For people only. */
  readonly createdAt: number;
  /** How many holds keep it, ours included. */
  readonly holds: number;
  /**
   * The nodes whose newest copy this is, as far as this node knows: from here each of them goes on. Absent: none. `ANY_NODE` among
   * them: it was here when this node took the volume over, and may be that of any by now: what the others are said to have is of before.
   */
  readonly newestOn?: readonly string[];
}

/** No node's name. */
export const ANY_NODE = "*";

/** Which snapshot is the newest that a node has a copy of (`ANY_NODE`: may be, which takes no other mark away); without a GUID: the node has none any more. */
export interface CopyMark {
  readonly node: string;
  readonly guid?: string;
  /** The node may have this one as well: its other mark stays. */
  readonly also?: true;
}

/** What is known of one volume on one node. `snapshots` are in the order of their creation here. */
export interface VolumeState {
  readonly id: VolumeId;
  readonly exists: boolean;
  readonly snapshots: readonly Snapshot[];
  /** The volume's own, on this node alone, where the storage has one: a copy that was made anew has another. */
  readonly guid?: string;
  /** The uid of the Guest object whose volume this is; absent: an earlier version made it, so it is not known. */
  readonly guest?: string;
  /** The job whose target this is: read-only, not mounted, never to be started from before it is activated. */
  readonly replicaOf?: JobId;
  /**
   * The `createTxg` of the snapshot from which a guest went on here when this last stopped being a replica. What other
   * copies have beyond it, and this has not, is of a line that ended.
   */
  readonly tookOverTxg?: number;
  readonly referencedBytes?: number;
  /** The storage encrypts it: what `sendCommand` writes is decrypted. */
  readonly encrypted?: true;
  /** Bytes written after the newest snapshot, where the storage can say. */
  readonly writtenBytes?: number;
}

/** A command and its arguments: never a shell string. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

export interface StorageDriver {
  readonly name: string;
  readonly type: StorageConfig["type"];
  /** True when every node sees the same content, so that nothing is to be replicated. */
  readonly shared: boolean;
  /** Absent when the storage cannot send snapshots. */
  readonly replication?: ReplicationStorage;

  /**
   * Makes the volume when there is none: sparse, of `sizeBytes`, filled from `image` (an absolute path on the host, raw)
   * when given. Existing data is never touched, so that calling it again is harmless. Only for a guest that never had
   * data: for any other, a missing volume is a loss to be shown, not to be papered over with an empty disk. A disk that is
   * there and does not say that it is of `guest` (the uid of its object) is left over from another: `OtherGuest`.
   * Errors: `StorageMissing`, `NoSpace`, `VolumeIsReplica`, `OtherGuest`, `ImageTooLarge`, `ImageMissing`.
   */
  ensureVolume(id: VolumeId, options: { sizeBytes: number; image?: string; guest?: string }): Promise<{ path: string }>;

  /** Throws `OtherGuest` when the volume is there and says that it is of another Guest object than the one with this uid. */
  requireGuest(id: VolumeId, guest: string | undefined): Promise<void>;

  /**
   * Makes the volume ready to be used by its guest on this node: mounted, writable and no longer anybody's replica.
   * Only for the node that owns the guest, with the uid of its object, which the volume says from then on. Returns the path
   * of the disk on the host. Errors: `DataMissing`, `StorageMissing`, `OtherGuest`, `NotWritable`.
   */
  activate(id: VolumeId, guest?: string): Promise<{ path: string }>;

  /** Unmounts the volume and makes it read-only; `Locked` while anything has it open. Nothing to do when it is missing. */
  deactivate(id: VolumeId): Promise<void>;

  /** One state for each id, in that order, by one command in the ordinary case. */
  inspect(ids: readonly VolumeId[]): Promise<VolumeState[]>;
}

/** What a storage must be able to do to take part in replication, on either side. */
export interface ReplicationStorage {
  /** False when a snapshot of several volumes is a snapshot of one after the other: the guest must be paused meanwhile. */
  atomicSnapshots(): Promise<boolean>;

  /** Snapshots all volumes under one name: in one command where `atomicSnapshots`. */
  snapshot(ids: readonly VolumeId[], name: string, job: JobId): Promise<void>;

  /**
   * The command that writes the stream of snapshot `to` to its standard output: whole, or what came after the snapshot
   * `base`. Snapshots in between are not in it.
   */
  sendCommand(id: VolumeId, to: string, base: string | undefined): Command;

  /**
   * Prepares to receive and returns the command that reads the stream from its standard input. A whole volume arrives
   * beside its final name and takes it only in `finishReceive`; a difference is applied at once or not at all.
   * Errors: `NameTaken` (a whole volume onto an existing one), `DataMissing` (a difference onto nothing), `Locked`.
   */
  beginReceive(id: VolumeId, kind: "full" | "incremental"): Promise<Command>;

  /**
   * Told the first bytes of a stream (`STREAM_HEAD_BYTES`, or all when there are fewer) before any of it reaches the command.
   * Throws `StreamRefused` when it is none that `sendCommand` writes: the source may be anybody's by now.
   */
  checkStream(head: Buffer): void;

  /**
   * After the command ended with success: checks that the snapshot with this GUID is there, marks the volume as the
   * job's replica and as one of `guest` (the uid of its object), puts its maker's hold on the snapshot, marks the snapshots
   * as `marks` says and gives a whole volume its final name.
   */
  finishReceive(
    id: VolumeId,
    kind: "full" | "incremental",
    job: JobId,
    toGuid: string,
    marks?: readonly CopyMark[],
    guest?: string,
  ): Promise<void>;

  /** Remembers what other nodes have, in `Snapshot.newestOn`: one mark a node, and those that it may have `also`. One on a snapshot that is not here changes nothing. */
  mark(id: VolumeId, marks: readonly CopyMark[]): Promise<void>;

  /** Removes what an unfinished whole receive left beside the final name. Never touches the final name. */
  discardPartial(id: VolumeId): Promise<void>;

  /** Puts the job's hold on these snapshots, whoever made them; holding one twice is one hold. */
  hold(id: VolumeId, job: JobId, names: readonly string[]): Promise<void>;

  /** Takes the job's hold off these snapshots; one that has none, or is gone, is a success. */
  release(id: VolumeId, job: JobId, names: readonly string[]): Promise<void>;

  /**
   * Releases this job's and its maker's hold on each snapshot and destroys it. A snapshot that no replication job of the
   * guest made, or one whose name now has another GUID, is refused (`NotOurs`); one that is gone already is a success;
   * one that somebody else holds, or that a kept branch depends on, is kept and returned.
   */
  destroySnapshots(
    id: VolumeId,
    job: JobId,
    snapshots: readonly Pick<Snapshot, "name" | "guid">[],
  ): Promise<{ kept: string[] }>;

  /**
   * Takes a replica back to the snapshot with this GUID and removes the newer ones. Refused (`NotOurs`) when the volume is
   * no replica, or when a newer snapshot was not made by a replication job of this guest.
   */
  rollback(id: VolumeId, job: JobId, snapshot: Pick<Snapshot, "name" | "guid">): Promise<void>;

  /**
   * Takes a replica back to the snapshot with this GUID like `rollback`, but destroys nothing: what it has beyond it is kept
   * beside it, under the name that is returned. Refused (`NotOurs`) when the volume is no replica.
   */
  branchOff(id: VolumeId, job: JobId, snapshot: Pick<Snapshot, "name" | "guid">, wallMs: number): Promise<string>;

  /** Ends a `branchOff` that was broken off when the volume had lost its name. @returns whether there was one */
  finishBranch(id: VolumeId): Promise<boolean>;

  /**
   * Destroys the volume if it is this job's replica (`NotOurs` if it is not); a missing one is a success. Branches that were
   * kept of it stay, without holds of ours.
   */
  destroyReplica(id: VolumeId, job: JobId): Promise<void>;

  /** What the failure of a sending or receiving command means: the same error with a reason of ours. */
  failure(error: QuorateError): QuorateError;

  /** Renames the volume out of the way and returns the name it is kept under: how a diverged copy survives. */
  setAside(id: VolumeId, wallMs: number): Promise<string>;
}
