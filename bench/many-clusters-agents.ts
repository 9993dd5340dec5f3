/**
 * All agents of the bench many-clusters, in one process: they renew Leases, answer commands with Ok, report guests as running, and
 * load what membership publishes. What real agents do beyond that (measured load, a watch of their own each) they do not do.
 */
import { systemClock } from "../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  GUESTS,
  HA_RESOURCES,
  type HAResource,
  MEMBERSHIP_ANNOTATION,
  MODE_ANNOTATION,
  type NodeMembership,
  nodeLeaseName,
} from "../crds/index.ts";
import { classify } from "../errors.ts";
import {
  CONFIG_MAPS,
  createLease,
  KubeClient,
  LEASES,
  type Lease,
  NAMESPACES,
  parseKey,
  renewLease,
  WatchCache,
  WorkQueue,
} from "../kube/index.ts";
import { answerParent } from "./child.ts";
import {
  clusterOf,
  namespaces,
  nodeNames,
  nodeSpec,
  nodeStatus,
  RESOURCE,
  serviceOf,
  startedOn,
  type WorldSize,
} from "./many-clusters-objects.ts";
import { quantile } from "./statistics.ts";

export interface AgentsProgress {
  readonly services: number;
  /** Started, answered, reported as running, with an id. */
  readonly settled: number;
  readonly renewalsPerSecond: number;
  /** Between two renewals of one Lease, in milliseconds, since the last time this was asked. */
  readonly renewalGapP99: number;
  readonly failures: number;
}

export interface Losses {
  /** Milliseconds from the earliest possible proof of the loss to what was written, of each cluster. */
  readonly firstRecovery: number[];
  readonly lastRecovery: number[];
  /** From the first possible proof of all clusters to the last recovery of all. */
  readonly all: number;
  readonly services: number;
}

interface Agent {
  readonly namespace: string;
  readonly index: number;
  readonly name: string;
  lease: Lease | undefined;
  renewedAt: number;
  busy: boolean;
}

interface Ring {
  version: number;
  sequence: number;
  members: number[];
  lostAt?: number;
  provenFrom?: number;
  recoveries: number[];
  expected: number;
}

const WRITES = 48;
const PACE_MS = 50;
const [sizeText = "{}", kubeconfig] = process.argv.slice(2);
const size = JSON.parse(sizeText) as WorldSize;
const client = KubeClient.fromKubeconfig(kubeconfig, { timeoutMs: 60_000, userAgent: "quorate-bench-agents" });
const names = nodeNames(size);
const rings = new Map<string, Ring>();
const agents: Agent[] = [];
let renewals = 0;
let failures = 0;
let gaps: number[] = [];
let since = performance.now();

/** Runs the work on all, so many at a time. */
async function each<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const queue = all.values();
  await Promise.all(
    Array.from({ length: WRITES }, async () => {
      for (const one of queue) await work(one);
    }),
  );
}

function reportOf(namespace: string, index: number): NodeMembership | undefined {
  const ring = rings.get(namespace);
  const nodeId = index + 1;
  if (ring === undefined || !ring.members.includes(nodeId)) return undefined;
  return {
    ringId: `1.${ring.sequence.toString(16)}`,
    quorate: ring.members.length > size.nodes / 2,
    members: ring.members,
    nodeId,
  };
}

function annotationsOf({ namespace, index }: Agent): Record<string, string> {
  return { [MEMBERSHIP_ANNOTATION]: JSON.stringify(reportOf(namespace, index) ?? null), [MODE_ANNOTATION]: "Active" };
}

/** Clusters come last: by then their agents are there, so that all nodes form them at once. */
async function populate(): Promise<number> {
  const from = performance.now();
  const all = namespaces(size);
  await each(all, (name) => client.create(NAMESPACES, { metadata: { name } }));
  for (const namespace of all) {
    rings.set(namespace, { version: 0, sequence: 4, members: [], recoveries: [], expected: 0 });
    for (const [index, name] of names.entries())
      agents.push({ namespace, index, name, lease: undefined, renewedAt: 0, busy: false });
  }
  await each(agents, async (agent) => {
    const { namespace, name, index } = agent;
    const metadata = { name, namespace };
    await client.create(CLUSTER_NODES, { metadata, spec: nodeSpec(index) } as never);
    await writeNode(agent);
    const claim = {
      holder: `${name}/boot-1`,
      durationSeconds: 5 * size.renewalSeconds,
      annotations: annotationsOf(agent),
    };
    agent.lease = await createLease(client, { namespace, name: nodeLeaseName(name) }, claim);
    agent.renewedAt = performance.now();
  });
  const services = all.flatMap((namespace) =>
    Array.from({ length: size.services }, (_, i) => ({ namespace, ...serviceOf(i, size) })),
  );
  await each(services, async ({ namespace, name, node, spec }) => {
    const metadata = { name, namespace };
    await client.create(GUESTS, { metadata, spec } as never);
    await client.create(HA_RESOURCES, { metadata, spec: RESOURCE } as never);
    if (!size.running) return;
    const options = { fieldManager: `quorate-agent-${node}`, force: true };
    await client.applyStatus(GUESTS, { metadata, status: { kind: "Service", state: "Running", node } }, options);
    await client.applyStatus(HA_RESOURCES, { metadata, status: startedOn(node) }, options);
  });
  const { name, spec } = clusterOf(size);
  await each(all, (namespace) => client.create(CLUSTERS, { metadata: { name, namespace }, spec } as never));
  return performance.now() - from;
}

async function writeNode({ namespace, name, index }: Agent): Promise<void> {
  const report = reportOf(namespace, index);
  const version = rings.get(namespace)?.version ?? 0;
  const status = nodeStatus(index, report === undefined ? undefined : { version, report });
  const options = { fieldManager: `quorate-agent-${name}`, force: true };
  await client.applyStatus(CLUSTER_NODES, { metadata: { name, namespace }, status }, options);
}

async function renew(agent: Agent): Promise<void> {
  if (agent.lease === undefined || agent.busy) return;
  agent.busy = true;
  try {
    agent.lease = await renewLease(client, agent.lease, { annotations: annotationsOf(agent) });
    const now = performance.now();
    gaps.push(now - agent.renewedAt);
    agent.renewedAt = now;
    renewals += 1;
  } catch (error) {
    failures += 1;
    if (classify(error).reason === "Conflict")
      agent.lease = await client.get(LEASES, { namespace: agent.namespace, name: nodeLeaseName(agent.name) });
  } finally {
    agent.busy = false;
  }
}

/** All agents in turn, evenly over the interval; who is behind is late, not skipped. */
function renewAll(): void {
  let next = 0;
  const began = performance.now();
  setInterval(() => {
    const due = ((performance.now() - began) / (size.renewalSeconds * 1000)) * agents.length;
    for (; next < due; next += 1) {
      const agent = agents[next % agents.length];
      if (agent !== undefined && !isLost(agent)) void renew(agent).catch(() => undefined);
    }
  }, PACE_MS);
}

function isLost({ namespace, index }: Agent): boolean {
  const ring = rings.get(namespace);
  return ring?.lostAt !== undefined && !ring.members.includes(index + 1);
}

function loadPublished(key: string): void {
  const { namespace = "", name } = parseKey(key);
  const ring = rings.get(namespace);
  if (name !== "quorate-corosync" || ring === undefined || ring.lostAt !== undefined) return;
  const data = configMaps.get(key)?.data;
  const admitted = JSON.parse(data?.admitted ?? "[]") as string[];
  const version = Number(data?.version ?? 0);
  const members = admitted.map((node) => names.indexOf(node) + 1).sort((a, b) => a - b);
  if (ring.version === version && members.join() === ring.members.join()) return;
  Object.assign(ring, { version, members, sequence: ring.sequence + 4 });
  const own = agents.filter((agent) => agent.namespace === namespace);
  void Promise.all(own.map((agent) => writeNode(agent).then(() => renew(agent)))).catch(() => {
    failures += 1;
  });
}

function seen(key: string): void {
  const resource = resources.get(key);
  if (resource === undefined) return;
  const { command, result, node } = resource.status ?? {};
  if (command !== undefined && node !== undefined && result?.uid !== command.uid) queue.add(key);
  const ring = rings.get(resource.metadata.namespace ?? "");
  if (ring?.lostAt === undefined || resource.status?.lastFailover === undefined || recovered.has(key)) return;
  recovered.add(key);
  ring.recoveries.push(performance.now());
}

async function answer(key: string): Promise<void> {
  const resource = resources.get(key);
  const { command, result, node = "" } = resource?.status ?? {};
  if (resource === undefined || command === undefined || result?.uid === command.uid) return;
  const { name, namespace = "" } = resource.metadata;
  if (isLost({ namespace, index: names.indexOf(node) } as Agent)) return;
  const options = { fieldManager: `quorate-agent-${node}`, force: true };
  const metadata = { name, namespace };
  if (guests.get(key)?.status?.node !== node)
    await client.applyStatus(GUESTS, { metadata, status: { kind: "Service", state: "Running", node } }, options);
  await client.applyStatus(
    HA_RESOURCES,
    { metadata, status: { result: { uid: command.uid, outcome: "Ok" } } },
    options,
  );
}

const queue = new WorkQueue({ name: "agents", reconcile: answer, concurrency: WRITES });
const configMaps = new WatchCache({
  client,
  type: CONFIG_MAPS,
  fieldSelector: "metadata.name=quorate-corosync",
  onChange: loadPublished,
});
const resources = new WatchCache({ client, type: HA_RESOURCES, onChange: seen });
const guests = new WatchCache({ client, type: GUESTS });
const recovered = new Set<string>();

function isSettled({ metadata, spec, status }: HAResource): boolean {
  const guest = guests.get(`${metadata.namespace}/${metadata.name}`);
  return (
    spec.state === "Started" &&
    status?.state === "Started" &&
    status.result?.uid === status.command?.uid &&
    guest?.spec.vmid !== undefined &&
    guest.status?.node === status.node
  );
}

function progress(): AgentsProgress {
  const seconds = (performance.now() - since) / 1000;
  const all = resources.list();
  const told: AgentsProgress = {
    services: all.length,
    settled: all.filter(isSettled).length,
    renewalsPerSecond: renewals / seconds,
    renewalGapP99: quantile(gaps, 0.99),
    failures,
  };
  since = performance.now();
  renewals = 0;
  gaps = [];
  return told;
}

/** The last node of so many clusters falls silent, and the others say so at once. */
async function lose({ clusters, proofMs }: { clusters: number; proofMs: number }): Promise<Losses> {
  const lost = namespaces(size).slice(0, clusters);
  const majority = Math.floor(size.nodes / 2) + 1;
  const node = names.at(-1);
  for (const namespace of lost) {
    const ring = rings.get(namespace);
    if (ring === undefined) continue;
    ring.expected = resources.list(namespace).filter(({ status }) => status?.node === node).length;
    Object.assign(ring, { lostAt: performance.now(), members: ring.members.slice(0, -1), sequence: ring.sequence + 4 });
  }
  await each(lost, async (namespace) => {
    const ring = rings.get(namespace);
    if (ring === undefined) return;
    let told = 0;
    for (const agent of agents.filter((one) => one.namespace === namespace && !isLost(one))) {
      while (agent.busy) await systemClock.sleep(5);
      await renew(agent);
      told += 1;
      if (told === majority) ring.provenFrom = performance.now() + proofMs;
    }
  });
  const own = lost.flatMap((namespace) => rings.get(namespace) ?? []);
  const limit = performance.now() + proofMs + 600_000;
  while (own.some((ring) => ring.recoveries.length < ring.expected) && performance.now() < limit)
    await systemClock.sleep(100);
  const last = own.map((ring) => Math.max(...ring.recoveries));
  const proven = own.map((ring) => ring.provenFrom ?? Number.NaN);
  return {
    firstRecovery: own.map((ring) => Math.min(...ring.recoveries) - (ring.provenFrom ?? Number.NaN)),
    lastRecovery: own.map((ring) => Math.max(...ring.recoveries) - (ring.provenFrom ?? Number.NaN)),
    all: Math.max(...last) - Math.min(...proven),
    services: own.reduce((total, ring) => total + ring.recoveries.length, 0),
  };
}

answerParent({
  populate: async () => {
    const took = await populate();
    renewAll();
    await Promise.all([configMaps.start(), resources.start(), guests.start()]);
    return took;
  },
  progress: async () => progress(),
  lose,
});
