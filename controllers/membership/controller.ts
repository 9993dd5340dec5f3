import { type Clock, systemClock } from "../../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  type ClusterNode,
  GUESTS,
  type Guest,
  nodeLeaseName,
  nodeOfLease,
  REPLICATION_JOBS,
  type ReplicationJob,
} from "../../crds/index.ts";
import { classify, type QuorateError } from "../../errors.ts";
import {
  CONFIG_MAPS,
  type ConfigMap,
  type EventRecorder,
  type KubeApi,
  type KubeObject,
  LEASES,
  type Lease,
  parseKey,
  type ResourceType,
  WatchCache,
  type WatchCacheOptions,
  WorkQueue,
} from "../../kube/index.ts";
import { type Logger, processLog } from "../../log.ts";
import { ownStatusDiffers } from "../conditions.ts";
import { LeaseAges, leaseContent } from "./agents.ts";
import { CLUSTER_CONDITIONS, CLUSTER_STATUS_KEYS } from "./cluster-status.ts";
import { HostNames, hostNamesOf, resolveHere } from "./host-names.ts";
import { NODE_CONDITIONS, NODE_STATUS_KEYS } from "./node-status.ts";
import { type Plan, planMembership, type View } from "./plan.ts";
import { CONFIG_NAME, ensureKey, publish, readPublished } from "./publication.ts";
import { QuietPlans } from "./quiet-plans.ts";
import { isLeaving } from "./removal.ts";
import type { Published } from "./rollout-types.ts";

const FIELD_MANAGER = "quorate-membership";
const FINALIZER = "quorate.dev/membership";
/** Ages of Leases are looked at this often; a change of an object is taken up at once. */
const LOOK_EVERY_MS = 1_000;
const KEY_TTL_MS = 30_000;

export interface MembershipOptions {
  client: KubeApi;
  events?: Pick<EventRecorder, "event">;
  clock?: Clock;
  log?: Logger;
  /** The address a host name has now; undefined when it has none [the host's resolver]. */
  resolve?: (name: string) => Promise<string | undefined>;
  /** How often agents renew their Leases; for measurements with more agents than a machine can play [2000]. */
  leaseRenewalMilliseconds?: number;
}

export interface RunningController {
  /** Nothing is written after it resolves. */
  stop(): Promise<void>;
}

/** Starts the membership controller for all namespaces. Only the leader of the controllers may run it. Resolves when its caches are filled. */
export async function startMembership(options: MembershipOptions): Promise<RunningController> {
  const controller = new MembershipController(options);
  await controller.start();
  return controller;
}

/** What a namespace was like when it was last looked at, for durations. Lost with the process: then they start again. */
interface Memory {
  published: string;
  publishedSinceMs: number;
  agentsSinceMs: number | undefined;
  /** Names of the ClusterNodes. */
  declared: string;
  declaredSinceMs: number;
  keyGoodUntilMs: number;
}

class MembershipController implements RunningController {
  readonly #client: KubeApi;
  readonly #events: Pick<EventRecorder, "event"> | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #queue: WorkQueue;
  readonly #clusters: WatchCache<Cluster>;
  readonly #nodes: WatchCache<ClusterNode>;
  readonly #guests: WatchCache<Guest>;
  readonly #jobs: WatchCache<ReplicationJob>;
  readonly #leases: WatchCache<Lease>;
  readonly #configMaps: WatchCache<ConfigMap>;
  readonly #ages: LeaseAges;
  #filled = false;
  readonly #memory = new Map<string, Memory>();
  readonly #leaseContents = new Map<string, string>();
  readonly #quiet = new QuietPlans();
  readonly #names: HostNames;

  constructor(options: MembershipOptions) {
    this.#client = options.client;
    this.#events = options.events;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? processLog("membership");
    this.#names = new HostNames(options.resolve ?? resolveHere, this.#clock);
    this.#queue = new WorkQueue({
      name: "membership",
      reconcile: (namespace) => this.#reconcile(namespace),
      clock: this.#clock,
      log: this.#log,
    });
    // What is not there yet must not be taken for what is not there: nothing is looked at before all caches are filled.
    const wake = (key: string) => {
      if (this.#filled) this.#changed(parseKey(key).namespace ?? "");
    };
    const wakeIfLeaving = (key: string) => {
      const { namespace } = parseKey(key);
      if (this.#nodes.list(namespace).some(isLeaving)) wake(key);
    };
    this.#clusters = this.#cache(CLUSTERS, wake);
    this.#nodes = this.#cache(CLUSTER_NODES, wake);
    this.#guests = this.#cache(GUESTS, wakeIfLeaving);
    this.#jobs = this.#cache(REPLICATION_JOBS, wakeIfLeaving);
    this.#leases = this.#cache(LEASES, (key) => this.#leaseChanged(key));
    this.#configMaps = this.#cache(CONFIG_MAPS, wake, { fieldSelector: `metadata.name=${CONFIG_NAME}` });
    this.#ages = new LeaseAges(this.#leases, this.#clock, 5 * (options.leaseRenewalMilliseconds ?? 2_000));
  }

  async start(): Promise<void> {
    await Promise.all(this.#caches.map((cache) => cache.start()));
    this.#filled = true;
    for (const { metadata } of [...this.#clusters.list(), ...this.#nodes.list()])
      this.#queue.add(metadata.namespace ?? "");
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
    await Promise.all(this.#caches.map((cache) => cache.stop()));
  }

  get #caches(): WatchCache<never>[] {
    const all = [this.#clusters, this.#nodes, this.#guests, this.#jobs, this.#leases, this.#configMaps];
    return all as unknown as WatchCache<never>[];
  }

  #cache<T extends KubeObject>(
    type: ResourceType<T>,
    onChange: (key: string) => void,
    more: Partial<WatchCacheOptions<T>> = {},
  ): WatchCache<T> {
    return new WatchCache({
      client: this.#client,
      type,
      onChange,
      name: `membership-${type.plural}`,
      clock: this.#clock,
      log: this.#log,
      ...more,
    });
  }

  /** Renewals come every two seconds from every node; only what they say wakes the queue. */
  #leaseChanged(key: string): void {
    const { namespace = "", name } = parseKey(key);
    if (nodeOfLease(name) === undefined) return;
    this.#ages.changed(key);
    const lease = this.#leases.get(key);
    const content = leaseContent(lease);
    if (this.#leaseContents.get(key) === content) return;
    if (lease === undefined) this.#leaseContents.delete(key);
    else this.#leaseContents.set(key, content);
    if (this.#filled) this.#changed(namespace);
  }

  #changed(namespace: string): void {
    this.#quiet.changed(namespace);
    this.#queue.add(namespace);
  }

  async #reconcile(namespace: string): Promise<{ requeueAfterMs: number } | undefined> {
    const now = this.#clock.elapsedMs();
    const sights = this.#nodes.list(namespace).map(({ metadata }) => this.#ages.read(namespace, metadata.name).sight);
    const known = this.#quiet.known(namespace, sights);
    if (!this.#quiet.isDue(namespace, known, now)) return { requeueAfterMs: LOOK_EVERY_MS };
    const { view, configMap } = await this.#look(namespace);
    if (view.clusters.length === 0 && view.nodes.length === 0) {
      this.#memory.delete(namespace);
      this.#quiet.forget(namespace);
      return undefined;
    }
    const plan = planMembership(view);
    // What a write changed comes back as a change.
    this.#quiet.planned(namespace, known, now, false);
    await this.#write(namespace, view, plan, configMap);
    const isStable = plan.decision.step === "Stable" && plan.jobsToRemove.length === 0 && plan.released.length === 0;
    this.#quiet.planned(namespace, known, now, isStable);
    return { requeueAfterMs: LOOK_EVERY_MS };
  }

  async #look(namespace: string): Promise<{ view: View; configMap: ConfigMap | undefined }> {
    const nodes = this.#nodes.list(namespace);
    const clusters = this.#clusters.list(namespace);
    const configMap = this.#configMaps.get(`${namespace}/${CONFIG_NAME}`);
    const now = this.#clock.elapsedMs();
    const memory = this.#memory.get(namespace) ?? {
      published: "",
      publishedSinceMs: now,
      agentsSinceMs: undefined,
      declared: "",
      declaredSinceMs: now,
      keyGoodUntilMs: 0,
    };
    this.#memory.set(namespace, memory);

    let published: Published | undefined;
    let obstacle: QuorateError | undefined;
    try {
      published = readPublished(configMap);
      if (clusters.length > 0 && memory.keyGoodUntilMs <= now) {
        const isNew = published === undefined && !nodes.some(({ status }) => status?.corosync?.running);
        await ensureKey(this.#client, namespace, isNew);
        memory.keyGoodUntilMs = now + KEY_TTL_MS;
      }
    } catch (error) {
      obstacle = classify(error);
      if (obstacle.class !== "user") throw error;
    }
    const identity = published === undefined ? "" : `${published.version} ${published.admitted.join()}`;
    if (memory.published !== identity) Object.assign(memory, { published: identity, publishedSinceMs: now });
    const declared = nodes
      .map(({ metadata }) => metadata.name)
      .sort()
      .join();
    if (memory.declared !== declared) Object.assign(memory, { declared, declaredSinceMs: now });
    const agents = new Map(nodes.map(({ metadata: { name } }) => [name, this.#ages.read(namespace, name)]));
    if (memory.agentsSinceMs === undefined && [...agents.values()].some(({ sight }) => sight.state === "Alive"))
      memory.agentsSinceMs = now;
    const view: View = {
      clusters,
      nodes,
      guests: this.#guests.list(namespace),
      jobs: this.#jobs.list(namespace),
      published,
      ...(obstacle === undefined ? {} : { obstacle: { reason: obstacle.reason, message: obstacle.message } }),
      agents,
      resolved: await this.#names.resolve(hostNamesOf(nodes)),
      publishedForMs: now - memory.publishedSinceMs,
      agentsForMs: memory.agentsSinceMs === undefined ? 0 : now - memory.agentsSinceMs,
      declaredForMs: now - memory.declaredSinceMs,
      wallMs: this.#clock.wallMs(),
    };
    return { view, configMap };
  }

  /** Ids first, then the configuration, then what is told of it; what is released last. */
  async #write(namespace: string, view: View, plan: Plan, configMap: ConfigMap | undefined): Promise<void> {
    const { cluster, decision } = plan;
    if (cluster !== undefined) {
      for (const node of view.nodes) await this.#claim(node, plan.nodeIds.get(node.metadata.name));
    }
    if (cluster !== undefined && decision.publish !== undefined) {
      await publish(this.#client, namespace, configMap, decision.publish);
      this.#tell(cluster, plan, view.published);
    }
    for (const [name, status] of plan.clusterStatuses) {
      const object = view.clusters.find(({ metadata }) => metadata.name === name);
      if (object === undefined || !ownStatusDiffers(object.status, status, CLUSTER_STATUS_KEYS, CLUSTER_CONDITIONS))
        continue;
      await this.#client.applyStatus(
        CLUSTERS,
        { metadata: identityOf(object), status },
        { fieldManager: FIELD_MANAGER, force: true },
      );
    }
    for (const [name, status] of plan.nodeStatuses) {
      const object = view.nodes.find(({ metadata }) => metadata.name === name);
      if (object === undefined || !ownStatusDiffers(object.status, status, NODE_STATUS_KEYS, NODE_CONDITIONS)) continue;
      await this.#client.applyStatus(
        CLUSTER_NODES,
        { metadata: identityOf(object), status },
        { fieldManager: FIELD_MANAGER, force: true },
      );
    }
    for (const { metadata } of plan.jobsToRemove)
      await this.#client.delete(REPLICATION_JOBS, { namespace, name: metadata.name });
    for (const node of plan.released) await this.#release(node, cluster);
  }

  /** The finalizer, and the id. Whoever set the id, it stays in what is applied here, because what is left out is removed. */
  async #claim(node: ClusterNode, allocated: number | undefined): Promise<void> {
    const { finalizers = [], deletionTimestamp } = node.metadata;
    const isClaimed = finalizers.includes(FINALIZER) || deletionTimestamp !== undefined;
    if (isClaimed && allocated === undefined) return;
    const nodeId = node.spec.nodeId ?? allocated;
    await this.#client.apply(
      CLUSTER_NODES,
      {
        metadata: { ...identityOf(node), finalizers: [FINALIZER] },
        ...(nodeId === undefined ? {} : { spec: { nodeId } }),
      },
      { fieldManager: FIELD_MANAGER, force: true },
    );
  }

  async #release(node: ClusterNode, cluster: Cluster | undefined): Promise<void> {
    const { namespace = "", name, finalizers = [], resourceVersion = "" } = node.metadata;
    if (!finalizers.includes(FINALIZER)) return;
    await this.#client.delete(LEASES, { namespace, name: nodeLeaseName(name) });
    const metadata = { resourceVersion, finalizers: finalizers.filter((one) => one !== FINALIZER) };
    await this.#client.mergePatch(CLUSTER_NODES, { namespace, name }, { metadata }, { fieldManager: FIELD_MANAGER });
    this.#log.info({ namespace, node: name }, "node removed");
    if (cluster === undefined) return;
    this.#events?.event({
      regarding: cluster,
      type: "Normal",
      reason: "NodeRemoved",
      action: "Remove",
      note: `${name} has left the cluster`,
    });
  }

  #tell(cluster: Cluster, { decision }: Plan, before: Published | undefined): void {
    const { step, reason, publish: now, node } = decision;
    const { namespace } = cluster.metadata;
    this.#log.info({ namespace, step, node, version: now?.version, admitted: now?.admitted }, reason);
    const isWarning = ["Revert", "Override", "Recover"].includes(step);
    const version = now?.version === before?.version ? "" : ` (version ${now?.version})`;
    this.#events?.event({
      regarding: cluster,
      type: isWarning ? "Warning" : "Normal",
      reason: `Config${step}`,
      action: step,
      note: `${reason}${version}`,
    });
  }
}

/** With the uid an apply never makes an object anew that was deleted meanwhile. */
function identityOf({ metadata: { name, namespace, uid } }: KubeObject): {
  name: string;
  namespace: string;
  uid: string;
} {
  return { name, namespace: namespace ?? "", uid: uid ?? "" };
}
