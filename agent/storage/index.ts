import type { Host } from "../host/index.ts";
import { DirectoryStorage } from "./directory.ts";
import type { StorageConfig, StorageDriver } from "./types.ts";
import { ZfsStorage } from "./zfs.ts";

export { fileSize, isWritable } from "./disk-file.ts";
export {
  checkedJob,
  checkedLabel,
  checkedUid,
  type JobId,
  jobVmid,
  snapshotJob,
  snapshotName,
  type VolumeId,
  type VolumeRef,
  volumeName,
} from "./names.ts";
export type {
  Command,
  CopyMark,
  ReplicationStorage,
  Snapshot,
  StorageConfig,
  StorageDriver,
  VolumeState,
} from "./types.ts";
export { ANY_NODE } from "./types.ts";
export { STREAM_HEAD_BYTES } from "./zfs-stream.ts";

/** The driver of one storage on this host. Throws `InvalidDataset` or `InvalidPath` (user); touches nothing yet. */
export function openStorage(host: Host, config: StorageConfig): StorageDriver {
  switch (config.type) {
    case "ZFS":
      return new ZfsStorage(host, config);
    case "Directory":
      return new DirectoryStorage(host, config);
  }
}
