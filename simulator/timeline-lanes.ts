/** What a picture of a run shows: for each node and guest its states over time, where the guest ran, and what was done to the world. */
import type { SimEvent } from "./recorder.ts";
import type { Op } from "./scenario.ts";

/** Virtual seconds. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly state: string;
}

export interface Mark {
  readonly t: number;
  readonly label: string;
  readonly colour: string;
}

export interface Lane {
  readonly name: string;
  /** As the CRM has it. */
  readonly spans: readonly Span[];
  /** Of a node: when its host is off or stands still. Of a guest: where it runs, `state` being the node, and when it is down. */
  readonly below: readonly Span[];
  readonly marks: readonly Mark[];
}

export const OFF = "host off";
export const FROZEN = "host stands still";
export const DOWN = "down";

export function nodeLanes(events: readonly SimEvent[], end: number): Lane[] {
  return subjects(events, "node.state").map((name) => ({
    name,
    spans: spansOf(changes(events, "node.state", name), end),
    below: hostSpans(events, name, end),
    marks: events.filter((event) => event.subject === name).flatMap((event) => NODE_MARKS[event.kind]?.(event) ?? []),
  }));
}

export function guestLanes(events: readonly SimEvent[], end: number): Lane[] {
  return subjects(events, "service.adopt").map((name) => ({
    name,
    spans: spansOf(changes(events, "service.state", name), end),
    below: runningSpans(events, name, end),
    marks: events.filter((event) => event.subject === name).flatMap((event) => GUEST_MARKS[event.kind]?.(event) ?? []),
  }));
}

/** What was done to the world, in words. */
export function inputMarks(events: readonly SimEvent[]): Mark[] {
  return events
    .filter((event) => event.class === "input")
    .map((event) => ({ t: event.t, label: words(event.cmd as Op), colour: "#333" }));
}

type MarkOf = (event: SimEvent) => Mark;
const RED = "#c62828";

const NODE_MARKS: Readonly<Record<string, MarkOf>> = {
  "node.self-fenced": ({ t }) => ({ t, label: "reset by its watchdog", colour: RED }),
  "fence.device.confirmed": ({ t }) => ({ t, label: "switched off by its fence device", colour: RED }),
  "fence.acknowledged": ({ t }) => ({ t, label: "fenced: lease taken", colour: "#222" }),
  "fence.cancelled": ({ t }) => ({ t, label: "fence cancelled", colour: "#222" }),
};

const GUEST_MARKS: Readonly<Record<string, MarkOf>> = {
  "service.recover": ({ t, target }) => ({ t, label: `recovered on ${target}`, colour: "#222" }),
  "start.ok": ({ t, at }) => ({ t, label: `started on ${at}`, colour: "#1b5e20" }),
  "start.fail": ({ t, at }) => ({ t, label: `does not start on ${at}`, colour: RED }),
  "move.ok": ({ t, target, mode }) => ({ t, label: `moved to ${target} (${mode})`, colour: "#4527a0" }),
  "move.fail": ({ t, target }) => ({ t, label: `move to ${target} failed`, colour: RED }),
  "guest.runs-twice": ({ t, nodes }) => ({ t, label: `RUNS TWICE: ${String(nodes)}`, colour: "#ff0000" }),
  "guest.started-without-lease": ({ t, node }) => ({
    t,
    label: `STARTED ON ${node} WITHOUT A LEASE`,
    colour: "#ff0000",
  }),
  "guest.not-running": ({ t }) => ({ t, label: "NOT RUNNING", colour: "#ff0000" }),
};

function subjects(events: readonly SimEvent[], kind: string): string[] {
  const names = new Set(events.filter((event) => event.kind === kind).map((event) => event.subject ?? ""));
  return [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
}

function changes(events: readonly SimEvent[], kind: string, subject: string): SimEvent[] {
  return events.filter((event) => event.kind === kind && event.subject === subject);
}

/** A later change at the same time replaces the earlier one: what is too short to be seen is not drawn. */
function spansOf(list: readonly SimEvent[], end: number): Span[] {
  return list
    .map((event, i) => ({ from: event.t, to: list[i + 1]?.t ?? end, state: String(event.to) }))
    .filter((span) => span.to > span.from);
}

function hostSpans(events: readonly SimEvent[], name: string, end: number): Span[] {
  const spans: Span[] = [];
  let open: { from: number; state: string } | undefined;
  for (const event of events) {
    const cmd = event.kind === "inject" ? (event.cmd as Op) : undefined;
    if (cmd?.op !== "repair" && cmd?.node !== name) continue;
    const state = hostState(cmd);
    if (state === undefined) continue;
    if (open && open.state !== state) spans.push({ ...open, to: event.t });
    if (open?.state !== state) open = state === "runs" ? undefined : { from: event.t, state };
  }
  if (open) spans.push({ ...open, to: end });
  return spans.filter((span) => span.to > span.from);
}

function hostState({ op, on }: Op): string | undefined {
  if (op === "node.power") return on === true ? "runs" : OFF;
  if (op === "node.freeze") return FROZEN;
  return op === "node.thaw" || op === "repair" ? "runs" : undefined;
}

/** By what the agents reported and which hosts lost power. */
function runningSpans(events: readonly SimEvent[], id: string, end: number): Span[] {
  const spans: Span[] = [];
  let open: { from: number; state: string } | undefined;
  const now = (t: number, state: string): void => {
    if (open?.state === state) return;
    if (open && t > open.from) spans.push({ ...open, to: t });
    open = { from: t, state };
  };
  for (const event of events) {
    const { t, kind, at = "" } = event;
    const cmd = kind === "inject" ? (event.cmd as Op) : undefined;
    if (cmd?.op === "node.power" && cmd.on !== true && open?.state === cmd.node) now(t, DOWN);
    if (event.subject !== id) continue;
    if (kind === "start.ok") now(t, at);
    else if (kind === "stop.ok" && open?.state === at) now(t, DOWN);
    else if (kind === "move.ok" && open?.state === at) now(t, event.mode === "live" ? String(event.target) : DOWN);
  }
  if (open && end > open.from) spans.push({ ...open, to: end });
  return spans;
}

function words(cmd: Op): string {
  const node = String(cmd.node ?? "");
  const service = String(cmd.service ?? "");
  const nodes = Array.isArray(cmd.nodes) ? cmd.nodes.join(" ") : "all";
  const either = (yes: boolean, one: string, other: string): string => (yes ? one : other);
  switch (cmd.op) {
    case "node.network":
      return `${node} ${either(cmd.up === true, "connected again", "cut off")}`;
    case "node.ring":
      return `corosync links of ${node} ${either(cmd.up === true, "whole", "cut")}`;
    case "network.partition":
      return `network: ${cellsInWords(cmd.cells as Record<string, string>)}`;
    case "api.reach": {
      const whom = [nodes, ...(cmd.controllers === false ? [] : ["controllers"])].filter(Boolean).join(", ");
      return `API ${either(cmd.up === true, "back", "gone")} for ${whom}`;
    }
    case "node.power":
      return `${node} power ${either(cmd.on === true, "on", "off")}`;
    case "maintenance":
      return `maintenance of ${node} ${either(cmd.enable === false, "ends", "begins")}`;
    case "leader.crash":
      return `leader dies${cmd.after === undefined ? "" : ` after ${cmd.after}`}`;
    case "service.want":
      return `${service} wanted ${cmd.state}`;
    case "service.move":
      return `move ${service} to ${cmd.target} (${cmd.mode ?? "live"})`;
    case "quorum.override":
      return cmd.expected_votes === undefined ? "quorum override ends" : `quorum override: ${cmd.expected_votes} votes`;
    case "fence.device":
      return `fence device of ${node}${cmd.works === false ? ", not working" : ""}`;
    default:
      return PLAIN[cmd.op]?.(node || service) ?? [cmd.op, node, service].filter(Boolean).join(" ");
  }
}

const PLAIN: Readonly<Record<string, (who: string) => string>> = {
  "node.freeze": (who) => `${who} stands still`,
  "node.thaw": (who) => `${who} goes on`,
  "node.reboot": (who) => `${who} reboots`,
  "node.shutdown": (who) => `${who} shuts down`,
  "agent.kill": (who) => `agent of ${who} dies`,
  "agent.start": (who) => `agent of ${who} starts`,
  "agent.ensure": (who) => `agent of ${who} starts`,
  "agent.freeze": (who) => `agent of ${who} stands still`,
  "agent.thaw": (who) => `agent of ${who} goes on`,
  "keeper.kill": (who) => `keeper of ${who} dies`,
  "keeper.freeze": (who) => `keeper of ${who} stands still`,
  "keeper.thaw": (who) => `keeper of ${who} goes on`,
  "watchdog.break": (who) => `watchdog of ${who} breaks`,
  "watchdog.mend": (who) => `watchdog of ${who} works again`,
  repair: () => "everything repaired",
};

function cellsInWords(cells: Readonly<Record<string, string>>): string {
  const parts = new Map<string, string[]>();
  for (const [node, cell] of Object.entries(cells)) parts.set(cell, [...(parts.get(cell) ?? []), node]);
  return parts.size === 1 ? "whole again" : [...parts.values()].map((names) => names.join(" ")).join(" | ");
}
