import type { Clock } from "../../clock.ts";
import { bytesOf, type Cluster, type ClusterStorage, type Guest } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { GuestDefinition, Guests } from "../guests/index.ts";
import type { Host } from "../host/index.ts";
import { newestCompleteSet } from "../replication/index.ts";
import {
  openStorage,
  type StorageConfig,
  type StorageDriver,
  type VolumeRef,
  type VolumeState,
} from "../storage/index.ts";
import {
  isAfterLastRun,
  isTakenOver,
  readTakeOver,
  removeTakeOver,
  takenOver,
  takeOverOf,
  writeTakeOver,
} from "./take-over.ts";

export interface GuestOwnerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly host: Host;
  readonly node: string;
  readonly namespace: string;
  /** The drivers, which find the storages by `GuestOwner.storage`. */
  readonly drivers: () => Guests;
  readonly cluster: () => Cluster | undefined;
  readonly guest: (name: string) => Guest | undefined;
  /** Ends what others still write to this guest's volumes on this host. */
  readonly abortReceives: (vmid: number) => Promise<void>;
  /** Brings the volumes to the target, their last difference included. The guest does not run. */
  readonly sendVolumes: (guest: Guest, target: string, signal: AbortSignal) => Promise<void>;
  /** Held while volumes are worked on for a move to the target; undefined: not yet, but what can be ended for it is. */
  readonly claim: (guest: string, target: string) => (() => void) | undefined;
}

/**
 * What this node does with a guest that it owns: finds or makes its disks, starts it, stops it, hands it over. Ownership is
 * the guest's binding (`spec.nodeName`); a guest bound elsewhere is never started.
 */
export class GuestOwner {
  readonly #options: GuestOwnerOptions;

  constructor(options: GuestOwnerOptions) {
    this.#options = options;
  }

  async start(name: string, signal: AbortSignal): Promise<void> {
    const guest = this.#owned(name);
    const vmid = vmidOf(guest);
    await this.#options.abortReceives(vmid);
    const definition = guestDefinition(guest, this.#options.namespace);
    // Empty disks are made only for a guest that never had any: afterwards, a missing disk is a loss to be shown.
    if (!hadData(guest)) await this.#options.drivers().provision(definition);
    else {
      await this.#requireOwn(guest);
      await this.#takeOver(guest);
    }
    // The binding may have changed while the disks were prepared.
    this.#owned(name);
    await this.#options.drivers().start(definition, signal);
    await removeTakeOver(this.#options.host, this.#options.namespace, name);
  }

  /** @returns once the guest is gone from this host for certain. */
  async stop(name: string, options: { timeoutSeconds?: number }, signal: AbortSignal): Promise<void> {
    const guest = this.#options.guest(name);
    if (guest === undefined) {
      throw new QuorateError(
        "transient",
        "GuestNotFound",
        `Guest "${name}" is not known on ${this.#options.node}, so how to stop it is not`,
      );
    }
    const definition = guestDefinition(guest, this.#options.namespace);
    await this.#options.drivers().stop(definition, { timeoutSeconds: options.timeoutSeconds ?? 60, signal });
  }

  /**
   * Brings the guest's data to the target while it runs, stops it, brings what it wrote since, and lets go of it here: the new owner
   * starts it. What would fail, or take hours, does so before the guest is stopped.
   */
  async move(name: string, target: string, _mode: "live" | "restart", signal: AbortSignal): Promise<void> {
    const guest = this.#owned(name);
    // A node on which the guest did not run last has nothing newer than the target's own copy: old data must not go on from here.
    const lastOn = guest.status?.node;
    if (lastOn !== undefined && lastOn !== this.#options.node) return this.stop(name, {}, signal);
    const release = await this.#claim(name, target, signal);
    try {
      const volumes = this.localVolumes(guest);
      // Services can't be paused, and snapshots of several volumes of one that runs need not be of one moment.
      if (guest.spec.service === undefined || volumes.length === 1)
        await this.#options.sendVolumes(this.#owned(name), target, signal);
      this.#owned(name);
      await this.stop(name, {}, signal);
      await this.#options.sendVolumes(guest, target, signal);
      const vmid = vmidOf(guest);
      for (const ref of volumes) await this.storage(ref.storage)?.deactivate({ vmid, volume: ref.volume });
    } finally {
      release();
    }
  }

  /** Volumes that exist once a node: those on storages that are not shared. */
  localVolumes(guest: Guest): VolumeRef[] {
    const { vmid } = guest.spec;
    if (vmid === undefined) return [];
    return (guest.spec.volumes ?? [])
      .filter((volume) => this.storage(volume.storage)?.shared !== true)
      .map((volume) => ({ vmid, volume: volume.name, storage: volume.storage }));
  }

  /** The driver of a storage of the cluster on this node; undefined when the cluster or this node has none of that name. */
  storage(name: string): StorageDriver | undefined {
    const storage = this.#options.cluster()?.spec.storages?.find((each) => each.name === name);
    if (storage === undefined || (storage.nodes !== undefined && !storage.nodes.includes(this.#options.node)))
      return undefined;
    const config = storageConfig(storage);
    return config === undefined ? undefined : openStorage(this.#options.host, config);
  }

  /** Removes the marks of take-overs of guests that ran elsewhere meanwhile, or may have. Called about once a second. */
  async forgetTakeOvers(): Promise<void> {
    const { host, namespace, node } = this.#options;
    for (const name of await takenOver(host, namespace)) {
      const guest = this.#options.guest(name);
      const mark = await readTakeOver(host, namespace, name);
      const counts = guest !== undefined && mark !== undefined && isAfterLastRun(mark, guest);
      // Bound elsewhere, it need not have run there: its disks may have to do after all. Where runs can't be told apart, it may have.
      if (!counts || (guest.spec.nodeName !== node && mark.startedAt === undefined))
        await removeTakeOver(host, namespace, name);
    }
  }

  /**
   * A guest that last ran elsewhere starts only from copies that replication made, all of one run: an old disk of its own that
   * it left here is older than what it wrote since, and volumes of two runs are a mixture that never was.
   */
  async #takeOver(guest: Guest): Promise<void> {
    const { node, host, namespace, clock, log } = this.#options;
    const lastOn = guest.status?.node;
    if (lastOn === undefined || lastOn === node) return;
    const replicas = await this.#volumesHere(guest);
    // Taken over before, and the start failed after that: the disks are this node's own by now.
    const { name } = guest.metadata;
    if (isTakenOver(await readTakeOver(host, namespace, name), guest, replicas)) return;
    const own = replicas.find(({ replicaOf }) => replicaOf === undefined);
    if (own !== undefined) {
      throw new QuorateError(
        "environment",
        "StaleData",
        `Guest "${name}" last ran on ${lastOn}; volume "${own.id.volume}" on ${node} is an old disk of its own, not a copy of what it wrote there. It is not started from that. Replicate to ${node} first (set the old disk aside), or bring ${lastOn} back`,
      );
    }
    const job = replicas.at(-1)?.replicaOf;
    if (job === undefined) return;
    const set = newestCompleteSet(job, replicas);
    if (set === undefined) {
      throw new QuorateError(
        "environment",
        "DataMissing",
        `the copies of Guest "${name}" on ${node} are of different runs of job ${job}, and none is complete; it can't start here`,
      );
    }
    for (const state of set.ahead) {
      const snapshot = state.snapshots.find((each) => each.name === set.name);
      const storage = this.localVolumes(guest).find((ref) => ref.volume === state.id.volume)?.storage ?? "";
      if (snapshot === undefined) continue;
      // Not destroyed: of this volume it may be the newest data that is left.
      const kept = await this.storage(storage)?.replication?.branchOff(state.id, job, snapshot, clock.wallMs());
      log.warn(
        { guest: name, volume: state.id.volume, kept },
        `goes on from ${set.name}; newer data is kept beside it`,
      );
    }
    const taken = set.ahead.length === 0 ? replicas : await this.#volumesHere(guest);
    await writeTakeOver(host, namespace, takeOverOf(guest, set.name, taken));
  }

  /** A vmid may have been another guest's: what that left here is not taken for this one's, wherever it ran last. */
  async #requireOwn(guest: Guest): Promise<void> {
    const vmid = vmidOf(guest);
    for (const { name, storage } of guest.spec.volumes ?? [])
      await this.storage(storage)?.requireGuest({ vmid, volume: name }, guest.metadata.uid);
  }

  /**
   * The guest's local volumes, all of them on this node: one that is missing is refused before anything is done to the others.
   * @throws QuorateError StorageMissing, DataMissing
   */
  async #volumesHere(guest: Guest): Promise<VolumeState[]> {
    const states: VolumeState[] = [];
    for (const ref of this.localVolumes(guest)) {
      const storage = this.storage(ref.storage);
      const missing = (reason: string, what: string) =>
        new QuorateError(
          "environment",
          reason,
          `Guest "${guest.metadata.name}" can't start on ${this.#options.node}: ${what}`,
        );
      if (storage === undefined) throw missing("StorageMissing", `storage "${ref.storage}" is not on this node`);
      let [state] = await storage.inspect([ref]);
      // An agent that died while it took the volume back left it without its name.
      if (state?.exists !== true && (await storage.replication?.finishBranch(ref)) === true)
        [state] = await storage.inspect([ref]);
      if (state?.exists !== true)
        throw missing(
          "DataMissing",
          `volume "${ref.volume}" is not there; it was not completely replicated yet, or was renamed`,
        );
      states.push(state);
    }
    return states;
  }

  #owned(name: string): Guest {
    const guest = this.#options.guest(name);
    if (guest === undefined)
      throw new QuorateError("transient", "GuestNotFound", `Guest "${name}" is not known on ${this.#options.node} yet`);
    if (guest.spec.nodeName !== this.#options.node) {
      throw new QuorateError(
        "transient",
        "WrongNode",
        `Guest "${name}" is bound to ${guest.spec.nodeName ?? "no node"}, not to ${this.#options.node}`,
      );
    }
    return guest;
  }

  /** Waits for a replication run that works on the volumes; it reads snapshots only, so a start need not wait for it. */
  async #claim(name: string, target: string, signal: AbortSignal): Promise<() => void> {
    for (;;) {
      const release = this.#options.claim(name, target);
      if (release !== undefined) return release;
      await this.#options.clock.sleep(500, signal);
    }
  }
}

/** The guest was provisioned before: its status or, should that be lost, its annotation says so. */
function hadData(guest: Guest): boolean {
  return (
    guest.metadata.annotations?.["quorate.dev/provisioned"] !== undefined || (guest.status?.volumes ?? []).length > 0
  );
}

function vmidOf(guest: Guest): number {
  const { vmid } = guest.spec;
  if (vmid === undefined)
    throw new QuorateError(
      "transient",
      "NoVmid",
      `Guest "${guest.metadata.name}" has no spec.vmid yet; the controllers give it one`,
    );
  return vmid;
}

/** The drivers' view of a guest. @throws QuorateError class user for what this version can't run. */
export function guestDefinition(guest: Guest, namespace: string): GuestDefinition {
  const { machine, service, resources } = guest.spec;
  const name = guest.metadata.name;
  const vmid = vmidOf(guest);
  const base = {
    namespace,
    name,
    ...(guest.metadata.uid === undefined ? {} : { uid: guest.metadata.uid }),
    vmid,
    cpus: resources.cpu,
    memoryBytes: bytesOf(resources.memory),
    volumes: (guest.spec.volumes ?? []).map((volume) => ({
      vmid,
      volume: volume.name,
      storage: volume.storage,
      sizeBytes: bytesOf(volume.size),
    })),
  };
  if (service !== undefined) return { ...base, service: { unit: service.unit } };
  if (machine?.driver === "QEMU") {
    const { image, kernel, initrd, commandLine, networks } = machine;
    return {
      ...base,
      machine: {
        ...(image === undefined ? {} : { image }),
        ...(kernel === undefined ? {} : { kernel }),
        ...(initrd === undefined ? {} : { initrd }),
        ...(commandLine === undefined ? {} : { commandLine }),
        ...(networks === undefined ? {} : { networks }),
      },
    };
  }
  const what = machine === undefined ? "containers" : `the ${machine.driver} driver`;
  throw new QuorateError(
    "user",
    "NotSupported",
    `Guest "${name}": ${what} cannot be run by this version; use machine with driver QEMU, or service`,
  );
}

/** Btrfs is declared in the API and not driven by this version. */
function storageConfig(storage: ClusterStorage): StorageConfig | undefined {
  if (storage.type === "ZFS" && storage.dataset !== undefined)
    return { name: storage.name, type: "ZFS", dataset: storage.dataset };
  if (storage.type === "Directory" && storage.path !== undefined)
    return { name: storage.name, type: "Directory", path: storage.path, shared: storage.shared };
  return undefined;
}
