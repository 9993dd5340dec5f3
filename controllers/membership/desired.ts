/** What the objects of a cluster ask of its corosync, with every problem named. Pure. */
import type { Cluster, ClusterNode } from "../../crds/index.ts";
import { addressFamily, chooseAddress, type LinkAnswer } from "./addresses.ts";
import type { CorosyncConfig } from "./corosync-config.ts";
import type { Desired, DesiredLink, DesiredNode } from "./rollout-types.ts";

/** Everything about a node that its object does not say. */
export interface NodeFacts {
  /** Its agent renews its Lease. */
  readonly alive: boolean;
  /** What still needs the node, when it shall leave. */
  readonly neededBy?: string;
  /** Why it is not certain that its corosync is off. */
  readonly notOff?: string;
}

export interface DesiredInput {
  readonly cluster: Cluster;
  /** In any order. */
  readonly nodes: readonly ClusterNode[];
  /** In force now: members keep their addresses. */
  readonly current: CorosyncConfig | undefined;
  readonly facts: ReadonlyMap<string, NodeFacts>;
  /** What host names in spec.links resolve to now. */
  readonly resolved: ReadonlyMap<string, string>;
  /** Why the timings of the cluster are not safe. */
  readonly timingsProblem?: string;
  readonly tokenCoefficientMilliseconds: number;
  /** spec.quorumOverride is set and its time is not over. */
  readonly overrideActive: boolean;
}

export interface Problem {
  readonly reason: string;
  /** The ClusterNode it is about; absent: the Cluster. */
  readonly node?: string;
  readonly message: string;
}

export interface DesiredOutput {
  readonly desired: Desired;
  readonly problems: readonly Problem[];
  /** The addresses found, for ClusterNode.status.links: node name -> link number -> answer. */
  readonly addresses: ReadonlyMap<string, ReadonlyMap<number, LinkAnswer>>;
}

/** Set to "no" on a Cluster whose hosts have no real-time budget for corosync (containers). */
export const SCHED_RR_ANNOTATION = "quorate.dev/corosync-sched-rr";

export function desiredFrom(input: DesiredInput): DesiredOutput {
  const { cluster } = input;
  const { spec } = cluster;
  const problems: Problem[] = [];
  const nodes = [...input.nodes].sort(byAge);
  const addresses = new Map(nodes.map((node) => [node.metadata.name, findAddresses(node, input)]));
  const links = spec.links.map((link, index) => desiredLink(link.number ?? index, link.priority, addresses, problems));
  const taken = new Map<number, string>();
  const desiredNodes: DesiredNode[] = [];
  for (const node of nodes) {
    const wish = desiredNode(node, input, addresses.get(node.metadata.name) ?? new Map(), links, taken, problems);
    if (wish !== undefined) desiredNodes.push(wish);
  }
  const unnumbered = nodes.find(({ metadata, spec }) => spec.nodeId === undefined && !metadata.deletionTimestamp);
  const settingsHeld = input.timingsProblem;
  const cryptoHeld = cryptoObstacle(nodes);
  const { qdevice, quorumOverride } = spec;
  return {
    problems,
    addresses,
    desired: {
      clusterName: spec.clusterName ?? cluster.metadata.name,
      cipher: CIPHERS[spec.crypto.cipher],
      hash: HASHES[spec.crypto.hash],
      tokenMilliseconds: spec.tokenMilliseconds,
      tokenCoefficientMilliseconds: input.tokenCoefficientMilliseconds,
      realtime: cluster.metadata.annotations?.[SCHED_RR_ANNOTATION] !== "no",
      links,
      nodes: desiredNodes,
      ...(unnumbered === undefined ? {} : { unnumbered: unnumbered.metadata.name }),
      ...(qdevice === undefined
        ? {}
        : {
            qdevice: {
              host: qdevice.host,
              port: qdevice.port,
              algorithm: qdevice.algorithm === undefined ? undefined : ALGORITHMS[qdevice.algorithm],
              tieBreaker: qdevice.tieBreaker.toLowerCase(),
              allowOddNodes: qdevice.allowOddNodes,
            },
          }),
      ...(quorumOverride && input.overrideActive ? { override: { expectedVotes: quorumOverride.expectedVotes } } : {}),
      ...(settingsHeld === undefined ? {} : { settingsHeld }),
      ...(cryptoHeld === undefined ? {} : { cryptoHeld }),
    },
  };
}

function cryptoObstacle(nodes: readonly ClusterNode[]): string | undefined {
  // A time-out without a word of the keeper: the device may count.
  const armed = nodes.find(({ status }) => status?.watchdog?.armed || status?.watchdog?.timeoutSeconds !== undefined);
  if (armed === undefined) return undefined;
  return (
    `cipher and hash change when no watchdog is armed, and that of ${armed.metadata.name} is, or may be: members may lose quorum for a ` +
    "moment while they change; set spec.ha.disarm: Freeze first, and remove it afterwards"
  );
}

const CIPHERS = { AES256: "aes256", AES192: "aes192", AES128: "aes128" } as const;
const HASHES = { SHA256: "sha256", SHA384: "sha384", SHA512: "sha512" } as const;
const ALGORITHMS = { FFSplit: "ffsplit", LMS: "lms" } as const;

/** Older first, so that of two that contradict each other the one that was there first wins. */
export function byAge(a: KubeNamed, b: KubeNamed): number {
  const [x, y] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp ?? ""} ${metadata.name}`);
  return (x ?? "") < (y ?? "") ? -1 : 1;
}

interface KubeNamed {
  metadata: { name: string; creationTimestamp?: string };
}

function findAddresses(node: ClusterNode, { cluster, current, resolved }: DesiredInput): Map<number, LinkAnswer> {
  const { name } = node.metadata;
  const known = current?.nodes.find((one) => one.name === name);
  const answers = new Map<number, LinkAnswer>();
  for (const [index, link] of cluster.spec.links.entries()) {
    const number = link.number ?? index;
    const given = node.spec.links?.find((one) => one.number === number)?.address;
    const inForce = known?.addresses.find((one) => one.link === number);
    answers.set(
      number,
      chooseAddress({
        node: name,
        link: number,
        network: link.network,
        given,
        resolved: given === undefined ? undefined : resolved.get(given),
        reported: node.status?.addresses?.map(({ address }) => address) ?? [],
        current: inForce,
      }),
    );
  }
  return answers;
}

function desiredLink(
  number: number,
  priority: number,
  answers: ReadonlyMap<string, ReadonlyMap<number, LinkAnswer>>,
  problems: Problem[],
): DesiredLink {
  const addresses = new Map<string, { address: string; hostName?: string }>();
  for (const [node, byLink] of answers) {
    const answer = byLink.get(number);
    if (answer === undefined || "problem" in answer) continue;
    const { address, hostName } = answer;
    const clash = clashOf(address, addresses);
    if (clash !== undefined)
      problems.push({ ...clash, node, message: `ClusterNode "${node}", link ${number}: ${clash.message}` });
    else addresses.set(node, { address, ...(hostName === undefined ? {} : { hostName }) });
  }
  return { number, priority, addresses };
}

/** Why an address does not go with those of older nodes on the same link. */
function clashOf(address: string, others: ReadonlyMap<string, { address: string }>): Problem | undefined {
  for (const [other, { address: theirs }] of others) {
    if (theirs === address) {
      return {
        reason: "DuplicateAddress",
        message: `${address} is the address of "${other}" already; give each node its own`,
      };
    }
    if (addressFamily(theirs) !== addressFamily(address)) {
      return {
        reason: "MixedFamilies",
        message: `${address} and ${theirs} of "${other}" are of different IP versions; use one on the whole link`,
      };
    }
  }
  return undefined;
}

function desiredNode(
  node: ClusterNode,
  { facts, current }: DesiredInput,
  answers: ReadonlyMap<number, LinkAnswer>,
  links: readonly DesiredLink[],
  taken: Map<number, string>,
  problems: Problem[],
): DesiredNode | undefined {
  const { name, deletionTimestamp } = node.metadata;
  const { nodeId, votes, detach } = node.spec;
  const { alive = false, neededBy, notOff } = facts.get(name) ?? {};
  const obstacles: Problem[] = [];
  for (const answer of answers.values()) {
    if ("problem" in answer) obstacles.push({ reason: answer.problem, node: name, message: answer.message });
  }
  problems.push(...obstacles);
  if (nodeId === undefined) return undefined;
  const owner = taken.get(nodeId);
  const others = current?.nodes.find((one) => one.nodeId === nodeId && one.name !== name)?.name;
  if (owner !== undefined || others !== undefined) {
    const message = `ClusterNode "${name}": node id ${nodeId} is that of "${owner ?? others}"; delete this object and apply it with another spec.nodeId`;
    problems.push({ reason: "DuplicateNodeId", node: name, message });
    return undefined;
  }
  taken.set(nodeId, name);
  const leaving = deletionTimestamp !== undefined || detach !== undefined;
  const notReady = obstacles[0]?.message ?? missingFrom(links, name) ?? readiness(node, alive);
  return {
    name,
    nodeId,
    votes,
    ...(notReady === undefined ? {} : { notReady }),
    ...(leaving
      ? { leaving: { ...(neededBy === undefined ? {} : { neededBy }), ...(notOff === undefined ? {} : { notOff }) } }
      : {}),
  };
}

function missingFrom(links: readonly DesiredLink[], name: string): string | undefined {
  const without = links.find(({ addresses }) => !addresses.has(name));
  return without === undefined ? undefined : `${name} has no address of its own on link ${without.number}`;
}

/** Why a node cannot join yet although its object is fine. */
function readiness({ metadata: { name }, spec, status }: ClusterNode, alive: boolean): string | undefined {
  if (!alive) return `waiting for the agent of ${name}; install it on the host, or look at its log`;
  const ignored: readonly string[] = spec.ignorePrechecks ?? [];
  const failed = status?.prechecks?.find((check) => !check.passed && !ignored.includes(check.name));
  return failed === undefined
    ? undefined
    : `${name} cannot join: ${failed.message ?? `the check ${failed.name} failed`}`;
}

/** Ids for the nodes that have none: each the smallest that was never used. */
export function allocateNodeIds(nodes: readonly ClusterNode[], highestUsed: number): Map<string, number> {
  const taken = new Set(nodes.map(({ spec }) => spec.nodeId));
  const allocated = new Map<string, number>();
  let next = highestUsed + 1;
  for (const node of [...nodes].sort(byAge)) {
    if (node.spec.nodeId !== undefined || node.metadata.deletionTimestamp !== undefined) continue;
    while (taken.has(next)) next += 1;
    allocated.set(node.metadata.name, next);
    next += 1;
  }
  return allocated;
}
