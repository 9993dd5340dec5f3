/** What the planning of a rollout is given, and what it remembers. */
import type { CorosyncConfig } from "./corosync-config.ts";
import type { QDeviceWish } from "./qdevice.ts";

/** What is published to the agents, and what has to be remembered to go on after a restart. */
export interface Published {
  readonly version: number;
  readonly config: CorosyncConfig;
  /** Nodes whose corosync may run, by name. */
  readonly admitted: readonly string[];
  /** The cluster was quorate once. Before that there is nothing to protect. */
  readonly formed: boolean;
  /** No id up to this one is given out again: its node could come back. */
  readonly highestNodeId: number;
  /** What was in force before, to go back to when a member does not take the change. */
  readonly before?: CorosyncConfig;
  /** Links that the change added; it is only done when they are up everywhere. */
  readonly addedLinks?: readonly number[];
  /** A change that was reverted: not tried again until something else is wanted, or for a while. */
  readonly refused?: { readonly config: CorosyncConfig; readonly node: string; readonly reason: string };
}

/** What the objects ask for, with everything resolved that can be. */
export interface Desired {
  readonly clusterName: string;
  readonly cipher: CorosyncConfig["cipher"];
  readonly hash: CorosyncConfig["hash"];
  readonly tokenMilliseconds: number;
  readonly tokenCoefficientMilliseconds: number;
  readonly realtime: boolean;
  readonly links: readonly DesiredLink[];
  /** In the order in which they shall join. */
  readonly nodes: readonly DesiredNode[];
  /** A ClusterNode that has no id yet, so that it is not among the nodes. */
  readonly unnumbered?: string;
  readonly qdevice?: QDeviceWish;
  readonly override?: { readonly expectedVotes: number };
  /** Why settings of the whole cluster are not rolled out as they are; nodes still come and go. */
  readonly settingsHeld?: string;
  /**
   * Why cipher and hash must stay as they are. While one member has changed them and another has not, the two do not hear
   * each other: that costs quorum for a moment, which an armed watchdog does not forgive.
   */
  readonly cryptoHeld?: string;
}

export interface DesiredLink {
  readonly number: number;
  readonly priority: number;
  /** By node name, for the nodes that have one. */
  readonly addresses: ReadonlyMap<string, { readonly address: string; readonly hostName?: string }>;
}

export interface DesiredNode {
  readonly name: string;
  readonly nodeId: number;
  readonly votes: number;
  /** Undefined: it may join. Else why not yet. */
  readonly notReady?: string;
  /** The node shall leave. */
  readonly leaving?: {
    /** Undefined: nothing needs it any more (guests, jobs). Else what does. */
    readonly neededBy?: string;
    /** Undefined: its corosync cannot be running. Else what is missing for that. */
    readonly notOff?: string;
  };
}

/** What the agents say. */
export interface Observed {
  readonly nodes: ReadonlyMap<string, NodeObserved>;
  /** Ids of the quorate membership that a majority agrees on; undefined when there is none. */
  readonly membership: ReadonlySet<number> | undefined;
  /** How long the published configuration has been so, as this controller saw it. */
  readonly publishedForMs: number;
  /** How long the first agent has been there, as this controller saw it; for forming a cluster. */
  readonly agentsForMs: number;
  /** How long the same ClusterNodes have been declared, as this controller saw it; for forming a cluster. */
  readonly declaredForMs: number;
}

export interface NodeObserved {
  /** Its agent renews its Lease. */
  readonly alive: boolean;
  readonly running: boolean;
  /** Version of the configuration that its corosync runs; 0 when unknown. */
  readonly version: number;
  /** What its last load said when it did not work. */
  readonly loadProblem?: { readonly version: number; readonly message: string };
  /** Links over which it reaches all other members, with the address they are bound to. */
  readonly linksUp: ReadonlyMap<number, string>;
}

export interface Step {
  /** CamelCase; `Stable` when nothing is to be done. */
  readonly step: string;
  readonly node?: string;
  readonly reason: string;
}

/** A member that has not loaded a change after this long makes it revert. */
export const LOAD_DEADLINE_MS = 30_000;
/** A reverted change is tried once more after this long. */
export const REFUSED_FOR_MS = 600_000;
/** How long the ClusterNodes must have been the same when a cluster forms: those of one `kubectl apply` come one after the other. */
export const FORMING_SETTLE_MS = 1_000;
/** How long the forming of a cluster waits for the agents of all its nodes. */
export const FORMING_PATIENCE_MS = 20_000;
