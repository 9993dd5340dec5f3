import { bytesOf, type Cluster, type ClusterStorage, type Guest } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import type { GuestDefinition, Guests } from "../guests/index.ts";
import type { Host } from "../host/index.ts";
import { openStorage, type StorageConfig, type StorageDriver, type VolumeRef } from "../storage/index.ts";

export interface GuestOwnerOptions {
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
  /** Held while volumes are worked on. */
  readonly claim: (guest: string) => (() => void) | undefined;
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
    const release = this.#claim(name);
    try {
      const vmid = vmidOf(guest);
      await this.#options.abortReceives(vmid);
      const definition = guestDefinition(guest, this.#options.namespace);
      // Empty disks are made only for a guest that never had any: afterwards, a missing disk is a loss to be shown.
      if (!hadData(guest)) await this.#options.drivers().provision(definition);
      // The binding may have changed while the disks were prepared.
      this.#owned(name);
      await this.#options.drivers().start(definition, signal);
    } finally {
      release();
    }
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

  /** Stops the guest, brings its data to the target and lets go of it here. The new owner starts it. */
  async move(name: string, target: string, _mode: "live" | "restart", signal: AbortSignal): Promise<void> {
    const guest = this.#owned(name);
    await this.stop(name, {}, signal);
    const release = this.#claim(name);
    try {
      await this.#options.sendVolumes(guest, target, signal);
      const vmid = vmidOf(guest);
      for (const ref of this.localVolumes(guest))
        await this.storage(ref.storage)?.deactivate({ vmid, volume: ref.volume });
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

  #claim(name: string): () => void {
    const release = this.#options.claim(name);
    if (release === undefined)
      throw new QuorateError(
        "transient",
        "Locked",
        `a replication run works on the volumes of "${name}"; it is tried again`,
      );
    return release;
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
