import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  type ClusterNode,
  type Condition,
  GUESTS,
  type Guest,
  HA_GROUPS,
  HA_RESOURCES,
  HA_RULES,
  type HAGroup,
  type HAResource,
  type HARule,
  MIGRATIONS,
  type Migration,
  nodeLeaseName,
  REPLICATION_JOBS,
  type ReplicationJob,
} from "../crds/index.ts";
import { QuorateError } from "../errors.ts";
import { EVENTS, type Event, ForbiddenError, type KubeApi, LEASES, type Lease } from "../kube/index.ts";

/** All objects of one cluster, as read at one moment: what the rendering functions are given. */
export interface ClusterView {
  readonly namespace: string;
  readonly cluster: Cluster;
  readonly nodes: readonly ClusterNode[];
  readonly guests: readonly Guest[];
  readonly resources: readonly HAResource[];
  readonly groups: readonly HAGroup[];
  readonly rules: readonly HARule[];
  readonly jobs: readonly ReplicationJob[];
  readonly migrations: readonly Migration[];
  /** Undefined when the user may not read Leases. */
  readonly leases: readonly Lease[] | undefined;
  /** Wall clock, for ages only. */
  readonly nowMs: number;
}

type Reader = Pick<KubeApi, "list">;

/** @throws QuorateError NoCluster when the namespace holds none; ApiError */
export async function readCluster(client: Reader, namespace: string, nowMs: number): Promise<ClusterView> {
  const cluster = await findCluster(client, namespace);
  const inNamespace = { namespace };
  const [nodes, guests, resources, groups, rules, jobs, migrations, leases] = await Promise.all([
    client.list(CLUSTER_NODES, inNamespace),
    client.list(GUESTS, inNamespace),
    client.list(HA_RESOURCES, inNamespace),
    client.list(HA_GROUPS, inNamespace),
    client.list(HA_RULES, inNamespace),
    client.list(REPLICATION_JOBS, inNamespace),
    client.list(MIGRATIONS, inNamespace),
    leasesIfAllowed(client, namespace),
  ]);
  return {
    namespace,
    cluster,
    nodes: byName(nodes.items),
    guests: byName(guests.items),
    resources: byName(resources.items),
    groups: byName(groups.items),
    rules: byName(rules.items),
    jobs: byName(jobs.items),
    migrations: byName(migrations.items),
    leases,
    nowMs,
  };
}

/** The Cluster of a namespace; of several the oldest, which is the one that counts. @throws QuorateError NoCluster */
export async function findCluster(client: Reader, namespace: string): Promise<Cluster> {
  const { items } = await client.list(CLUSTERS, { namespace });
  const cluster = [...items].sort((a, b) => (seniority(a) < seniority(b) ? -1 : 1))[0];
  if (cluster !== undefined) return cluster;
  const elsewhere = await namespacesWithClusters(client);
  const hint =
    elsewhere === undefined
      ? "name the right namespace with -n"
      : elsewhere.length === 0
        ? "no namespace has one: apply a Cluster first"
        : `name one of these with -n: ${elsewhere.join(", ")}`;
  throw new QuorateError("user", "NoCluster", `namespace "${namespace}" holds no Cluster; ${hint}`);
}

function seniority(cluster: Cluster): string {
  return `${cluster.metadata.creationTimestamp ?? ""} ${cluster.metadata.name}`;
}

async function namespacesWithClusters(client: Reader): Promise<string[] | undefined> {
  const clusters = await ifAllowed(() => client.list(CLUSTERS));
  if (clusters === undefined) return undefined;
  return [...new Set(clusters.items.map(({ metadata }) => metadata.namespace ?? ""))].sort();
}

async function leasesIfAllowed(client: Reader, namespace: string): Promise<Lease[] | undefined> {
  return ifAllowed(async () => (await client.list(LEASES, { namespace })).items);
}

/** The warnings about an object that the API server still has, oldest first; none when the user may not read events. */
export async function readWarnings(client: Reader, namespace: string, kind: string, name: string): Promise<Event[]> {
  const events = await ifAllowed(async () => (await client.list(EVENTS, { namespace })).items);
  return (events ?? [])
    .filter(({ type, regarding }) => type === "Warning" && regarding.kind === kind && regarding.name === name)
    .sort((a, b) => Date.parse(timeOfEvent(a)) - Date.parse(timeOfEvent(b)));
}

/** When it happened last. */
export function timeOfEvent({ series, eventTime, metadata }: Event): string {
  return series?.lastObservedTime ?? eventTime ?? metadata.creationTimestamp ?? "";
}

async function ifAllowed<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ForbiddenError) return undefined;
    throw error;
  }
}

function byName<T extends { metadata: { name: string } }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

/** The Lease that is a node's lock and heartbeat. */
export function leaseOfNode(view: ClusterView, node: string): Lease | undefined {
  return view.leases?.find(({ metadata }) => metadata.name === nodeLeaseName(node));
}

export function conditionOf(object: { status?: { conditions?: Condition[] } }, type: string): Condition | undefined {
  return object.status?.conditions?.find((condition) => condition.type === type);
}
