import { QuorateError } from "../../errors.ts";
import type { ReplicationStorage, StorageDriver, VolumeRef, VolumeState } from "../storage/index.ts";

/** The volumes of a run on this node. */
export class Source {
  readonly #volumes: readonly VolumeRef[];
  readonly #storage: (name: string) => StorageDriver | undefined;
  readonly #drivers = new Map<string, StorageDriver>();

  constructor(volumes: readonly VolumeRef[], storage: (name: string) => StorageDriver | undefined) {
    this.#volumes = volumes;
    this.#storage = storage;
  }

  /** In the order of the volumes; one command for each storage. */
  async inspect(): Promise<VolumeState[]> {
    const groups = [...Map.groupBy(this.#volumes, ({ storage }) => storage).values()];
    const states = await Promise.all(
      groups.map((group) => (group[0] === undefined ? [] : this.#driver(group[0]).inspect(group))),
    );
    const found = new Map(groups.flatMap((group, g) => group.map((ref, i) => [ref, states[g]?.[i]] as const)));
    return this.#volumes.map((ref) => found.get(ref) ?? { id: ref, exists: false, snapshots: [] });
  }

  #driver(ref: VolumeRef): StorageDriver {
    // The same object for a storage throughout the run: volumes of one storage are snapshot together.
    const driver = this.#drivers.get(ref.storage) ?? this.#storage(ref.storage);
    if (driver !== undefined) {
      this.#drivers.set(ref.storage, driver);
      return driver;
    }
    throw new QuorateError(
      "environment",
      "StorageMissing",
      `storage "${ref.storage}" of volume "${ref.volume}" is not on this node`,
    );
  }

  /** Throws `StorageNotReplicable` or `StorageMissing`. */
  replication(ref: VolumeRef): ReplicationStorage {
    const { replication, type } = this.#driver(ref);
    if (replication !== undefined) return replication;
    throw new QuorateError(
      "user",
      "StorageNotReplicable",
      `storage "${ref.storage}" is a ${type}, which cannot be replicated; exclude volume "${ref.volume}"`,
    );
  }
}
