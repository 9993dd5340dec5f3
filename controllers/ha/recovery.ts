/** What becomes of services whose node is lost: Fence, Recovery, and Freeze, which waits for its agent. */
import { place } from "./placement.ts";
import type { Case } from "./service-case.ts";
import type { ServiceState } from "./types.ts";

/** Waits for the fence, which `fenceNodes` acknowledges for all services of the node together. The reference tries to move it first. */
export function fence({ round, id, record }: Case): void {
  const node = round.nodes.get(record.node);
  if (!round.reference || node?.state !== "Maintenance" || round.leftMaintenance.has(id)) return;
  round.leftMaintenance.add(id);
  const { node: target } = place(round, id, record, "recover");
  if (target === undefined) return;
  if (record.home === undefined) round.amend(id, { home: record.node });
  round.event("service.move.chosen", "service", id, { target, mode: "restart", cause: "placement" });
  round.setState(id, "Relocate", { target, shown: { node: record.node, target } });
}

/** Locks of work that ran on the fenced node and ended with it. Others (`create` …) say that the guest is not whole. */
const STALE_LOCKS = new Set([
  "backup",
  "mounted",
  "migrate",
  "clone",
  "rollback",
  "snapshot",
  "snapshot-delete",
  "suspending",
  "suspended",
]);

/**
 * Tried again in each step until a node is there. A guest that was on its way live may have arrived before its source died: it belongs
 * to the target, whatever is there, and counts as unguarded until the agent there answers for it. A binding to another node than the
 * fenced one is a recovery that a dead leader had decided: it stays, because nothing is proven of that node.
 */
export function recovery(service: Case): void {
  const { round, id, record, view } = service;
  const arrived =
    record.target !== undefined && round.view.nodes[record.target] !== undefined ? record.target : undefined;
  const node = arrived ?? boundAlready(service) ?? place(round, id, record, "recover").node;
  if (node === undefined) {
    round.event("service.recover.no-target", "service", id, { node: record.node });
    // A leader that died may have bound it to another node already; the binding is what counts.
    if (view.requested === "Disabled")
      round.setState(id, "Stopped", round.reference ? {} : { node: round.owner(id) ?? record.node });
    return;
  }
  round.event("service.recover", "service", id, { node: record.node, target: node });
  round.bind(id, node);
  if (view.lock !== undefined && STALE_LOCKS.has(view.lock)) {
    round.effects.push({ type: "removeLock", service: id, lock: view.lock });
    round.event("service.lock.removed", "service", id, { lock: view.lock });
  }
  const to: ServiceState =
    view.requested === "Started"
      ? "Started"
      : view.requested === "Disabled" && arrived === undefined
        ? "Stopped"
        : "RequestStop";
  round.setState(id, to, {
    node,
    guarded: arrived === undefined,
    failover: { from: record.node, fencedAt: round.nodes.get(record.node)?.fencedAt ?? round.now },
    shown: to === "Stopped" ? {} : { node },
  });
}

function boundAlready({ round, id, record }: Case): string | undefined {
  const owner = round.owner(id);
  if (round.reference || owner === undefined || owner === record.node) return undefined;
  return round.view.nodes[owner] === undefined ? undefined : owner;
}

/** Unfrozen when its agent is back and speaks. */
export function freeze({ round, id, record, view }: Case): void {
  if (round.disarm !== undefined || !round.isOnline(record.node)) return;
  const mode = round.view.nodes[record.node]?.agentMode;
  if (mode === "Restart" || mode === "Shutdown" || mode === "Disarmed" || mode === "Lost") return;
  // While it was frozen its watchdog may have been closed: its agent must answer for it again.
  round.setState(id, view.requested === "Started" ? "Started" : "RequestStop", { guarded: false });
}
