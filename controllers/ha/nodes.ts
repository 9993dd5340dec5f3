/**
 * The state machine of the nodes, and the fence: a node whose services are in `Fence` is fenced when the CRM holds its lease, and
 * only then do they become `Recovery`.
 */
import type { Round } from "./round.ts";

/** Takes over what the membership reports say. New nodes start as Unknown; a clock of this CRM starts with them. */
export function updateNodes(round: Round): void {
  for (const name of Object.keys(round.view.nodes).sort()) {
    if (!round.nodes.has(name)) round.nodes.set(name, { state: "Unknown", lastOnline: round.now });
    updateNode(round, name);
  }
  for (const [name, node] of round.nodes) {
    if (round.view.nodes[name] === undefined && node.state !== "Gone" && node.state !== "Fence")
      round.setNode(name, { state: "Gone" });
  }
}

function updateNode(round: Round, name: string): void {
  const view = round.view.nodes[name];
  const node = round.nodes.get(name);
  if (!view || !node) return;
  if (!view.member) {
    if (node.state === "Online") round.setNode(name, { state: "Unknown" });
    else if (node.state === "Gone") round.setNode(name, { state: "Unknown" });
    return;
  }
  round.setNode(name, { lastOnline: round.now });
  const held = !round.reference && view.lease === "crm";
  if (node.state === "Unknown" && !held) round.setNode(name, { state: "Online" });
  else if (node.state === "Gone" && !held) round.setNode(name, { state: "Online" });
  const state = round.nodes.get(name)?.state;
  if (state === "Online" && view.agentMode === "Maintenance") round.setNode(name, { state: "Maintenance" });
  else if (state === "Maintenance" && view.agentMode !== "Maintenance" && agentSpeaks(round, name))
    round.setNode(name, { state: "Online" });
}

/** A lost agent's last word stays in force: maintenance does not end because nobody repeats it. */
function agentSpeaks(round: Round, name: string): boolean {
  return round.reference || round.view.nodes[name]?.agentAlive === true;
}

/** @returns true when a fence was acknowledged: its services can be recovered in this round. */
export function fenceNodes(round: Round): boolean {
  const waiting = new Map<string, string[]>();
  for (const id of round.serviceIds()) {
    const record = round.services.get(id);
    if (record?.state !== "Fence") continue;
    const ids = waiting.get(record.node);
    if (ids) ids.push(id);
    else waiting.set(record.node, [id]);
  }
  let acknowledged = false;
  for (const name of [...round.nodes.keys()].sort()) {
    const services = waiting.get(name);
    const fencing = round.nodes.get(name)?.state === "Fence";
    if (services === undefined && !fencing) continue;
    if (fenceNode(round, name, services ?? [])) acknowledged = true;
  }
  return acknowledged;
}

function fenceNode(round: Round, name: string, services: readonly string[]): boolean {
  const view = round.view.nodes[name];
  if (!view) return false;
  if (cancelFence(round, name, services)) return true;
  if (round.nodes.get(name)?.state !== "Fence") {
    round.setNode(name, { state: "Fence" });
    round.event("notify.fence-started", "node", name, {}, "notice");
  } else if (services.length === 0 && view.lease !== "crm") {
    round.event("fence.without-services", "node", name);
  }
  if (view.lease !== "crm") {
    if (view.fence.proven) round.effects.push({ type: "takeLease", node: name, why: view.fence.reasons });
    else if (view.hardwareFencing) round.effects.push({ type: "fenceHardware", node: name });
    return false;
  }
  round.event("fence.acknowledged", "node", name);
  round.setNode(name, { state: "Unknown", fencedAt: round.now });
  round.event("notify.fence-done", "node", name, {}, "notice");
  for (const id of services) round.setState(id, "Recovery", arrival(round, id));
  return services.length > 0;
}

function arrival(round: Round, id: string): { target?: string } {
  const target = round.services.get(id)?.target;
  return target === undefined ? {} : { target };
}

/**
 * The node is back in the membership with its own lease, before it was taken: its agent never lost it, its guests run on. Not where a
 * fence device may already be at work. Also without services in `Fence`: a leader that died may have written the node's state alone.
 */
function cancelFence(round: Round, name: string, services: readonly string[]): boolean {
  const view = round.view.nodes[name];
  if (round.reference || !view?.member || !view.agentAlive || view.lease !== "agent" || view.hardwareFencing)
    return false;
  round.event("fence.cancelled", "node", name);
  if (round.nodes.get(name)?.state === "Fence") round.setNode(name, { state: "Online" });
  round.recount();
  for (const id of services) {
    const moving = arrival(round, id);
    if (moving.target !== undefined) {
      round.setState(id, "Migrate", moving); // whether it has arrived is for its agent to find out
      continue;
    }
    const requested = round.view.services[id]?.requested;
    round.setState(id, requested === "Started" ? "Started" : "RequestStop");
  }
  return true;
}

/** Fenced nodes whose services have all left `Fence` may have their lease back. */
export function releaseLeases(round: Round): void {
  if (round.reference) return;
  const held = new Set(
    Object.entries(round.view.nodes)
      .filter(([, view]) => view.lease === "crm")
      .map(([name]) => name),
  );
  if (held.size === 0) return;
  for (const id of round.serviceIds()) {
    const record = round.services.get(id);
    if (record?.state === "Fence") held.delete(record.node);
  }
  for (const node of [...held].sort()) round.effects.push({ type: "releaseLease", node });
}

/** Nodes that left the cluster are forgotten after a while, if nothing belongs to them. */
export function forgetNodes(round: Round, goneSince: Readonly<Record<string, number>>): Record<string, number> {
  const next: Record<string, number> = {};
  for (const [name, node] of round.nodes) {
    if (node.state !== "Gone") continue;
    const since = goneSince[name] ?? round.now;
    const used = round.serviceIds().some((id) => round.services.get(id)?.node === name);
    if (!used && round.now - since >= round.parameters.forgetNodeAfter) {
      round.nodes.delete(name);
      round.effects.push({ type: "forgetNode", node: name });
    } else {
      next[name] = since;
    }
  }
  return next;
}
