import { QuorateError } from "../../errors.ts";
import type { StorageDriver, VolumeRef } from "../storage/index.ts";
import type { GuestDefinition } from "./types.ts";

/** The storage of one of the guest's volumes on this host. @throws QuorateError StorageMissing */
export function storageOf(
  guest: GuestDefinition,
  ref: VolumeRef,
  find: (name: string) => StorageDriver | undefined,
): StorageDriver {
  const storage = find(ref.storage);
  if (storage !== undefined) return storage;
  throw new QuorateError(
    "environment",
    "StorageMissing",
    `storage "${ref.storage}" of guest "${guest.name}" is not on this node`,
  );
}
