/**
 * Where a service shall be: a chain of small rules, each of which narrows the candidates or decides. The order is the policy.
 */
import type { Round } from "./round.ts";
import type { ServiceRecord } from "./types.ts";
import { countedNodes } from "./usage.ts";

/**
 * stay: it runs, move it only where a rule wants it. start: it is about to start, the best place may be another. recover: its node
 * is fenced. retry: it did not start where it is.
 */
export type Purpose = "stay" | "start" | "recover" | "retry";

export interface Placement {
  readonly node: string | undefined;
  /** The rule that decided, for people. */
  readonly reason: string;
}

/** @returns the node for the service, or none with the reason when no online node may have it. */
export function place(round: Round, id: string, record: ServiceRecord, purpose: Purpose): Placement {
  const current = record.node;
  if (purpose === "stay" && isFree(round, id, record) && round.placeable.includes(current))
    return { node: current, reason: "AllowedHere" };
  const classes = onlineClasses(round, id);
  let candidates = classes[0]?.nodes ?? [];
  if (candidates.length === 0) return { node: undefined, reason: "NoAllowedNodeOnline" };

  if (purpose === "stay" && !mayFailBack(round, id) && classes.some((entry) => entry.nodes.includes(current))) {
    return { node: current, reason: "FailbackOff" };
  }
  const untried = (nodes: readonly string[]): readonly string[] =>
    purpose === "retry" ? nodes.filter((node) => !record.triedNodes.includes(node)) : nodes;
  if (untried(candidates).length === 0) return { node: current, reason: "AllNodesTried" };
  // What must be apart may leave no node of the best class; a preference is no reason to stay down where others are allowed.
  const considered = round.reference ? classes.slice(0, 1) : classes;
  const apart = considered.map(({ nodes }) => keepApart(round, id, untried(nodes))).find((nodes) => nodes.length > 0);
  if (apart === undefined) return { node: undefined, reason: "MustStayApart" };
  candidates = apart;
  candidates = keepTogether(round, id, candidates);
  if (purpose !== "retry" && record.home !== undefined && candidates.includes(record.home)) {
    return { node: record.home, reason: "HomeAfterMaintenance" };
  }
  if (purpose === "stay" && candidates.includes(current)) return { node: current, reason: "AllowedHere" };
  return { node: round.usage.best(id, candidates), reason: "LeastLoaded" };
}

/** No rule and no home has a say. */
function isFree(round: Round, id: string, record: ServiceRecord): boolean {
  const { preference, together, apart } = round.rules;
  return record.home === undefined && !preference.has(id) && !together.has(id) && !apart.has(id);
}

export interface PriorityClass {
  readonly priority: number;
  readonly nodes: readonly string[];
}

/** The placeable nodes a service may use, by priority, the best class first. Empty classes are left out. */
export function onlineClasses(round: Round, id: string): PriorityClass[] {
  const preference = round.rules.preference.get(id);
  if (!preference) return round.placeable.length === 0 ? [] : [{ priority: 0, nodes: round.placeable }];
  const classes = new Map<number, string[]>();
  for (const node of round.placeable) {
    const priority = preference.nodes[node] ?? (preference.strict ? undefined : -1);
    if (priority === undefined) continue;
    const nodes = classes.get(priority);
    if (nodes) nodes.push(node);
    else classes.set(priority, [node]);
  }
  return [...classes].map(([priority, nodes]) => ({ priority, nodes })).sort((a, b) => b.priority - a.priority);
}

/** Without the nodes on which a service it must be apart from is, is leaving, or is arriving. */
export function keepApart(round: Round, id: string, candidates: readonly string[]): readonly string[] {
  const partners = round.rules.apart.get(id);
  if (!partners) return candidates;
  const taken = new Set(partners.flatMap((partner) => placesOf(round, partner)));
  return taken.size === 0 ? candidates : candidates.filter((node) => !taken.has(node));
}

/** Only the node that has most of those it must be with, where they are going while they move; equal ones by name. */
function keepTogether(round: Round, id: string, candidates: readonly string[]): readonly string[] {
  const partners = round.rules.together.get(id);
  if (!partners) return candidates;
  const count = new Map<string, number>();
  for (const partner of partners) {
    const node = placesOf(round, partner).at(-1);
    if (node !== undefined && candidates.includes(node)) count.set(node, (count.get(node) ?? 0) + 1);
  }
  const most = Math.max(0, ...count.values());
  const best = [...count]
    .filter(([, n]) => n === most)
    .map(([node]) => node)
    .sort()[0];
  return best === undefined ? candidates : [best];
}

/** Source first, then the target while it moves; nothing while it has no place. */
export function placesOf(round: Round, id: string): readonly string[] {
  const record = round.services.get(id);
  return record ? countedNodes(record) : [];
}

function mayFailBack(round: Round, id: string): boolean {
  return (round.view.services[id]?.failback ?? true) && (round.rules.preference.get(id)?.failback ?? true);
}
