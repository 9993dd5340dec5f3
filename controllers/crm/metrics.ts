import { counter, gauge, histogram } from "../../kube/index.ts";
import type { CrmState, CrmStepResult, CrmView, HaEvent, Milliseconds } from "../ha/index.ts";
import { camelCase } from "./reason.ts";

/**
 * What the CRM decided, as metrics: all of it is read from the results of the pure step, here and nowhere else. Only the replica that
 * leads has them. A step counts when its effects are written, so that what is decided anew is not counted twice.
 */
export class CrmMetrics {
  readonly #namespace: string;
  /** Services in recovery: since when their node was no member any more, and whether it was said that no node may take them. */
  readonly #recoveries = new Map<string, Milliseconds>();
  readonly #stranded = new Set<string>();

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  /** @param cutAt when a node was last seen as a member, on the clock of `now` */
  step(
    result: CrmStepResult,
    view: CrmView,
    now: Milliseconds,
    cutAt: (node: string) => Milliseconds | undefined,
  ): void {
    const namespace = this.#namespace;
    if (!shown.has(namespace)) for (const outcome of ["Fenced", "Cancelled"]) fences.inc({ namespace, outcome }, 0);
    shown.set(namespace, { state: result.state, quorate: view.quorate, rulesDropped: result.droppedRules.length });
    for (const event of result.events) this.#count(event, result.events, cutAt);
    this.#started(result.state, now);
  }

  /** This replica leads no more, or the cluster is gone: what it last saw is no longer so. */
  forget(): void {
    shown.delete(this.#namespace);
    this.#recoveries.clear();
    this.#stranded.clear();
  }

  #count(event: HaEvent, all: readonly HaEvent[], cutAt: (node: string) => Milliseconds | undefined): void {
    const namespace = this.#namespace;
    const { kind, subject = "", data } = event;
    const text = (key: string) => String(data[key] ?? "");
    switch (kind) {
      case "service.state":
        stateChanges.inc({ namespace, from: text("from"), to: text("to") });
        this.#move(subject, text("from"), text("to"), all);
        if (text("from") === "Recovery") this.#stranded.delete(subject);
        break;
      case "fence.acknowledged":
        fences.inc({ namespace, outcome: "Fenced" });
        break;
      case "fence.cancelled":
        fences.inc({ namespace, outcome: "Cancelled" });
        break;
      case "service.recover": {
        recoveries.inc({ namespace });
        const cut = cutAt(text("node"));
        if (cut !== undefined) this.#recoveries.set(subject, cut);
        break;
      }
      case "service.recover.no-target":
        // Tried again in every step, refused once.
        if (!this.#stranded.has(subject)) refused.inc({ namespace, reason: "NoRecoveryNode" });
        this.#stranded.add(subject);
        break;
      case "command.rejected":
        refused.inc({ namespace, reason: camelCase(text("reason")) });
        break;
      case "service.start-failed":
        startFailures.inc({ namespace, next: camelCase(text("next")) });
        break;
    }
  }

  #move(service: string, from: string, to: string, all: readonly HaEvent[]): void {
    const mode = { Migrate: "Live", Relocate: "Restart", RequestStartBalance: "Restart" };
    const began = mode[to as keyof typeof mode];
    const ended = mode[from as keyof typeof mode];
    if (began !== undefined) moves.inc({ namespace: this.#namespace, mode: began, outcome: "Begun" });
    if (ended === undefined) return;
    const failed = all.some(
      ({ kind, subject, data }) => kind === "service.failed" && subject === service && data.what === "move",
    );
    const outcome = failed || to === "Fence" || to === "Error" ? "Failed" : "Arrived";
    moves.inc({ namespace: this.#namespace, mode: ended, outcome });
  }

  /** A recovered guest runs when its new node has answered so for the command that started it. */
  #started(state: CrmState, now: Milliseconds): void {
    for (const [service, cut] of this.#recoveries) {
      const record = state.services[service];
      if (record?.state === "Started" && record.processed !== `${record.command.uid}/Ok`) continue;
      this.#recoveries.delete(service);
      if (record?.state === "Started") recoverySeconds.observe({ namespace: this.#namespace }, (now - cut) / 1000);
    }
  }
}

interface Shown {
  readonly state: CrmState;
  readonly quorate: boolean;
  readonly rulesDropped: number;
}

/** What each cluster was like after the last step, for the gauges. */
const shown = new Map<string, Shown>();

const stateChanges = counter("quorate_ha_service_state_changes_total", "Changes of state of services under HA.", [
  "namespace",
  "from",
  "to",
]);
const fences = counter("quorate_ha_fences_total", "Fences of nodes, by how they ended: Fenced or Cancelled.", [
  "namespace",
  "outcome",
]);
const recoveries = counter("quorate_ha_recoveries_total", "Services given to another node after a fence.", [
  "namespace",
]);
const recoverySeconds = histogram(
  "quorate_ha_recovery_seconds",
  "From the moment a node was last seen as a member to its guest running elsewhere.",
  ["namespace"],
  [5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 90, 120, 300, 600],
);
const moves = counter("quorate_ha_moves_total", "Moves of services that are no recovery.", [
  "namespace",
  "mode",
  "outcome",
]);
const refused = counter("quorate_ha_placements_refused_total", "Moves and recoveries that found no allowed place.", [
  "namespace",
  "reason",
]);
const startFailures = counter("quorate_ha_start_failures_total", "Starts that failed on a node, and what follows.", [
  "namespace",
  "next",
]);

gauge("quorate_ha_services", "Services under HA.", ["namespace", "state"], (g) => {
  g.reset();
  for (const [namespace, { state }] of shown)
    for (const service of Object.values(state.services)) g.inc({ namespace, state: service.state });
});
gauge("quorate_ha_node_state", "1 for the state that each node has.", ["namespace", "node", "state"], (g) => {
  g.reset();
  for (const [namespace, { state }] of shown)
    for (const [node, record] of Object.entries(state.nodes)) g.set({ namespace, node, state: record.state }, 1);
});
gauge("quorate_ha_quorate", "1 while a fresh report says that the cluster is quorate.", ["namespace"], (g) => {
  g.reset();
  for (const [namespace, { quorate }] of shown) g.set({ namespace }, quorate ? 1 : 0);
});
gauge(
  "quorate_ha_rules_dropped",
  "Rules that are enabled and not in force, see their condition Ready.",
  ["namespace"],
  (g) => {
    g.reset();
    for (const [namespace, { rulesDropped }] of shown) g.set({ namespace }, rulesDropped);
  },
);
