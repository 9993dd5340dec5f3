/** The part of Cluster.status that membership owns. Pure. */
import type { Cluster, ClusterNode, ClusterStatus, RequiredPort } from "../../crds/index.ts";
import { conditionsOf, type Finding } from "../conditions.ts";
import type { CorosyncConfig } from "./corosync-config.ts";
import type { Problem } from "./desired.ts";
import { deviceVotes, qdeviceConnected, qdeviceStatus } from "./qdevice-status.ts";
import { FIRST_LINK_PORT } from "./render.ts";
import { type Agreement, countVotes } from "./reports.ts";
import type { Decision } from "./rollout.ts";
import type { Published } from "./rollout-types.ts";
import { judgeTopology } from "./topology.ts";

/** The fields of Cluster.status that membership owns as a whole. */
export const CLUSTER_STATUS_KEYS = [
  "observedGeneration",
  "quorum",
  "config",
  "nodes",
  "timings",
  "rollout",
  "requiredPorts",
  "qdevice",
] as const satisfies (keyof ClusterStatus)[];

export const CLUSTER_CONDITIONS = [
  "Ready",
  "Quorate",
  "ConfigInSync",
  "TimingsSafe",
  "TopologySound",
  "QDeviceConnected",
  "QuorumOverridden",
];

/** What the timings of a cluster come to. */
export interface TimingsVerdict {
  readonly timings: NonNullable<ClusterStatus["timings"]>;
  /** Why they are not safe. */
  readonly problem?: string;
  /** Token and consensus of the slowest configuration that was published and that not every node has left behind. */
  readonly publishedMilliseconds?: number;
}

/** TooLong: it ends more than a day ahead, which is not honoured. */
export type OverrideState = "None" | "Active" | "Expired" | "TooLong";

export interface ClusterStatusInput {
  readonly cluster: Cluster;
  readonly nodes: readonly ClusterNode[];
  readonly published: Published | undefined;
  readonly decision: Decision;
  readonly agreement: Agreement | undefined;
  /** Nodes whose agents renew their Leases. */
  readonly alive: ReadonlySet<string>;
  readonly problems: readonly Problem[];
  readonly timings: TimingsVerdict | undefined;
  readonly override: OverrideState;
  /** RFC 3339. */
  readonly now: string;
}

export function clusterStatus(input: ClusterStatusInput): ClusterStatus {
  const { cluster, nodes, published, decision, agreement, alive, timings, now } = input;
  const existing = cluster.status;
  const config = published?.config;
  const online = nodes.filter(({ metadata }) => alive.has(metadata.name) && isMember(config, agreement, metadata.name));
  const findings = findingsOf(input, online.length);
  const { generation } = cluster.metadata;
  const qdevice = qdeviceStatus(input);
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    ...(config === undefined ? {} : { quorum: quorumStatus(config, agreement, deviceVotes(input)) }),
    ...configStatus(published, timings?.publishedMilliseconds),
    nodes: { total: nodes.length, online: online.length, summary: `${online.length}/${nodes.length}` },
    ...(timings === undefined ? {} : { timings: timings.timings }),
    ...(decision.step === "Stable" ? {} : { rollout: rolloutStatus(decision, published, existing?.rollout, now) }),
    requiredPorts: requiredPorts(cluster, nodes),
    ...(qdevice === undefined ? {} : { qdevice }),
    conditions: conditionsOf(findings, existing?.conditions, generation, now),
  };
}

/** Of a Cluster that is not the first in its namespace. */
export function secondClusterStatus(cluster: Cluster, first: string, now: string): ClusterStatus {
  const message =
    `namespace "${cluster.metadata.namespace}" belongs to Cluster "${first}", and a namespace holds one; ` +
    "delete this one, and apply it in a namespace of its own";
  const finding: Finding = { type: "Ready", status: "False", reason: "SecondCluster", message };
  const { generation } = cluster.metadata;
  return { conditions: conditionsOf([finding], cluster.status?.conditions, generation, now) };
}

function isMember(config: CorosyncConfig | undefined, agreement: Agreement | undefined, name: string): boolean {
  const node = config?.nodes.find((one) => one.name === name);
  return node !== undefined && agreement?.quorate === true && agreement.members.has(node.nodeId);
}

function findingsOf(input: ClusterStatusInput, online: number): Finding[] {
  const { cluster, nodes, published, timings } = input;
  const findings: Finding[] = [quorate(input), configInSync(input)];
  if (timings !== undefined) {
    findings.push(
      timings.problem === undefined
        ? {
            type: "TimingsSafe",
            status: "True",
            reason: "Safe",
            message: "a lost node is off before its guests start elsewhere; see status.timings",
          }
        : { type: "TimingsSafe", status: "False", reason: "Unsafe", message: timings.problem },
    );
  }
  if (published !== undefined) findings.push(judgeTopology(published.config, nodes, deviceVotes(input)));
  if (cluster.spec.qdevice !== undefined) findings.push(qdeviceConnected(input));
  findings.push(overridden(input));
  return [ready(input, findings, online), ...findings];
}

function quorate(input: ClusterStatusInput): Finding {
  const { published, agreement } = input;
  const type = "Quorate";
  if (published === undefined)
    return { type, status: "False", reason: "NotFormed", message: "no node has been admitted yet" };
  if (agreement === undefined) {
    return {
      type,
      status: "Unknown",
      reason: "NoReports",
      message: "no agent reports a membership; see the ClusterNodes",
    };
  }
  const { total, expected, needed } = countVotes(published.config, agreement.members, deviceVotes(input));
  const votes = `${total} of ${expected} votes, ${needed} needed`;
  if (!agreement.quorate)
    return {
      type,
      status: "False",
      reason: "NotQuorate",
      message: `${votes}; bring nodes back, or see spec.quorumOverride`,
    };
  if (!agreement.byMajority) {
    const message = `corosync is quorate as ${agreement.reporters} agents report, but they are no majority; look at the other agents`;
    return { type, status: "Unknown", reason: "ReportsInMinority", message };
  }
  return { type, status: "True", reason: "Quorate", message: votes };
}

function configInSync({ published, decision, problems }: ClusterStatusInput): Finding {
  const type = "ConfigInSync";
  const [problem] = problems;
  if (decision.step !== "Stable") {
    const more = problem === undefined || decision.reason.includes(problem.message) ? "" : `; ${problem.message}`;
    return { type, status: "False", reason: decision.step, message: `${decision.reason}${more}` };
  }
  if (problem !== undefined) return { type, status: "False", reason: problem.reason, message: problem.message };
  return { type, status: "True", reason: "InSync", message: `all members run version ${published?.version ?? 0}` };
}

function overridden({ cluster, override }: ClusterStatusInput): Finding {
  const type = "QuorumOverridden";
  const wish = cluster.spec.quorumOverride;
  if (wish === undefined || override === "None")
    return { type, status: "False", reason: "NotOverridden", message: "the votes decide" };
  if (override === "TooLong") {
    return {
      type,
      status: "False",
      reason: "TooLong",
      message: `the override is not in force: ${wish.expiresAt} is more than a day ahead; set an earlier expiresAt`,
    };
  }
  if (override === "Expired") {
    return {
      type,
      status: "False",
      reason: "Expired",
      message: `the override expired at ${wish.expiresAt}; remove spec.quorumOverride`,
    };
  }
  const message = `${wish.expectedVotes} votes are expected until ${wish.expiresAt}, because: ${wish.reason}; nothing recovers by itself and other changes wait`;
  return { type, status: "True", reason: "Overridden", message };
}

function ready({ nodes, alive }: ClusterStatusInput, findings: readonly Finding[], online: number): Finding {
  const type = "Ready";
  const obstacle = ["Quorate", "TimingsSafe", "ConfigInSync", "QDeviceConnected"]
    .map((name) => findings.find((finding) => finding.type === name))
    .find((finding) => finding !== undefined && finding.status !== "True");
  if (obstacle)
    return { type, status: "False", reason: obstacle.reason, message: `${obstacle.type}: ${obstacle.message}` };
  if (online < nodes.length) {
    const silent = nodes.filter(({ metadata }) => !alive.has(metadata.name)).map(({ metadata }) => metadata.name);
    const whose = silent.length > 0 ? `; the agents of ${silent.join(", ")} are silent` : "";
    return {
      type,
      status: "False",
      reason: "NodesMissing",
      message: `${online} of ${nodes.length} nodes are online${whose}`,
    };
  }
  return {
    type,
    status: "True",
    reason: "Ready",
    message: `${online} nodes are quorate and run the same configuration`,
  };
}

function quorumStatus(
  config: CorosyncConfig,
  agreement: Agreement | undefined,
  device: boolean,
): NonNullable<ClusterStatus["quorum"]> {
  const { expected, total, needed } = countVotes(config, agreement?.members ?? new Set(), device);
  return {
    quorate: agreement?.quorate ?? false,
    expectedVotes: expected,
    totalVotes: total,
    neededVotes: needed,
    ...(agreement === undefined ? {} : { ringId: agreement.ringId }),
    flags: [...(agreement?.quorate ? ["Quorate"] : []), ...(config.qdevice ? ["Qdevice"] : [])],
    summary: `${total}/${expected} (${needed})`,
  };
}

/** What hosts may still run is kept also while what was published cannot be read. */
function configStatus(published: Published | undefined, slowest: number | undefined): Pick<ClusterStatus, "config"> {
  const shown: ClusterStatus["config"] = {
    ...(published === undefined
      ? {}
      : {
          version: published.version,
          transport: "knet",
          cipher: published.config.cipher.toUpperCase(),
          hash: published.config.hash.toUpperCase(),
          tokenMilliseconds: published.config.tokenMilliseconds,
        }),
    ...(slowest === undefined ? {} : { membershipChangeMilliseconds: slowest }),
  };
  return Object.keys(shown).length === 0 ? {} : { config: shown };
}

function rolloutStatus(
  { step, node, reason }: Decision,
  published: Published | undefined,
  before: ClusterStatus["rollout"],
  now: string,
): NonNullable<ClusterStatus["rollout"]> {
  const version = published?.version;
  return {
    step,
    ...(node === undefined ? {} : { node }),
    reason: reason.slice(0, 1024),
    ...(version === undefined ? {} : { configVersion: version }),
    startedAt: before?.startedAt ?? now,
  };
}

function requiredPorts(cluster: Cluster, nodes: readonly ClusterNode[]): RequiredPort[] {
  const ports: RequiredPort[] = cluster.spec.links.map(({ number, network }, index) => {
    const link = number ?? index;
    const where = network ?? "nodes";
    return {
      protocol: "UDP",
      ports: String(FIRST_LINK_PORT + link),
      from: where,
      to: where,
      purpose: `corosync, link ${link}`,
    };
  });
  const { qdevice } = cluster.spec;
  if (qdevice)
    ports.push({ protocol: "TCP", ports: String(qdevice.port), from: "nodes", to: qdevice.host, purpose: "QDevice" });
  const where = firstNetwork(cluster) ?? "nodes";
  const transfer = new Set(
    nodes.map(({ status }) => status?.agent?.transferEndpoint?.port).filter((port) => port !== undefined),
  );
  for (const port of [...transfer].sort((a, b) => a - b)) {
    ports.push({
      protocol: "TCP",
      ports: String(port),
      from: where,
      to: where,
      purpose: "agents: replication and migration",
    });
  }
  return ports;
}

/** That of the lowest link, where agents receive; undefined when each node gives its address itself. */
function firstNetwork({ spec: { links } }: Cluster): string | undefined {
  const [first] = links
    .map(({ number, network }, index) => ({ number: number ?? index, network }))
    .toSorted((a, b) => a.number - b.number);
  return first?.network;
}
