/**
 * The Lease of a node, as agents, controllers and the plugin name its parts: the agent's lock, heartbeat and membership
 * report in one object (docs/decisions, "One Lease a node").
 */
export function nodeLeaseName(node: string): string {
  return `quorate-agent-${node}`;
}

/** Holder of a node's Lease that the CRM has taken: the node is fenced. */
export const CRM_HOLDER = "quorate-crm";

/** What the node's corosync sees, as JSON. */
export const MEMBERSHIP_ANNOTATION = "quorate.dev/membership";

/** What the node's LRM is doing. */
export const MODE_ANNOTATION = "quorate.dev/mode";
