import { classify, QuorateError } from "../../errors.ts";
import { checkedJob, type JobId, snapshotJob, type VolumeId, volumeName } from "./names.ts";
import type { Command, ReplicationStorage, Snapshot, StorageDriver } from "./types.ts";
import { REPLICA_PROPERTY, type ZfsCli } from "./zfs-cli.ts";

/** Below the storage's dataset: where whole volumes arrive. Never mounted, never a guest's. */
const STAGING = ".quorate-recv";

type Volumes = Pick<StorageDriver, "inspect" | "deactivate">;

export class ZfsReplication implements ReplicationStorage {
  readonly #zfs: ZfsCli;
  readonly #dataset: string;
  readonly #volumes: Volumes;

  constructor({ zfs, dataset, volumes }: { zfs: ZfsCli; dataset: string; volumes: Volumes }) {
    this.#zfs = zfs;
    this.#dataset = dataset;
    this.#volumes = volumes;
  }

  async atomicSnapshots(): Promise<boolean> {
    return (await this.#zfs.features()).atomicSnapshots;
  }

  async snapshot(ids: readonly VolumeId[], name: string, job: JobId): Promise<void> {
    const snapshots = ids.map((id) => `${this.#of(id)}@${checkedSnapshot(name, checkedJob(job, id.vmid))}`);
    if (await this.atomicSnapshots()) await this.#zfs.change("snapshot", ...snapshots);
    else for (const snapshot of snapshots) await this.#zfs.change("snapshot", snapshot);
    await this.#zfs.change("hold", holdTag(job), ...snapshots);
  }

  sendCommand(id: VolumeId, to: string, from: string | undefined): Command {
    const job = snapshotJob(to) ?? "";
    const target = `${this.#of(id)}@${checkedSnapshot(to, job)}`;
    // The base may be any snapshot, a user's too; it is named without its dataset.
    const base = from === undefined ? [] : ["-i", `@${checkedBase(from)}`];
    return { command: "zfs", args: ["send", ...base, target] };
  }

  async beginReceive(id: VolumeId, kind: "full" | "incremental"): Promise<Command> {
    const [state] = await this.#volumes.inspect([id]);
    const flags = (await this.#zfs.features()).openZfs ? ["-u"] : [];
    if (kind === "incremental") {
      if (!state?.exists)
        throw new QuorateError(
          "environment",
          "DataMissing",
          `${this.#of(id)} is not here any more; the next run sends all of it`,
        );
      await this.#volumes.deactivate(id);
      return { command: "zfs", args: ["receive", ...flags, this.#of(id)] };
    }
    if (state?.exists)
      throw new QuorateError("user", "NameTaken", `${this.#of(id)} exists already; nothing is received over it`);
    await this.discardPartial(id);
    const present = await this.#zfs.datasets(this.#dataset, 1);
    const staging = `${this.#dataset}/${STAGING}`;
    if (!present.has(staging)) await this.#zfs.change("create", "-o", "mountpoint=none", "-o", "canmount=off", staging);
    return { command: "zfs", args: ["receive", ...flags, this.#staged(id)] };
  }

  async finishReceive(id: VolumeId, kind: "full" | "incremental", job: JobId, toGuid: string): Promise<void> {
    checkedJob(job, id.vmid);
    const dataset = kind === "full" ? this.#staged(id) : this.#of(id);
    const properties = await this.#zfs.properties([dataset]);
    const received = [...properties].find(
      ([name, own]) => name.startsWith(`${dataset}@`) && own.get("guid")?.value === toGuid,
    );
    if (received === undefined) {
      throw new QuorateError(
        "transient",
        "StreamBroken",
        `${dataset} has no snapshot with GUID ${toGuid} after the transfer; the next run sends again`,
      );
    }
    await this.#hold(job, received[0]);
    const own = properties.get(dataset);
    if (own?.get("canmount")?.value !== "noauto") await this.#zfs.change("set", "canmount=noauto", dataset);
    if (own?.get("readonly")?.value !== "on") await this.#zfs.change("set", "readonly=on", dataset);
    const mark = own?.get(REPLICA_PROPERTY);
    if (mark?.value !== job || !mark.local) await this.#zfs.change("set", `${REPLICA_PROPERTY}=${job}`, dataset);
    if (kind === "full") await this.#zfs.change("rename", dataset, this.#of(id));
  }

  async discardPartial(id: VolumeId): Promise<void> {
    const staged = this.#staged(id);
    const present = await this.#zfs.datasets(this.#dataset, 2);
    if (!present.has(staged)) return;
    for (const [name, own] of await this.#zfs.properties([staged])) {
      const job = snapshotJob(name.slice(name.indexOf("@") + 1));
      if (name.startsWith(`${staged}@`) && job !== undefined && Number(own.get("userrefs")?.value) > 0)
        await this.#release(job, name);
    }
    await this.#zfs.change("destroy", "-r", staged);
  }

  async hold(id: VolumeId, job: JobId, names: readonly string[]): Promise<void> {
    checkedJob(job, id.vmid);
    for (const name of names) await this.#hold(job, `${this.#of(id)}@${checkedSnapshot(name, job)}`);
  }

  async destroySnapshots(
    id: VolumeId,
    job: JobId,
    snapshots: readonly Pick<Snapshot, "name" | "guid">[],
  ): Promise<{ kept: string[] }> {
    checkedJob(job, id.vmid);
    const [state] = await this.#volumes.inspect([id]);
    const kept: string[] = [];
    for (const { name, guid } of snapshots) {
      checkedSnapshot(name, job);
      const present = state?.snapshots.find((snapshot) => snapshot.name === name);
      if (present === undefined) continue;
      if (present.guid !== guid) {
        throw new QuorateError(
          "user",
          "NotOurs",
          `${this.#of(id)}@${name} has GUID ${present.guid}, not ${guid}; it is left alone`,
        );
      }
      const snapshot = `${this.#of(id)}@${name}`;
      if (present.holds > 0) await this.#release(job, snapshot);
      try {
        await this.#zfs.change("destroy", snapshot);
      } catch (error) {
        if (classify(error).reason !== "Locked") throw error;
        kept.push(name);
      }
    }
    return { kept };
  }

  async rollback(id: VolumeId, job: JobId, snapshot: Pick<Snapshot, "name" | "guid">): Promise<void> {
    const [state] = await this.#volumes.inspect([id]);
    const at = state?.snapshots.findIndex((candidate) => candidate.guid === snapshot.guid) ?? -1;
    if (state === undefined || at < 0) {
      throw new QuorateError(
        "environment",
        "DataMissing",
        `${this.#of(id)} has no snapshot ${snapshot.name} (GUID ${snapshot.guid}) to go back to`,
      );
    }
    const newer = state.snapshots.slice(at + 1);
    const foreign = newer.find((candidate) => snapshotJob(candidate.name) !== job);
    if (foreign !== undefined) {
      throw new QuorateError(
        "user",
        "NotOurs",
        `${this.#of(id)} has the newer snapshot ${foreign.name}, which job ${job} did not make; it is not rolled back over it`,
      );
    }
    await this.destroySnapshots(id, job, newer);
    await this.#zfs.change("rollback", `${this.#of(id)}@${checkedSnapshot(snapshot.name, job)}`);
  }

  async destroyReplica(id: VolumeId, job: JobId): Promise<void> {
    const [state] = await this.#volumes.inspect([id]);
    await this.discardPartial(id);
    if (!state?.exists) return;
    if (state.replicaOf !== checkedJob(job, id.vmid)) {
      throw new QuorateError(
        "user",
        "NotOurs",
        `${this.#of(id)} is not the target of job ${job}${state.replicaOf === undefined ? "" : ` but of ${state.replicaOf}`}; it is left alone`,
      );
    }
    const foreign = state.snapshots.find((snapshot) => snapshotJob(snapshot.name) !== job);
    if (foreign !== undefined) {
      throw new QuorateError(
        "user",
        "NotOurs",
        `${this.#of(id)} has snapshot ${foreign.name}, which job ${job} did not make; remove it first`,
      );
    }
    for (const snapshot of state.snapshots)
      if (snapshot.holds > 0) await this.#release(job, `${this.#of(id)}@${snapshot.name}`);
    await this.#zfs.change("destroy", "-r", this.#of(id));
  }

  async setAside(id: VolumeId, wallMs: number): Promise<string> {
    const time = new Date(wallMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
    const kept = `${this.#dataset}/kept-${volumeName(id)}-${time}Z`;
    await this.#volumes.deactivate(id);
    await this.#zfs.change("rename", this.#of(id), kept);
    return kept;
  }

  async #hold(job: JobId, snapshot: string): Promise<void> {
    await this.#tolerate(this.#zfs.change("hold", holdTag(job), snapshot), "tag already exists");
  }

  async #release(job: JobId, snapshot: string): Promise<void> {
    await this.#tolerate(this.#zfs.change("release", holdTag(job), snapshot), "no such tag");
  }

  async #tolerate(change: Promise<void>, message: string): Promise<void> {
    try {
      await change;
    } catch (error) {
      if (!classify(error).message.includes(message)) throw error;
    }
  }

  #of(id: VolumeId): string {
    return `${this.#dataset}/${volumeName(id)}`;
  }

  #staged(id: VolumeId): string {
    return `${this.#dataset}/${STAGING}/${volumeName(id)}`;
  }
}

/** Holds of different jobs on one snapshot are different holds. */
function holdTag(job: JobId): string {
  return `quorate:${job}`;
}

function checkedSnapshot(name: string, job: JobId): string {
  if (snapshotJob(name) !== job)
    throw new QuorateError("user", "NotOurs", `snapshot ${JSON.stringify(name)} is not one of replication job ${job}`);
  return name;
}

function checkedBase(name: string): string {
  if (!/^[\w.:-]+$/.test(name))
    throw new QuorateError("user", "InvalidName", `${JSON.stringify(name)} is no name of a snapshot`);
  return name;
}
