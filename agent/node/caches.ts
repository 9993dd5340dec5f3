import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  type ClusterNode,
  GUESTS,
  type Guest,
  HA_RESOURCES,
  type HAResource,
  REPLICATION_JOBS,
  type ReplicationJob,
} from "../../crds/index.ts";
import {
  CONFIG_MAPS,
  type ConfigMap,
  type KubeObject,
  type ResourceType,
  SECRETS,
  type Secret,
  WatchCache,
} from "../../kube/index.ts";
import type { NodeAgentOptions } from "./options.ts";

/**
 * A stream over which nothing happens ends after 30 s and begins anew: older than that, it is out of touch. A server that is away is
 * noticed before, by the renewals of the Lease.
 */
const STORE_FRESH_MS = 35_000;

/** The objects of one cluster that its agents read. Everything below is what the caches hold now; nothing asks the server. */
export class NodeCaches {
  readonly #node: string;
  readonly #namespace: string;
  readonly #clusters: WatchCache<Cluster>;
  readonly #nodes: WatchCache<ClusterNode>;
  readonly #guests: WatchCache<Guest>;
  readonly #resources: WatchCache<HAResource>;
  readonly #jobs: WatchCache<ReplicationJob>;
  readonly #config: WatchCache<ConfigMap>;
  readonly #key: WatchCache<Secret>;

  constructor(
    options: Pick<NodeAgentOptions, "node" | "namespace" | "client" | "clock" | "log">,
    onChange: () => void,
  ) {
    const { client, clock, log, namespace, node } = options;
    this.#node = node;
    this.#namespace = namespace;
    const cache = <T extends KubeObject>(type: ResourceType<T>, selector: { fieldSelector?: string } = {}) =>
      new WatchCache({ client, type, namespace, onChange, name: `agent-${type.plural}`, clock, log, ...selector });
    this.#clusters = cache(CLUSTERS);
    this.#nodes = cache(CLUSTER_NODES);
    this.#guests = cache(GUESTS);
    this.#resources = cache(HA_RESOURCES);
    this.#jobs = cache(REPLICATION_JOBS);
    this.#config = cache(CONFIG_MAPS, { fieldSelector: "metadata.name=quorate-corosync" });
    this.#key = cache(SECRETS, { fieldSelector: "metadata.name=quorate-corosync-key" });
  }

  /** @returns when all have the server's list. */
  async start(): Promise<void> {
    await Promise.all(this.#all.map((each) => each.start()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((each) => each.stop()));
  }

  /** For who lets peers in and must know how old what is known is. */
  get admission(): { readonly nodes: WatchCache<ClusterNode>; readonly guests: WatchCache<Guest> } {
    return { nodes: this.#nodes, guests: this.#guests };
  }

  /** They hear from the API server. */
  get readable(): boolean {
    return this.#all.every((cache) => cache.synced) && this.#resources.lastSeenAgeMs() < STORE_FRESH_MS;
  }

  /** The oldest, where there is more than one. */
  cluster(): Cluster | undefined {
    return [...this.#clusters.list(this.#namespace)].sort((a, b) =>
      (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? ""),
    )[0];
  }

  self(): ClusterNode | undefined {
    return this.node(this.#node);
  }

  node(name: string): ClusterNode | undefined {
    return this.#nodes.get(`${this.#namespace}/${name}`);
  }

  nodes(): readonly ClusterNode[] {
    return this.#nodes.list(this.#namespace);
  }

  guest(name: string): Guest | undefined {
    return this.#guests.get(`${this.#namespace}/${name}`);
  }

  guests(): readonly Guest[] {
    return this.#guests.list(this.#namespace);
  }

  resource(name: string): HAResource | undefined {
    return this.#resources.get(`${this.#namespace}/${name}`);
  }

  resources(): readonly HAResource[] {
    return this.#resources.list(this.#namespace);
  }

  jobs(): readonly ReplicationJob[] {
    return this.#jobs.list(this.#namespace);
  }

  /** What the membership controller published for corosync. */
  corosyncConfig(): ConfigMap | undefined {
    return this.#config.get(`${this.#namespace}/quorate-corosync`);
  }

  corosyncKey(): Secret | undefined {
    return this.#key.get(`${this.#namespace}/quorate-corosync-key`);
  }

  get #all() {
    return [this.#clusters, this.#nodes, this.#guests, this.#resources, this.#jobs, this.#config, this.#key] as const;
  }
}
