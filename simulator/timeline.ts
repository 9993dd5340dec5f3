/**
 * A picture of a run: one lane for each node and each service over virtual time, coloured by state, with where guests ran and what was
 * done to the world. A plain SVG, to be looked at in a browser or put into a report.
 */
import type { SimEvent } from "./recorder.ts";

interface Span {
  readonly from: number;
  readonly to: number;
  readonly state: string;
}

interface Lane {
  readonly name: string;
  readonly spans: readonly Span[];
  readonly marks: readonly { readonly t: number; readonly label: string; readonly colour: string }[];
}

const WIDTH = 1100;
const LEFT = 120;
const ROW = 26;
const COLOURS: Readonly<Record<string, string>> = {
  Online: "#7fb77e",
  Started: "#7fb77e",
  Maintenance: "#8fb8de",
  Freeze: "#8fb8de",
  Unknown: "#c9c9c9",
  Gone: "#c9c9c9",
  Stopped: "#dcdcdc",
  Fence: "#d9534f",
  Recovery: "#f0ad4e",
  Migrate: "#b39ddb",
  Relocate: "#b39ddb",
  RequestStart: "#cfe8cf",
  RequestStartBalance: "#cfe8cf",
  RequestStop: "#efe3c2",
  Error: "#a94442",
};

/** @param events of one run, in their order. @returns the SVG document. */
export function timeline(title: string, events: readonly SimEvent[]): string {
  const end = events.reduce((latest, event) => Math.max(latest, event.t), 1);
  const lanes = [...nodeLanes(events, end), ...serviceLanes(events, end)];
  const inputs = events.filter((event) => event.class === "input");
  const height = 70 + lanes.length * ROW;
  const x = (t: number): number => Math.round((LEFT + (t / end) * (WIDTH - LEFT - 20)) * 10) / 10;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="10" y="20" font-size="14">${xmlText(title)}</text>`,
    ...ticks(end).map(
      (t) =>
        `<g><line x1="${x(t)}" x2="${x(t)}" y1="34" y2="${height - 18}" stroke="#eee"/><text x="${x(t)}" y="${height - 5}" text-anchor="middle" fill="#666">${t} s</text></g>`,
    ),
    ...lanes.map((lane, i) => drawLane(lane, 40 + i * ROW, x)),
    ...inputs.map(
      (event) =>
        `<line x1="${x(event.t)}" x2="${x(event.t)}" y1="34" y2="${height - 18}" stroke="#333" stroke-dasharray="2 3"><title>${xmlText(`${event.t} s: ${JSON.stringify(event.cmd)}`)}</title></line>`,
    ),
    "</svg>",
  ];
  return `${parts.join("\n")}\n`;
}

function nodeLanes(events: readonly SimEvent[], end: number): Lane[] {
  const names = new Set(events.filter((event) => event.kind === "node.state").map((event) => event.subject ?? ""));
  return [...names].sort().map((name) => ({
    name,
    spans: spansOf(
      events.filter((event) => event.kind === "node.state" && event.subject === name),
      end,
    ),
    marks: events
      .filter(
        (event) => event.subject === name && (event.kind === "node.self-fenced" || event.kind === "fence.acknowledged"),
      )
      .map((event) => ({
        t: event.t,
        label: event.kind,
        colour: event.kind === "node.self-fenced" ? "#d9534f" : "#333",
      })),
  }));
}

function serviceLanes(events: readonly SimEvent[], end: number): Lane[] {
  const names = new Set(events.filter((event) => event.kind === "service.adopt").map((event) => event.subject ?? ""));
  return [...names].sort().map((name) => ({
    name,
    spans: spansOf(
      events.filter((event) => event.kind === "service.state" && event.subject === name),
      end,
    ),
    marks: events
      .filter((event) => event.subject === name && MARKS[event.kind] !== undefined)
      .map((event) => ({
        t: event.t,
        label: `${event.kind}${event.at === undefined ? "" : ` on ${event.at}`}`,
        colour: MARKS[event.kind] ?? "#333",
      })),
  }));
}

const MARKS: Readonly<Record<string, string>> = {
  "start.ok": "#1b5e20",
  "start.fail": "#b71c1c",
  "stop.ok": "#555",
  "move.ok": "#4527a0",
  "guest.runs-twice": "#ff0000",
};

/** A later change at the same time replaces the earlier one: what is too short to be seen is not drawn. */
function spansOf(changes: readonly SimEvent[], end: number): Span[] {
  return changes
    .map((event, i) => ({ from: event.t, to: changes[i + 1]?.t ?? end, state: String(event.to) }))
    .filter((span) => span.to > span.from);
}

function drawLane(lane: Lane, y: number, x: (t: number) => number): string {
  const bars = lane.spans.map((span) => {
    const width = Math.max(1, x(span.to) - x(span.from));
    const label = width > 60 ? `<text x="${x(span.from) + 4}" y="${y + 13}" fill="#222">${span.state}</text>` : "";
    const title = `<title>${xmlText(`${lane.name}: ${span.state} from ${span.from} s to ${span.to} s`)}</title>`;
    return `<rect x="${x(span.from)}" y="${y}" width="${width}" height="18" fill="${COLOURS[span.state] ?? "#ddd"}">${title}</rect>${label}`;
  });
  const marks = lane.marks.map(
    (mark) =>
      `<circle cx="${x(mark.t)}" cy="${y + 9}" r="4" fill="${mark.colour}"><title>${xmlText(`${mark.t} s: ${mark.label}`)}</title></circle>`,
  );
  return `<g><text x="10" y="${y + 13}">${xmlText(lane.name)}</text>${bars.join("")}${marks.join("")}</g>`;
}

function ticks(end: number): number[] {
  const step = [1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600].find((size) => end / size <= 14) ?? Math.ceil(end / 10);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

function xmlText(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
