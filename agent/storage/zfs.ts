import { setTimeout as delay } from "node:timers/promises";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { DISK_FILE, ensureDiskFile, fileSize, isWritable } from "./disk-file.ts";
import { otherGuest, requireGuest } from "./guest-mark.ts";
import { checkedUid, type VolumeId, volumeName } from "./names.ts";
import {
  ANY_NODE,
  type ReplicationStorage,
  type Snapshot,
  type StorageConfig,
  type StorageDriver,
  type VolumeState,
} from "./types.ts";
import { GUEST_PROPERTY, type Properties, REPLICA_PROPERTY, TOOK_OVER_PROPERTY, ZfsCli } from "./zfs-cli.ts";
import { markCommands, markedNodes } from "./zfs-marks.ts";
import { datasetOf } from "./zfs-names.ts";
import { ZfsReplication } from "./zfs-replication.ts";
import { requireMountpointOfThisHost, requireNothingOfItsOwn } from "./zfs-stream.ts";

const UNMOUNT_ATTEMPTS = 6;
const UNMOUNT_PAUSE_MS = 250;

/**
 * Volumes as ZFS file systems that hold `disk.raw`, on kernel ZFS and on userland ZFS alike.
 *
 * A replica is read-only and not mounted (`canmount=noauto`): reading it would otherwise change access times, and a
 * receive refuses a target that changed. `activate` undoes that when its node becomes the guest's owner.
 */
export class ZfsStorage implements StorageDriver {
  readonly type = "ZFS";
  readonly shared = false;
  readonly name: string;
  readonly replication: ReplicationStorage;
  readonly #host: Host;
  readonly #zfs: ZfsCli;
  readonly #dataset: string;

  constructor(host: Host, config: Extract<StorageConfig, { type: "ZFS" }>) {
    if (!/^[A-Za-z][\w.:-]*(\/[A-Za-z0-9][\w.:-]*)*$/.test(config.dataset) || config.dataset.length > 150) {
      throw new QuorateError(
        "user",
        "InvalidDataset",
        `storage "${config.name}": ${JSON.stringify(config.dataset)} is no name of a dataset`,
      );
    }
    this.#host = host;
    this.#zfs = new ZfsCli(host);
    this.#dataset = config.dataset;
    this.name = config.name;
    this.replication = new ZfsReplication({ zfs: this.#zfs, dataset: config.dataset, volumes: this });
  }

  async ensureVolume(
    id: VolumeId,
    options: { sizeBytes: number; image?: string; guest?: string },
  ): Promise<{ path: string }> {
    const dataset = this.#of(id);
    let properties = await this.#properties(dataset);
    if (properties === undefined) {
      await this.#requireStorage();
      const guest = options.guest === undefined ? [] : ["-o", `${GUEST_PROPERTY}=${checkedUid(options.guest)}`];
      await this.#zfs.change("create", "-o", "atime=off", ...guest, dataset);
      properties = await this.#properties(dataset);
    } else requireOwner(dataset, properties, options.guest);
    const job = properties && replicaOf(properties);
    if (job !== undefined) {
      throw new QuorateError(
        "user",
        "VolumeIsReplica",
        `${dataset} is the target of replication job ${job}; it is not a new volume`,
      );
    }
    const folder = await this.#mounted(dataset, properties);
    if (properties !== undefined && localOf(properties, GUEST_PROPERTY) === undefined) {
      // Without a disk nothing was ever kept in it; with one, this guest, which never had any, did not make it.
      if ((await fileSize(this.#host, `${folder}/${DISK_FILE}`)) !== undefined)
        throw otherGuest(dataset, "holds a disk and does not say of which Guest object", adopt(dataset, options.guest));
      await this.#say(dataset, options.guest);
    }
    return { path: await ensureDiskFile(this.#host, folder, options) };
  }

  async requireGuest(id: VolumeId, guest: string | undefined): Promise<void> {
    const dataset = this.#of(id);
    const properties = await this.#properties(dataset);
    if (properties !== undefined) requireOwner(dataset, properties, guest);
  }

  async activate(id: VolumeId, guest?: string): Promise<{ path: string }> {
    const dataset = this.#of(id);
    const known = await this.#zfs.properties([dataset]);
    const properties = known.get(dataset);
    if (properties === undefined) {
      await this.#requireStorage();
      throw new QuorateError(
        "environment",
        "DataMissing",
        `volume ${volumeName(id)} of storage "${this.name}" is not on this host: no dataset ${dataset}`,
      );
    }
    const whose = requireOwner(dataset, properties, guest);
    // What is brought by others must not say where it is mounted; what is set on the guest's own disk is the administrator's.
    if (replicaOf(properties) === undefined) requireMountpointOfThisHost(dataset, properties);
    else requireNothingOfItsOwn(dataset, known);
    if (whose === undefined) await this.#say(dataset, guest);
    if (properties.get("canmount")?.value !== "on") await this.#zfs.change("set", "canmount=on", dataset);
    if (properties.get("readonly")?.value !== "off") await this.#zfs.change("set", "readonly=off", dataset);
    const path = `${await this.#mounted(dataset, properties)}/${DISK_FILE}`;
    // The mark goes last: a volume that is half activated is still nobody's but its job's.
    if (replicaOf(properties) !== undefined) {
      const { snapshots } = stateOf(id, dataset, known);
      const newest = snapshots.at(-1);
      if (newest !== undefined) {
        const marks = snapshots.map(({ guid }) => ({ node: ANY_NODE, guid }));
        for (const command of markCommands(dataset, known, marks)) await this.#zfs.change(...command);
        await this.#zfs.change("set", `${TOOK_OVER_PROPERTY}=${newest.createTxg}`, dataset);
      }
      await this.#zfs.change("inherit", REPLICA_PROPERTY, dataset);
    }
    if ((await fileSize(this.#host, path)) === undefined) {
      throw new QuorateError("environment", "DataMissing", `dataset ${dataset} is there but holds no ${DISK_FILE}`);
    }
    if (!(await isWritable(this.#host, path))) {
      throw new QuorateError(
        "environment",
        "NotWritable",
        `${path} cannot be written; look at \`zpool status\` and \`zfs get readonly ${dataset}\``,
      );
    }
    return { path };
  }

  async deactivate(id: VolumeId): Promise<void> {
    const dataset = this.#of(id);
    const properties = await this.#properties(dataset);
    if (properties === undefined) return;
    if (properties.get("mounted")?.value === "yes") await this.#unmount(dataset);
    if (properties.get("canmount")?.value !== "noauto") await this.#zfs.change("set", "canmount=noauto", dataset);
    if (properties.get("readonly")?.value !== "on") await this.#zfs.change("set", "readonly=on", dataset);
  }

  async inspect(ids: readonly VolumeId[]): Promise<VolumeState[]> {
    const datasets = ids.map((id) => this.#of(id));
    const known = await this.#zfs.properties(datasets);
    // A pool that is not imported must not look like volumes that were never made.
    if (datasets.some((dataset) => !known.has(dataset))) await this.#requireStorage();
    return ids.map((id) => stateOf(id, this.#of(id), known));
  }

  async #say(dataset: string, guest: string | undefined): Promise<void> {
    if (guest !== undefined) await this.#zfs.change("set", `${GUEST_PROPERTY}=${checkedUid(guest)}`, dataset);
  }

  async #properties(dataset: string): Promise<Properties | undefined> {
    return (await this.#zfs.properties([dataset])).get(dataset);
  }

  /** Where the dataset is mounted; mounts it when it is not. */
  async #mounted(dataset: string, properties: Properties | undefined): Promise<string> {
    const mountpoint = properties?.get("mountpoint")?.value;
    if (mountpoint === undefined || !mountpoint.startsWith("/")) {
      throw new QuorateError(
        "user",
        "NoMountpoint",
        `dataset ${dataset} has mountpoint ${mountpoint}; set one that is inherited on ${this.#dataset}`,
      );
    }
    if (properties?.get("mounted")?.value !== "yes") await this.#zfs.change("mount", dataset);
    return mountpoint;
  }

  /** Userland ZFS hears of the last close of a file some moments after the process that had it open is gone. */
  async #unmount(dataset: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#zfs.change("unmount", dataset);
      } catch (error) {
        if (attempt === UNMOUNT_ATTEMPTS || classify(error).reason !== "Locked") throw error;
      }
      await delay(UNMOUNT_PAUSE_MS);
    }
  }

  async #requireStorage(): Promise<void> {
    try {
      await this.#zfs.datasets(this.#dataset, 0);
    } catch (error) {
      throw new QuorateError(
        "environment",
        "StorageMissing",
        `storage "${this.name}": dataset ${this.#dataset} is not on this host; create it, or list the nodes that have it in the Cluster`,
        { cause: error },
      );
    }
  }

  #of(id: VolumeId): string {
    return datasetOf(this.#dataset, id);
  }
}

function replicaOf(properties: Properties): string | undefined {
  return localOf(properties, REPLICA_PROPERTY);
}

/** What was set on the dataset itself: what its parent says is about no volume. */
function localOf(properties: Properties, property: string): string | undefined {
  const mark = properties.get(property);
  return mark?.local === true ? mark.value : undefined;
}

/** @returns the Guest object of which the dataset says that it is: this one, or none. @throws QuorateError OtherGuest */
function requireOwner(dataset: string, properties: Properties, guest: string | undefined): string | undefined {
  const whose = localOf(properties, GUEST_PROPERTY);
  requireGuest(dataset, whose, guest, adopt(dataset, guest));
  return whose;
}

function adopt(dataset: string, guest: string | undefined): string {
  return `zfs set ${GUEST_PROPERTY}=${guest ?? "<uid>"} ${dataset}`;
}

function stateOf(id: VolumeId, dataset: string, known: ReadonlyMap<string, Properties>): VolumeState {
  const own = known.get(dataset);
  if (own === undefined) return { id, exists: false, snapshots: [] };
  const snapshots: Snapshot[] = [];
  for (const [name, properties] of known) {
    if (name.startsWith(`${dataset}@`)) snapshots.push(snapshotOf(name.slice(dataset.length + 1), properties));
  }
  snapshots.sort((a, b) => a.createTxg - b.createTxg);
  const job = replicaOf(own);
  const written = own.get("written");
  const tookOver = own.get(TOOK_OVER_PROPERTY);
  const guid = own.get("guid")?.value ?? "";
  const guest = localOf(own, GUEST_PROPERTY);
  const encryption = own.get("encryption")?.value ?? "off";
  return {
    id,
    exists: true,
    snapshots,
    referencedBytes: Number(own.get("referenced")?.value ?? 0),
    ...(/^[0-9]+$/.test(guid) ? { guid } : {}),
    ...(guest === undefined ? {} : { guest }),
    ...(job === undefined ? {} : { replicaOf: job }),
    ...(tookOver?.local === true ? { tookOverTxg: Number(tookOver.value) } : {}),
    ...(encryption === "off" || encryption === "-" ? {} : { encrypted: true as const }),
    ...(written === undefined ? {} : { writtenBytes: Number(written.value) }),
  };
}

function snapshotOf(name: string, properties: Properties): Snapshot {
  const value = (property: string) => properties.get(property)?.value ?? "";
  const guid = value("guid");
  if (!/^[0-9]+$/.test(guid))
    throw new QuorateError("bug", "UnreadableGuid", `snapshot ${name} has GUID ${JSON.stringify(guid)}`);
  const newestOn = markedNodes(properties);
  return {
    name,
    guid,
    createTxg: Number(value("createtxg")),
    createdAt: Number(value("creation")),
    holds: Number(value("userrefs")),
    ...(newestOn.length === 0 ? {} : { newestOn }),
  };
}
