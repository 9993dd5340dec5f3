/** From a view of one namespace to everything that is to be written there. Pure. */

import type {
  Cluster,
  ClusterNode,
  ClusterNodeStatus,
  ClusterStatus,
  Guest,
  NodeMembership,
  ReplicationJob,
} from "../../crds/index.ts";
import { rfc3339 } from "../../kube/index.ts";
import type { AgentReport } from "./agents.ts";
import { clusterStatus, type OverrideState, secondClusterStatus } from "./cluster-status.ts";
import type { VotingConfig } from "./corosync-config.ts";
import { allocateNodeIds, byAge, type DesiredOutput, desiredFrom, type Problem } from "./desired.ts";
import { nodeStatus } from "./node-status.ts";
import { isLeaving, type RemovalFacts, removalFacts } from "./removal.ts";
import { type Agreement, agree } from "./reports.ts";
import { type Decision, decideRollout } from "./rollout.ts";
import type { NodeObserved, Published } from "./rollout-types.ts";
import { judgeTimings, TOKEN_COEFFICIENT_MS } from "./timings.ts";

/** One namespace, as it is at one moment. */
export interface View {
  readonly clusters: readonly Cluster[];
  readonly nodes: readonly ClusterNode[];
  readonly guests: readonly Guest[];
  readonly jobs: readonly ReplicationJob[];
  readonly published: Published | undefined;
  /** Why nothing can be published: the key is gone, the ConfigMap is broken. */
  readonly obstacle?: Problem;
  /** By node name. */
  readonly agents: ReadonlyMap<string, AgentReport>;
  /** What host names resolve to. */
  readonly resolved: ReadonlyMap<string, string>;
  readonly publishedForMs: number;
  readonly agentsForMs: number;
  readonly declaredForMs: number;
  /** Milliseconds since the epoch, for what objects show and for the end of an override. */
  readonly wallMs: number;
}

export interface Plan {
  /** The Cluster that the namespace belongs to. */
  readonly cluster: Cluster | undefined;
  readonly decision: Decision;
  /** To be put into the ClusterNode's spec. */
  readonly nodeIds: ReadonlyMap<string, number>;
  readonly clusterStatuses: ReadonlyMap<string, ClusterStatus>;
  readonly nodeStatuses: ReadonlyMap<string, ClusterNodeStatus>;
  /** Replication jobs that go with a node that leaves. */
  readonly jobsToRemove: readonly ReplicationJob[];
  /** Nodes that nothing holds any more: their finalizer goes. */
  readonly released: readonly ClusterNode[];
}

/** An override is honoured for a day at most, whatever its expiresAt says. */
const LONGEST_OVERRIDE_MS = 86_400_000;

export function planMembership(view: View): Plan {
  const now = rfc3339(view.wallMs);
  const [cluster, ...others] = view.clusters
    .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    .sort(byAge);
  if (cluster === undefined) return withoutCluster(view);

  const removals = removalsOf(view);
  const override = overrideState(cluster, view.wallMs);
  const agreement = agreementOf(view);
  const { problem: timingsProblem } = judgeTimings(cluster, view.nodes, view.published);
  const output = desiredFrom({
    cluster,
    nodes: view.nodes,
    current: view.published?.config,
    facts: new Map(
      view.nodes.map(({ metadata: { name } }) => [name, { alive: isAlive(view, name), ...removals.get(name) }]),
    ),
    resolved: view.resolved,
    ...(timingsProblem === undefined ? {} : { timingsProblem }),
    tokenCoefficientMilliseconds: TOKEN_COEFFICIENT_MS,
    overrideActive: override === "Active",
  });
  const decision = decide(view, output, agreement);
  // What is published now is what the statuses speak of.
  const published = decision.publish ?? view.published;
  const timings = judgeTimings(cluster, view.nodes, published);
  const problems = [...(view.obstacle ? [view.obstacle] : []), ...output.problems];
  const alive = new Set(view.nodes.map(({ metadata }) => metadata.name).filter((name) => isAlive(view, name)));
  const statuses = new Map([
    [
      cluster.metadata.name,
      clusterStatus({
        cluster,
        nodes: view.nodes,
        published,
        decision,
        agreement,
        alive,
        problems,
        timings,
        override,
        now,
      }),
    ],
    ...others.map((other) => [other.metadata.name, secondClusterStatus(other, cluster.metadata.name, now)] as const),
  ]);
  return {
    cluster,
    decision,
    nodeIds: allocateNodeIds(view.nodes, view.published?.highestNodeId ?? 0),
    clusterStatuses: statuses,
    nodeStatuses: nodeStatuses(view, output, { published, decision, agreement, removals, now }),
    jobsToRemove: [...removals.values()].flatMap(({ jobsToRemove }) => jobsToRemove),
    released: view.nodes.filter((node) => isReleased(node, published, removals.get(node.metadata.name))),
  };
}

/** Without a Cluster there is nothing to leave. */
function withoutCluster({ nodes }: View): Plan {
  return {
    cluster: undefined,
    decision: { step: "Stable", reason: "there is no Cluster in the namespace" },
    nodeIds: new Map(),
    clusterStatuses: new Map(),
    nodeStatuses: new Map(),
    jobsToRemove: [],
    released: nodes.filter(({ metadata }) => metadata.deletionTimestamp !== undefined),
  };
}

function isAlive({ agents }: View, name: string): boolean {
  return agents.get(name)?.sight.state === "Alive";
}

function removalsOf({ nodes, guests, jobs, agents }: View): Map<string, RemovalFacts> {
  return new Map(
    nodes.map((node) => {
      const agent = agents.get(node.metadata.name);
      const facts = removalFacts({
        node,
        guests,
        jobs,
        alive: agent?.sight.state === "Alive",
        fenced: agent?.fenced ?? false,
      });
      return [node.metadata.name, isLeaving(node) ? facts : { ...facts, jobsToRemove: [] }];
    }),
  );
}

function overrideState({ spec: { quorumOverride } }: Cluster, wallMs: number): OverrideState {
  if (quorumOverride === undefined) return "None";
  const leftMs = Date.parse(quorumOverride.expiresAt) - wallMs;
  if (leftMs > LONGEST_OVERRIDE_MS) return "TooLong";
  return leftMs > 0 ? "Active" : "Expired";
}

/** Before anything was published the votes are those that the objects ask for. */
function agreementOf({ nodes, agents, published }: View): Agreement | undefined {
  const reports = new Map<number, NodeMembership>();
  for (const { metadata } of nodes) {
    const report = agents.get(metadata.name)?.membership;
    if (report !== undefined) reports.set(report.nodeId, report);
  }
  return agree(reports, published?.config ?? asDeclared(nodes));
}

function asDeclared(nodes: readonly ClusterNode[]): VotingConfig {
  return {
    nodes: nodes.flatMap(({ metadata, spec }) =>
      spec.nodeId === undefined ? [] : [{ name: metadata.name, nodeId: spec.nodeId, votes: spec.votes, addresses: [] }],
    ),
  };
}

function decide(view: View, { desired }: DesiredOutput, agreement: Agreement | undefined): Decision {
  if (view.obstacle !== undefined) return { step: view.obstacle.reason, reason: view.obstacle.message };
  const nodes = new Map(
    view.nodes.map((node) => [node.metadata.name, observeNode(node, isAlive(view, node.metadata.name))]),
  );
  const isAgreed = agreement?.quorate === true && agreement.byMajority;
  return decideRollout(view.published, desired, {
    nodes,
    membership: isAgreed ? agreement.members : undefined,
    publishedForMs: view.publishedForMs,
    agentsForMs: view.agentsForMs,
    declaredForMs: view.declaredForMs,
  });
}

function observeNode({ status }: ClusterNode, alive: boolean): NodeObserved {
  const { corosync, linkStatus = [] } = status ?? {};
  const load = corosync?.lastLoad;
  const failed = load?.outcome !== undefined && load.outcome !== "Loaded" && load.configVersion !== undefined;
  const up = linkStatus.filter(
    ({ peersUp, peersTotal, address }) => address !== undefined && peersUp !== undefined && peersUp === peersTotal,
  );
  return {
    alive,
    running: corosync?.running ?? false,
    version: corosync?.configVersion ?? 0,
    ...(failed
      ? { loadProblem: { version: load.configVersion ?? 0, message: load.message ?? load.outcome ?? "" } }
      : {}),
    linksUp: new Map(up.map(({ number, address }) => [number, address ?? ""])),
  };
}

function nodeStatuses(
  view: View,
  { addresses, problems }: DesiredOutput,
  {
    removals,
    ...context
  }: {
    published: Published | undefined;
    decision: Decision;
    agreement: Agreement | undefined;
    removals: ReadonlyMap<string, RemovalFacts>;
    now: string;
  },
): Map<string, ClusterNodeStatus> {
  return new Map(
    view.nodes.map((node) => {
      const { name } = node.metadata;
      const agent = view.agents.get(name)?.sight ?? { state: "NeverSeen" as const };
      return [
        name,
        nodeStatus({
          node,
          agent,
          answers: addresses.get(name) ?? new Map(),
          problems,
          removal: removals.get(name) ?? {},
          ...context,
        }),
      ];
    }),
  );
}

/** Deleted, out of the configuration that is in force, and off. */
function isReleased(node: ClusterNode, published: Published | undefined, removal: RemovalFacts | undefined): boolean {
  if (node.metadata.deletionTimestamp === undefined) return false;
  const isKnown = published?.config.nodes.some(({ name }) => name === node.metadata.name) ?? false;
  const everStarted = node.status?.corosync?.running === true;
  return !isKnown && removal?.neededBy === undefined && (!everStarted || removal?.notOff === undefined);
}
