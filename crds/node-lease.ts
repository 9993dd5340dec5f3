/**
 * The Lease of a node, as agents, controllers and the plugin name its parts: the agent's lock, heartbeat and membership
 * report in one object (docs/decisions, "One Lease a node").
 */
export function nodeLeaseName(node: string): string {
  return `${PREFIX}${node}`;
}

/** The node whose Lease has this name; undefined for another's. */
export function nodeOfLease(name: string): string | undefined {
  return name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;
}

const PREFIX = "quorate-agent-";

/** Holder of a node's Lease that the CRM has taken: the node is fenced. */
export const CRM_HOLDER = "quorate-crm";

/** What the node's corosync sees: a NodeMembership as JSON, refreshed with every renewal. */
export const MEMBERSHIP_ANNOTATION = "quorate.dev/membership";

/** What the node's LRM is doing. */
export const MODE_ANNOTATION = "quorate.dev/mode";

/**
 * A proof that a node is gone ends with two reports of each reporter, and is not to wait for their usual renewals: when the fence
 * delay since its membership changed is over, an agent renews its Lease for this long, this often. Milliseconds.
 */
export const CLOSING_MS = 2_000;
export const CLOSING_RENEWAL_MS = 100;

/** What the agent of a node reports of its corosync's membership. */
export interface NodeMembership {
  /** Changes with every membership. */
  readonly ringId: string;
  readonly quorate: boolean;
  /** Node ids. */
  readonly members: readonly number[];
  readonly nodeId: number;
  /** Votes that a quorum device gives to this membership; absent without one. */
  readonly qdeviceVotes?: number;
}

/** The report in a Lease's annotation; undefined when there is none that makes sense. */
export function parseNodeMembership(annotation: string | undefined): NodeMembership | undefined {
  if (annotation === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(annotation);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { ringId, quorate, members, nodeId, qdeviceVotes } = value as Record<string, unknown>;
  if (typeof ringId !== "string" || typeof quorate !== "boolean" || !isId(nodeId)) return undefined;
  if (!Array.isArray(members) || !members.every(isId)) return undefined;
  return {
    ringId: ringId.slice(0, 63),
    quorate,
    members,
    nodeId,
    ...(isId(qdeviceVotes) ? { qdeviceVotes } : {}),
  };
}

/** Ids and votes: whole numbers from 1. */
function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0;
}
