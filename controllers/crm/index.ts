import type { Clock } from "../../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  GUESTS,
  HA_GROUPS,
  HA_RESOURCES,
  HA_RULES,
  MEMBERSHIP_ANNOTATION,
  MIGRATIONS,
  MODE_ANNOTATION,
  REPLICATION_JOBS,
} from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import {
  counter,
  EventRecorder,
  gauge,
  histogram,
  type KubeClient,
  type KubeObject,
  LEASES,
  type Lease,
  leaseEpoch,
  leaseHolder,
  parseKey,
  type ResourceType,
  WatchCache,
} from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { ClusterCrm, type Leadership } from "./cluster-crm.ts";
import type { ClusterObjects } from "./objects.ts";

export type { Leadership } from "./cluster-crm.ts";

export interface CrmOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** The pod, in events. */
  readonly instance: string;
  /** How often agents renew their Leases; for measurements with more agents than a machine can play [2000]. */
  readonly leaseRenewalMilliseconds?: number;
}

const LOOK_MS = 250;
/** Caches that have not heard from the API server for this long are not acted on. */
const STALE_MS = 5_000;
const roundSeconds = histogram("quorate_crm_round_seconds", "Time of one HA round of a cluster, with its writes.", [
  "namespace",
]);
const roundFailures = counter("quorate_crm_round_failures_total", "HA rounds that ended with an error.", [
  "namespace",
  "reason",
]);
const clusters = gauge("quorate_crm_clusters", "Clusters that this replica watches.");

interface Entry {
  readonly crm: ClusterCrm;
  busy: boolean;
  due: boolean;
}

/**
 * The HA part (CRM) of all clusters. `start` watches; `lead` acts, from the moment this replica leads until the leadership's
 * signal aborts. A cluster whose round fails does not hold up the others.
 */
export class Crm {
  readonly #options: CrmOptions;
  readonly #log: Logger;
  readonly #events: EventRecorder;
  readonly #clusters = new Map<string, Entry>();
  readonly #caches;
  readonly #saidByLeases = new Map<string, string>();
  #leadership: Leadership | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: CrmOptions) {
    this.#options = options;
    this.#log = options.log.child({ controller: "ha" });
    this.#events = new EventRecorder({
      client: options.client,
      controller: "quorate.dev/ha",
      instance: options.instance,
      clock: options.clock,
      log: this.#log,
    });
    const changed = (key: string) => this.#changed(parseKey(key).namespace ?? "");
    const cache = <T extends KubeObject>(type: ResourceType<T>, onChange = changed) =>
      new WatchCache({
        client: options.client,
        type,
        onChange,
        name: `ha-${type.plural}`,
        clock: options.clock,
        log: this.#log,
      });
    this.#caches = {
      clusters: cache(CLUSTERS),
      nodes: cache(CLUSTER_NODES),
      guests: cache(GUESTS),
      resources: cache(HA_RESOURCES),
      groups: cache(HA_GROUPS),
      rules: cache(HA_RULES),
      jobs: cache(REPLICATION_JOBS),
      migrations: cache(MIGRATIONS),
      leases: cache(LEASES, (key) => this.#leaseChanged(key)),
    };
  }

  /** Resolves when every cache holds what the API server has. */
  async start(): Promise<void> {
    await Promise.all(Object.values(this.#caches).map((each) => each.start()));
    this.#timer = setInterval(() => this.#tick(), LOOK_MS);
    this.#tick();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(Object.values(this.#caches).map((each) => each.stop()));
    await this.#events.stop();
  }

  /** What keeps this part from doing its work; undefined: nothing. */
  health(): string | undefined {
    const age = this.#caches.leases.lastSeenAgeMs();
    return age > 60_000 ? `the API server has not been heard for ${Math.round(age / 1000)} s` : undefined;
  }

  async lead(leadership: Leadership): Promise<void> {
    this.#leadership = leadership;
    this.#tick();
    await new Promise<void>((resolve) => {
      if (leadership.signal.aborted) resolve();
      else leadership.signal.addEventListener("abort", () => resolve(), { once: true });
    });
    this.#leadership = undefined;
    for (const { crm } of this.#clusters.values()) crm.forget();
  }

  #tick(): void {
    const namespaces = new Set(this.#caches.clusters.list().map((cluster) => cluster.metadata.namespace ?? ""));
    for (const namespace of namespaces) {
      const entry = this.#look(namespace);
      if (entry?.crm.needsRound()) this.#act(namespace, entry);
    }
    for (const [namespace, { crm }] of this.#clusters) {
      if (namespaces.has(namespace)) continue;
      crm.forget();
      this.#clusters.delete(namespace);
    }
    clusters.set(this.#clusters.size);
  }

  /**
   * Renewals come every two seconds from every node. One that says nothing new waits for the next look, a quarter of a second, unless
   * a proof waits for it.
   */
  #leaseChanged(key: string): void {
    const lease = this.#caches.leases.get(key);
    const said = saidBy(lease);
    const { namespace = "" } = parseKey(key);
    if (this.#saidByLeases.get(key) === said) {
      const entry = this.#clusters.get(namespace);
      if (entry?.crm.waitsForRenewals !== true) return;
      this.#look(namespace);
      if (entry.crm.needsRound()) this.#act(namespace, entry);
      return;
    }
    if (lease === undefined) this.#saidByLeases.delete(key);
    else this.#saidByLeases.set(key, said);
    this.#look(namespace);
    this.#changed(namespace);
  }

  /** Acts at once, in the leader; a round begins with a look. */
  #changed(namespace: string): void {
    const entry = this.#entry(namespace);
    if (entry === undefined) return;
    entry.crm.changed();
    this.#act(namespace, entry);
  }

  /** In every replica. */
  #look(namespace: string): Entry | undefined {
    const entry = this.#entry(namespace);
    try {
      entry?.crm.look();
    } catch (error) {
      this.#log.error({ namespace, err: classify(error) }, "leases could not be looked at");
    }
    return entry;
  }

  /** One round at a time for a cluster. */
  #act(namespace: string, entry: Entry): void {
    if (this.#leadership === undefined) return;
    entry.due = true;
    if (!entry.busy) void this.#rounds(namespace, entry);
  }

  async #rounds(namespace: string, entry: Entry): Promise<void> {
    entry.busy = true;
    try {
      while (entry.due && this.#leadership !== undefined && !this.#leadership.signal.aborted) {
        entry.due = false;
        const end = roundSeconds.startTimer({ namespace });
        try {
          await entry.crm.round(this.#leadership);
        } catch (error) {
          const failure = classify(error);
          roundFailures.inc({ namespace, reason: failure.reason });
          this.#log.warn(
            { namespace, reason: failure.reason, ...(failure.class === "bug" ? { err: failure } : {}) },
            failure.message,
          );
        } finally {
          end();
        }
      }
    } finally {
      entry.busy = false;
    }
  }

  #entry(namespace: string): Entry | undefined {
    const known = this.#clusters.get(namespace);
    if (known !== undefined) return known;
    if (clusterOf(this.#caches.clusters.list(namespace)) === undefined) return undefined;
    const { client, clock, leaseRenewalMilliseconds } = this.#options;
    const log = this.#log.child({ namespace });
    const crm = new ClusterCrm({
      namespace,
      client,
      clock,
      ...(leaseRenewalMilliseconds === undefined ? {} : { leaseRenewalMilliseconds }),
      log,
      events: this.#events,
      objects: () => this.#objects(namespace),
    });
    const entry = { crm, busy: false, due: false };
    this.#clusters.set(namespace, entry);
    return entry;
  }

  #objects(namespace: string): ClusterObjects | undefined {
    const caches = this.#caches;
    if (Object.values(caches).some((each) => !each.synced) || caches.leases.lastSeenAgeMs() > STALE_MS)
      return undefined;
    const cluster = clusterOf(caches.clusters.list(namespace));
    if (cluster === undefined) return undefined;
    return {
      cluster,
      nodes: caches.nodes.list(namespace),
      guests: caches.guests.list(namespace),
      resources: caches.resources.list(namespace),
      groups: caches.groups.list(namespace),
      rules: caches.rules.list(namespace),
      jobs: caches.jobs.list(namespace),
      migrations: caches.migrations.list(namespace),
      leases: caches.leases.list(namespace),
    };
  }
}

/** The oldest one counts; a second Cluster in a namespace is refused by the membership controller. */
function clusterOf(all: readonly Cluster[]): Cluster | undefined {
  return [...all].sort(
    (a, b) =>
      (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? "") ||
      a.metadata.name.localeCompare(b.metadata.name),
  )[0];
}

/** All of a Lease that is decided by, but that it was renewed. */
function saidBy(lease: Lease | undefined): string {
  if (lease === undefined) return "";
  const { [MEMBERSHIP_ANNOTATION]: membership, [MODE_ANNOTATION]: mode } = lease.metadata.annotations ?? {};
  return JSON.stringify([leaseHolder(lease), leaseEpoch(lease), membership, mode]);
}
