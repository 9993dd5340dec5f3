/** The part of ClusterNode.status that membership owns. Pure. */
import type { ClusterNode, ClusterNodeStatus, NodeLinkAddress } from "../../crds/index.ts";
import { conditionsOf, type Finding } from "../conditions.ts";
import type { LinkAnswer } from "./addresses.ts";
import type { Problem } from "./desired.ts";
import { isLeaving } from "./removal.ts";
import type { Agreement } from "./reports.ts";
import type { Decision } from "./rollout.ts";
import type { Published } from "./rollout-types.ts";

export const NODE_STATUS_KEYS = [
  "observedGeneration",
  "nodeId",
  "votes",
  "links",
] as const satisfies (keyof ClusterNodeStatus)[];
export const NODE_CONDITIONS = ["Ready", "Member", "AgentReady", "Removable", "AddressDrift"];

export interface NodeStatusInput {
  readonly node: ClusterNode;
  readonly published: Published | undefined;
  readonly decision: Decision;
  readonly agreement: Agreement | undefined;
  readonly agent: AgentSight;
  readonly answers: ReadonlyMap<number, LinkAnswer>;
  readonly problems: readonly Problem[];
  /** What still needs the node, or why it is not proven off. */
  readonly removal: { readonly neededBy?: string; readonly notOff?: string };
  /** RFC 3339. */
  readonly now: string;
}

/** What the Lease of a node says of its agent. */
export type AgentSight =
  | { readonly state: "Alive" }
  | { readonly state: "NeverSeen" }
  | { readonly state: "Silent"; readonly forSeconds: number }
  | { readonly state: "Fenced" };

export function nodeStatus(input: NodeStatusInput): ClusterNodeStatus {
  const { node, published, answers, now } = input;
  const known = published?.config.nodes.find(({ name }) => name === node.metadata.name);
  const member = memberFinding(input);
  const agent = agentFinding(input);
  const findings: Finding[] = [readyFinding(input, member, agent), member, agent, removableFinding(input)];
  const drift = driftFinding(answers);
  if (drift !== undefined) findings.push(drift);
  const { generation } = node.metadata;
  const nodeId = known?.nodeId ?? node.spec.nodeId;
  return {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    ...(nodeId === undefined ? {} : { nodeId }),
    ...(known === undefined ? {} : { votes: known.votes }),
    links: linkStatus(answers),
    conditions: conditionsOf(findings, node.status?.conditions, generation, now),
  };
}

function linkStatus(answers: ReadonlyMap<number, LinkAnswer>): NodeLinkAddress[] {
  return [...answers]
    .sort(([a], [b]) => a - b)
    .flatMap(([number, answer]) => ("problem" in answer ? [] : [{ number, ...answer }]));
}

function memberFinding({ node, published, decision, agreement, problems }: NodeStatusInput): Finding {
  const type = "Member";
  const { name } = node.metadata;
  const known = published?.config.nodes.find((one) => one.name === name);
  if (known !== undefined && agreement?.quorate && agreement.members.has(known.nodeId)) {
    return {
      type,
      status: "True",
      reason: "Member",
      message: `node ${known.nodeId} of ring ${agreement.ringId}, with ${known.votes} votes`,
    };
  }
  const problem = problems.find((one) => one.node === name);
  if (known === undefined && problem !== undefined)
    return { type, status: "False", reason: problem.reason, message: problem.message };
  if (decision.node === name) return { type, status: "False", reason: decision.step, message: decision.reason };
  if (node.spec.detach !== undefined && known === undefined) {
    return {
      type,
      status: "False",
      reason: "Detached",
      message: "the host was separated from the cluster; delete this object",
    };
  }
  if (known === undefined)
    return {
      type,
      status: "False",
      reason: "NotInConfiguration",
      message: `${name} is not in the configuration yet: ${decision.reason}`,
    };
  if (!published?.admitted.includes(name))
    return {
      type,
      status: "False",
      reason: "NotAdmitted",
      message: `corosync of ${name} may not start yet: ${decision.reason}`,
    };
  if (!agreement?.quorate)
    return { type, status: "Unknown", reason: "NoQuorum", message: "no quorate membership is reported" };
  return {
    type,
    status: "False",
    reason: "NotInMembership",
    message: `the quorate members do not see ${name}; check its corosync and its links`,
  };
}

function agentFinding({ node, agent }: NodeStatusInput): Finding {
  const type = "AgentReady";
  const { name } = node.metadata;
  switch (agent.state) {
    case "Alive":
      return { type, status: "True", reason: "Renewing", message: "the agent renews its lease" };
    case "NeverSeen":
      return { type, status: "False", reason: "NoAgent", message: `no agent has been seen; install it on ${name}` };
    case "Fenced":
      return {
        type,
        status: "False",
        reason: "Fenced",
        message: `the lease of ${name} was taken: its guests are recovered elsewhere before it may act again`,
      };
    default:
      return {
        type,
        status: "False",
        reason: "AgentLost",
        message: `the agent has not renewed its lease for ${agent.forSeconds} s or more; guests run on, commands wait; look at the agent on ${name}`,
      };
  }
}

function readyFinding(input: NodeStatusInput, member: Finding, agent: Finding): Finding {
  const type = "Ready";
  const { node } = input;
  if (isLeaving(node)) return { type, status: "False", reason: "Leaving", message: removableFinding(input).message };
  const links = node.status?.conditions?.find((condition) => condition.type === "LinksHealthy");
  const obstacle = [agent, member, ...(links ? [links] : [])].find(({ status }) => status !== "True");
  if (obstacle) return { type, status: "False", reason: obstacle.reason, message: obstacle.message };
  return { type, status: "True", reason: "Ready", message: "a member, with a working agent" };
}

/** One reason for each step of a removal, also before one is asked for. */
function removableFinding({ node, published, decision, removal }: NodeStatusInput): Finding {
  const type = "Removable";
  const { name } = node.metadata;
  const known = published?.config.nodes.find((one) => one.name === name);
  if (known === undefined)
    return { type, status: "True", reason: "NotInConfiguration", message: `${name} is not in the configuration` };
  if (removal.neededBy !== undefined) return { type, status: "False", reason: "Needed", message: removal.neededBy };
  if (!isLeaving(node)) return { type, status: "True", reason: "Free", message: `nothing needs ${name}` };
  if (known.votes > 0) return { type, status: "False", reason: "GivingUpVotes", message: decision.reason };
  if (published?.admitted.includes(name))
    return { type, status: "False", reason: "Stopping", message: decision.reason };
  if (removal.notOff !== undefined) return { type, status: "False", reason: "NotProvenOff", message: removal.notOff };
  return { type, status: "False", reason: "LeavingConfiguration", message: decision.reason };
}

function driftFinding(answers: ReadonlyMap<number, LinkAnswer>): Finding | undefined {
  const named = [...answers.values()].flatMap((answer) =>
    "problem" in answer || answer.hostName === undefined ? [] : [answer],
  );
  if (named.length === 0) return undefined;
  const drifted = named.find(({ resolvesTo }) => resolvesTo !== undefined);
  if (drifted === undefined) {
    return {
      type: "AddressDrift",
      status: "False",
      reason: "NamesAgree",
      message: "host names resolve to the addresses in use",
    };
  }
  const { hostName, resolvesTo, address } = drifted;
  return {
    type: "AddressDrift",
    status: "True",
    reason: "NameChanged",
    message: `"${hostName}" resolves to ${resolvesTo} now, and ${address} is in use; correct the name, or set the new address in spec.links`,
  };
}
