import type { VolumeRef } from "../storage/index.ts";

/** Which guest: its namespace is its cluster. Neither part holds a dot. */
export interface GuestKey {
  readonly namespace: string;
  readonly name: string;
}

export interface NetworkDefinition {
  readonly name: string;
  readonly bridge: string;
  /** Derived from cluster, vmid and name when absent, so that it stays the same. */
  readonly macAddress?: string;
}

/** A QEMU machine. All names are names of files in the image folder of the host, never paths. */
export interface MachineDefinition {
  /** What the first volume is filled with when it is made. */
  readonly image?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly commandLine?: string;
  readonly networks?: readonly NetworkDefinition[];
}

/** What runs as a guest, as far as it takes to find it on a host. Exactly one of `machine` and `service`. */
export interface GuestProcess extends GuestKey {
  readonly machine?: object;
  readonly service?: { readonly unit: string };
}

/** What a guest is, as far as its host needs to know. */
export interface GuestDefinition extends GuestProcess {
  /** Of its object: its volumes say it. */
  readonly uid?: string;
  readonly vmid: number;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly volumes: readonly (VolumeRef & { readonly sizeBytes: number })[];
  readonly machine?: MachineDefinition;
}

/**
 * `Unknown` is for everything that could not be told for sure: who must not start a guest twice takes it for running.
 * Silence alone never makes a guest `Stopped`.
 */
export type GuestState = "Running" | "Paused" | "Starting" | "Stopping" | "Stopped" | "Unknown";

export interface GuestStatus {
  readonly state: GuestState;
  readonly pid?: number;
  /** RFC 3339, whole seconds. */
  readonly startedAt?: string;
  /** Why it is so, where that is not plain: how it ended, what did not answer. */
  readonly message?: string;
}

export interface StopOptions {
  /** How long the guest may take to shut itself down; 0: it is ended at once. */
  readonly timeoutSeconds: number;
  readonly signal?: AbortSignal;
}

/** Runs guests of one kind as units of the host: they outlive the agent. */
export interface GuestDriver {
  /** In the order of the guests, by one question for all of them. Never throws: what can't be told is `Unknown`. */
  states(guests: readonly GuestProcess[]): Promise<GuestStatus[]>;

  /**
   * Resolves when the guest runs; one that runs already is left alone. Only for the node that owns it, holding its lock.
   * Errors: `DataMissing`, `NotWritable`, `StorageMissing`, `ImageMissing`, `InvalidDefinition`, `Locked`, `StartFailed`.
   */
  start(guest: GuestDefinition, signal?: AbortSignal): Promise<void>;

  /** Resolves only when the guest is certainly gone. Errors: `StopFailed`, `UnitUnknown`. */
  stop(guest: GuestDefinition, options: StopOptions): Promise<void>;

  /** Keeps the guest from writing until the returned function is called; nothing to do for one that does not run. */
  quiesce(guest: GuestDefinition, level: "Freeze" | "Pause"): Promise<() => Promise<void>>;
}
