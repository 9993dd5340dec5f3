import { classify, QuorateError } from "../../errors.ts";
import { checkedJob, checkedUid, type JobId, jobVmid, snapshotJob, type VolumeId } from "./names.ts";
import type { Command, CopyMark, ReplicationStorage, Snapshot, StorageDriver, VolumeState } from "./types.ts";
import { GUEST_PROPERTY, REPLICA_PROPERTY, type ZfsCli, zfsFailure } from "./zfs-cli.ts";
import { markCommands } from "./zfs-marks.ts";
import { datasetOf, isKept, keptOf, STAGING, stagedOf } from "./zfs-names.ts";
import { requireNothingOfItsOwn, requirePlainStream } from "./zfs-stream.ts";

/**
 * What a copy is mounted as and may do here is this host's to say, whatever the stream brings. Userland ZFS knows no such
 * options: there, `requirePlainStream` alone keeps it out.
 */
const LOCAL_ONLY = [
  ...["-o", "canmount=noauto", "-o", "readonly=on"],
  ...["mountpoint", "sharenfs", "sharesmb", "exec", "setuid", "devices"].flatMap((property) => ["-x", property]),
];

type SnapshotRef = Pick<Snapshot, "name" | "guid">;

/** Replication on ZFS. Nothing here ever passes `-F`: a receive refuses what it would have to destroy. */
export class ZfsReplication implements ReplicationStorage {
  readonly #zfs: ZfsCli;
  readonly #dataset: string;
  readonly #volumes: Pick<StorageDriver, "inspect" | "deactivate">;

  constructor(parts: { zfs: ZfsCli; dataset: string; volumes: Pick<StorageDriver, "inspect" | "deactivate"> }) {
    this.#zfs = parts.zfs;
    this.#dataset = parts.dataset;
    this.#volumes = parts.volumes;
  }

  async atomicSnapshots(): Promise<boolean> {
    return (await this.#zfs.features()).atomicSnapshots;
  }

  async snapshot(ids: readonly VolumeId[], name: string, job: JobId): Promise<void> {
    for (const id of ids) checkedJob(job, id.vmid);
    if (snapshotJob(name) !== job) throw notOurs(`snapshot ${JSON.stringify(name)} is not named after job ${job}`);
    const snapshots = ids.map((id) => `${this.#of(id)}@${name}`);
    if (await this.atomicSnapshots()) await this.#zfs.change("snapshot", ...snapshots);
    else for (const snapshot of snapshots) await this.#zfs.change("snapshot", snapshot);
  }

  sendCommand(id: VolumeId, to: string, base: string | undefined): Command {
    checkedMaker(id, to);
    const snapshot = `${this.#of(id)}@${to}`;
    if (base === undefined) return { command: "zfs", args: ["send", snapshot] };
    return { command: "zfs", args: ["send", "-i", `@${checkedSnapshot(base)}`, snapshot] };
  }

  async beginReceive(id: VolumeId, kind: "full" | "incremental"): Promise<Command> {
    const state = await this.#inspect(id);
    const flags = (await this.#zfs.features()).openZfs ? ["-u", ...LOCAL_ONLY] : [];
    if (kind === "incremental") {
      if (!state.exists) {
        const message = `${this.#of(id)} is not here any more; the next run sends all of it`;
        throw new QuorateError("environment", "DataMissing", message);
      }
      await this.#volumes.deactivate(id);
      return { command: "zfs", args: ["receive", ...flags, this.#of(id)] };
    }
    if (await this.#finishBranch(id)) {
      const message = `${this.#of(id)} is back from an interrupted change; the next run goes on from it`;
      throw new QuorateError("transient", "Locked", message);
    }
    if (state.exists) {
      throw new QuorateError("user", "NameTaken", `${this.#of(id)} exists already; nothing is received over it`);
    }
    await this.discardPartial(id);
    await this.#letGoOfKept(id);
    await this.#requireStaging();
    return { command: "zfs", args: ["receive", ...flags, this.#staged(id)] };
  }

  checkStream(head: Buffer): void {
    requirePlainStream(head);
  }

  async finishReceive(
    id: VolumeId,
    kind: "full" | "incremental",
    job: JobId,
    toGuid: string,
    marks: readonly CopyMark[] = [],
    guest?: string,
  ): Promise<void> {
    checkedJob(job, id.vmid);
    const dataset = kind === "full" ? this.#staged(id) : this.#of(id);
    const properties = await this.#zfs.properties([dataset]);
    const received = [...properties].find(
      ([name, of]) => name.startsWith(`${dataset}@`) && of.get("guid")?.value === toGuid,
    );
    if (received === undefined) {
      const message = `${dataset} has no snapshot with GUID ${toGuid} after the transfer; the next run sends again`;
      throw new QuorateError("transient", "StreamBroken", message);
    }
    requireNothingOfItsOwn(dataset, properties);
    // The maker's hold, for it goes with the snapshot whichever job removes it one day.
    await this.#hold(snapshotJob(received[0].slice(dataset.length + 1)) ?? job, received[0]);
    for (const command of markCommands(dataset, properties, marks)) await this.#zfs.change(...command);
    const own = properties.get(dataset);
    if (own?.get("canmount")?.value !== "noauto") await this.#zfs.change("set", "canmount=noauto", dataset);
    if (own?.get("readonly")?.value !== "on") await this.#zfs.change("set", "readonly=on", dataset);
    const mark = own?.get(REPLICA_PROPERTY);
    if (mark?.value !== job || !mark.local) await this.#zfs.change("set", `${REPLICA_PROPERTY}=${job}`, dataset);
    const whose = own?.get(GUEST_PROPERTY);
    if (guest !== undefined && (whose?.value !== guest || !whose.local))
      await this.#zfs.change("set", `${GUEST_PROPERTY}=${checkedUid(guest)}`, dataset);
    // Last: under its final name the volume is whole, held, read-only and marked.
    if (kind === "full") await this.#zfs.change("rename", dataset, this.#of(id));
  }

  async discardPartial(id: VolumeId): Promise<void> {
    const staged = this.#staged(id);
    if (!(await this.#zfs.datasets(this.#dataset, 2)).has(staged)) return;
    for (const [name, of] of await this.#zfs.properties([staged])) {
      const maker = name.startsWith(`${staged}@`) ? snapshotJob(name.slice(staged.length + 1)) : undefined;
      if (maker !== undefined && Number(of.get("userrefs")?.value) > 0) await this.#release(maker, name);
    }
    await this.#zfs.change("destroy", "-r", staged);
  }

  async hold(id: VolumeId, job: JobId, names: readonly string[]): Promise<void> {
    checkedJob(job, id.vmid);
    for (const name of names) await this.#hold(job, `${this.#of(id)}@${checkedSnapshot(name)}`);
  }

  async release(id: VolumeId, job: JobId, names: readonly string[]): Promise<void> {
    checkedJob(job, id.vmid);
    const { snapshots } = await this.#inspect(id);
    for (const { name, holds } of snapshots)
      if (holds > 0 && names.includes(name)) await this.#release(job, `${this.#of(id)}@${name}`);
  }

  async mark(id: VolumeId, marks: readonly CopyMark[]): Promise<void> {
    const dataset = this.#of(id);
    const known = await this.#zfs.properties([dataset]);
    for (const command of markCommands(dataset, known, marks)) await this.#zfs.change(...command);
  }

  async destroySnapshots(id: VolumeId, job: JobId, refs: readonly SnapshotRef[]): Promise<{ kept: string[] }> {
    checkedJob(job, id.vmid);
    // All names before the first change: a refusal leaves everything as it was.
    const makers = refs.map((ref) => ({ ...ref, maker: checkedMaker(id, ref.name) }));
    const state = await this.#inspect(id);
    const kept: string[] = [];
    for (const { name, guid, maker } of makers) {
      const snapshot = `${this.#of(id)}@${name}`;
      const present = state.snapshots.find((candidate) => candidate.name === name);
      if (present === undefined) continue;
      if (present.guid !== guid) throw notOurs(`${snapshot} has GUID ${present.guid}, not ${guid}; it is left alone`);
      if (present.holds > 0) for (const holder of new Set([maker, job])) await this.#release(holder, snapshot);
      try {
        await this.#zfs.change("destroy", snapshot);
      } catch (error) {
        if (classify(error).reason !== "Locked") throw error;
        kept.push(name);
      }
    }
    return { kept };
  }

  async rollback(id: VolumeId, job: JobId, to: SnapshotRef): Promise<void> {
    const state = await this.#inspect(id);
    if (state.exists && state.replicaOf === undefined) {
      throw notOurs(`${this.#of(id)} is no replica but a guest's own data; it is not rolled back`);
    }
    const at = state.snapshots.findIndex((candidate) => candidate.guid === to.guid);
    const base = state.snapshots[at];
    if (base === undefined) {
      const message = `${this.#of(id)} has no snapshot ${to.name} (GUID ${to.guid}) to go back to`;
      throw new QuorateError("environment", "DataMissing", message);
    }
    const { kept } = await this.destroySnapshots(id, job, state.snapshots.slice(at + 1));
    if (kept.length > 0) {
      const message = `${this.#of(id)}: ${kept.join(", ")} is held by somebody else; not rolled back over it`;
      throw new QuorateError("transient", "Locked", message);
    }
    await this.#zfs.change("rollback", `${this.#of(id)}@${base.name}`);
  }

  /**
   * By a clone of the snapshot that takes over the history before it, so that no data is copied. Broken off before the
   * promotion, a copy is missing under its name, and the next run sends all of it; after it, `#finishBranch` ends it.
   */
  async branchOff(id: VolumeId, job: JobId, to: SnapshotRef, wallMs: number): Promise<string> {
    checkedJob(job, id.vmid);
    const state = await this.#inspect(id);
    if (state.exists && state.replicaOf === undefined) {
      throw notOurs(`${this.#of(id)} is no replica but a guest's own data; it is left as it is`);
    }
    const base = state.snapshots.find((candidate) => candidate.guid === to.guid);
    if (base === undefined) {
      const message = `${this.#of(id)} has no snapshot ${to.name} (GUID ${to.guid}) to go back to`;
      throw new QuorateError("environment", "DataMissing", message);
    }
    await this.discardPartial(id);
    await this.#requireStaging();
    const local = ["-o", "canmount=noauto", "-o", "readonly=on", "-o", `${REPLICA_PROPERTY}=${job}`];
    if (state.guest !== undefined) local.push("-o", `${GUEST_PROPERTY}=${checkedUid(state.guest)}`);
    await this.#zfs.change("clone", ...local, `${this.#of(id)}@${base.name}`, this.#staged(id));
    // What is set aside is the administrator's: no hold of ours is in the way of removing it. Before it is, for nobody comes back to it.
    const beyond = state.snapshots.filter(({ createTxg }) => createTxg > base.createTxg);
    await this.#releaseOurs(beyond.map(({ name, holds }) => ({ snapshot: `${this.#of(id)}@${name}`, holds })));
    const kept = await this.setAside(id, wallMs);
    await this.#zfs.change("promote", this.#staged(id));
    await this.#zfs.change("rename", this.#staged(id), this.#of(id));
    return kept;
  }

  async destroyReplica(id: VolumeId, job: JobId): Promise<void> {
    await this.#finishBranch(id);
    const state = await this.#inspect(id);
    await this.discardPartial(id);
    if (!state.exists) return;
    if (state.replicaOf !== checkedJob(job, id.vmid)) {
      throw notOurs(
        `${this.#of(id)} is not the target of job ${job} (but of ${state.replicaOf ?? "none"}); left alone`,
      );
    }
    for (const [branch, origin] of await this.#zfs.origins(this.#dataset)) {
      const ours = isKept(this.#dataset, id, branch) && origin.startsWith(`${this.#of(id)}@`);
      if (ours) await this.#zfs.change("promote", branch);
    }
    await this.#letGoOfKept(id);
    const { snapshots } = await this.#inspect(id);
    const { kept } = await this.destroySnapshots(id, job, snapshots);
    if (kept.length > 0) {
      const message = `${this.#of(id)}: ${kept.join(", ")} is held by somebody else; release it to remove the copy`;
      throw new QuorateError("user", "Locked", message);
    }
    await this.#zfs.change("destroy", this.#of(id));
  }

  async setAside(id: VolumeId, wallMs: number): Promise<string> {
    const kept = keptOf(this.#dataset, id, wallMs);
    await this.#volumes.deactivate(id);
    await this.#zfs.change("rename", this.#of(id), kept);
    return kept;
  }

  async finishBranch(id: VolumeId): Promise<boolean> {
    const staged = this.#staged(id);
    const here = await this.#zfs.datasets(this.#dataset, 2);
    if (!here.has(staged) || here.has(this.#of(id))) return false;
    // Before the promotion it hangs on the copy that was set aside, which is how it differs from a receive that was broken off.
    const origin = (await this.#zfs.origins(`${this.#dataset}/${STAGING}`)).get(staged)?.split("@")[0] ?? "";
    if (isKept(this.#dataset, id, origin)) await this.#zfs.change("promote", staged);
    return this.#finishBranch(id);
  }

  failure(error: QuorateError): QuorateError {
    return zfsFailure(error);
  }

  /** Copies that were set aside have holds of ours when `branchOff` was broken off, or when they got the history of the copy that they branched off. */
  async #letGoOfKept(id: VolumeId): Promise<void> {
    const here = await this.#zfs.datasets(this.#dataset, 1);
    const known = await this.#zfs.properties([...here].filter((dataset) => isKept(this.#dataset, id, dataset)));
    const snapshots = [...known].filter(([name]) => name.includes("@"));
    await this.#releaseOurs(
      snapshots.map(([snapshot, of]) => ({ snapshot, holds: Number(of.get("userrefs")?.value ?? 0) })),
    );
  }

  /** The holds of their makers, and those of the jobs that went on from another's snapshot. Not by `zfs holds`, which userland ZFS has without its program. */
  async #releaseOurs(snapshots: readonly { snapshot: string; holds: number }[]): Promise<void> {
    const makerOf = (snapshot: string) => snapshotJob(snapshot.slice(snapshot.indexOf("@") + 1));
    const jobs = [...new Set(snapshots.flatMap(({ snapshot }) => makerOf(snapshot) ?? []))];
    for (const { snapshot, holds } of snapshots) {
      if (holds === 0) continue;
      const maker = makerOf(snapshot);
      if (maker !== undefined) await this.#release(maker, snapshot);
      if (holds === 1 && maker !== undefined) continue;
      for (const job of jobs) if (job !== maker) await this.#release(job, snapshot);
    }
  }

  async #requireStaging(): Promise<void> {
    const staging = `${this.#dataset}/${STAGING}`;
    if ((await this.#zfs.datasets(this.#dataset, 1)).has(staging)) return;
    await this.#zfs.change("create", "-o", "mountpoint=none", "-o", "canmount=off", staging);
  }

  /** Gives a replica back its name when `branchOff` was broken off right before that. */
  async #finishBranch(id: VolumeId): Promise<boolean> {
    const staged = this.#staged(id);
    const here = await this.#zfs.datasets(this.#dataset, 2);
    if (!here.has(staged) || here.has(this.#of(id))) return false;
    const promoted = [...(await this.#zfs.origins(this.#dataset)).values()].some((of) => of.startsWith(`${staged}@`));
    if (promoted) await this.#zfs.change("rename", staged, this.#of(id));
    return promoted;
  }

  async #inspect(id: VolumeId): Promise<VolumeState> {
    const [state] = await this.#volumes.inspect([id]);
    return state ?? { id, exists: false, snapshots: [] };
  }

  async #hold(job: JobId, snapshot: string): Promise<void> {
    await unless("tag already exists", this.#zfs.change("hold", holdTag(job), snapshot));
  }

  async #release(job: JobId, snapshot: string): Promise<void> {
    await unless("no such tag", this.#zfs.change("release", holdTag(job), snapshot));
  }

  #of(id: VolumeId): string {
    return datasetOf(this.#dataset, id);
  }

  #staged(id: VolumeId): string {
    return stagedOf(this.#dataset, id);
  }
}

/** Holds of different jobs on one snapshot are different holds. */
function holdTag(job: JobId): string {
  return `quorate:${job}`;
}

/** The job that made a snapshot; one that no replication job of this guest made is refused. */
function checkedMaker(id: VolumeId, name: string): JobId {
  const maker = snapshotJob(name);
  if (maker === undefined || jobVmid(maker) !== id.vmid) {
    throw notOurs(`snapshot ${JSON.stringify(name)} was not made by a replication job of guest ${id.vmid}`);
  }
  return maker;
}

function checkedSnapshot(name: string): string {
  if (/^[\w.:-]{1,200}$/.test(name)) return name;
  throw new QuorateError("user", "InvalidName", `${JSON.stringify(name)} is no name of a snapshot`);
}

/** Waits for the change; what it was to achieve may be so already, which ZFS calls a failure. */
async function unless(already: string, change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!classify(error).message.includes(already)) throw error;
  }
}

function notOurs(message: string): QuorateError {
  return new QuorateError("user", "NotOurs", message);
}
