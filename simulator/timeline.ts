/**
 * A picture of a run: one lane for each node and each guest over virtual time, coloured by state, with where guests ran and what was
 * done to the world. A plain SVG, to be looked at in a browser or put into a report.
 */
import type { SimEvent } from "./recorder.ts";
import {
  DOWN,
  FROZEN,
  guestLanes,
  inputMarks,
  type Lane,
  type Mark,
  nodeLanes,
  OFF,
  type Span,
} from "./timeline-lanes.ts";

const WIDTH = 1200;
const LEFT = 110;
const RIGHT = 20;
const BAR = 18;
const BELOW = 10;
const LINE = 13;
const GAP = 8;
/** Of a character, about, at font-size 11. */
const CHARACTER = 6.1;
/** More guests than these are not drawn: those first of which there is most to see. */
const MOST_GUESTS = 40;

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
  [OFF]: "#222222",
  [FROZEN]: "#7b1fa2",
  [DOWN]: "#ffffff",
};
/** Where a guest runs: light, so that the state above stands out. */
const NODE_COLOURS = ["#b3cde3", "#fddaec", "#e5d8bd", "#ccebc5", "#fed9a6", "#decbe4", "#d9d9d9", "#ffffcc"];

interface Drawing {
  readonly x: (t: number) => number;
  readonly nodes: readonly string[];
}

/** @param events of one run, in their order. @returns the SVG document. */
export function timeline(title: string, events: readonly SimEvent[]): string {
  const last = events.reduce((latest, event) => Math.max(latest, event.t), 1);
  const end = shownUntil(events, last);
  const x = (t: number): number => Math.round((LEFT + (Math.min(t, end) / end) * (WIDTH - LEFT - RIGHT)) * 10) / 10;
  const nodes = nodeLanes(events, end);
  const guests = guestLanes(events, end);
  const drawn = mostToSee(guests);
  const drawing: Drawing = { x, nodes: nodes.map((lane) => lane.name) };
  const parts: string[] = [];
  let y = 40;
  const inputs = inputMarks(events);
  const labels = placed(inputs, x);
  const top = y;
  parts.push(...labels.map((label) => text(label.x, top + 10 + label.line * LINE, label.mark.label, "#333")));
  y += linesOf(labels) * LINE + GAP;
  const lanesFrom = y;
  for (const [heading, lanes] of [["nodes", nodes] as const, ["guests", drawn] as const]) {
    parts.push(`<text x="10" y="${y + 10}" fill="#666" font-style="italic">${heading}</text>`);
    y += LINE + 4;
    for (const lane of lanes) {
      const { svg, height } = drawLane(lane, y, drawing);
      parts.push(svg);
      y += height + GAP;
    }
  }
  if (drawn.length < guests.length) {
    parts.push(text(10, y + 10, `and ${guests.length - drawn.length} more guests`, "#666"));
    y += LINE + GAP;
  }
  const lanesTo = y;
  parts.unshift(
    ...inputs.map(
      (mark, i) =>
        `<line x1="${x(mark.t)}" x2="${x(mark.t)}" y1="${top + (labels[i]?.line ?? 0) * LINE}" y2="${lanesTo}" stroke="#555" stroke-dasharray="2 3"><title>${xmlText(`${mark.t} s: ${mark.label}`)}</title></line>`,
    ),
  );
  parts.unshift(
    ...ticks(end).map(
      (t) =>
        `<line x1="${x(t)}" x2="${x(t)}" y1="${lanesFrom}" y2="${lanesTo}" stroke="#eee"/><text x="${x(t)}" y="${lanesTo + 12}" text-anchor="middle" fill="#666">${t} s</text>`,
    ),
  );
  y = lanesTo + 30;
  const legend = drawLegend([...nodes, ...drawn], y);
  parts.push(legend.svg);
  y += legend.height;
  if (end < last) parts.push(text(LEFT, y + 4, `Nothing more happens until the end at ${last} s.`, "#666"));
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 14}" font-family="sans-serif" font-size="11">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    `<text x="10" y="22" font-size="14">${xmlText(shortened(title, 150))}</text>`,
    ...parts,
    "</svg>",
  ].join("\n")}\n`;
}

/** A little after the last event; what is the same until the end need not be looked at. */
function shownUntil(events: readonly SimEvent[], last: number): number {
  const quiet = events.reduce((latest, event) => (event.class === "final" ? latest : Math.max(latest, event.t)), 1);
  return Math.min(last, Math.ceil(quiet * 1.12 + 5));
}

function mostToSee(lanes: readonly Lane[]): readonly Lane[] {
  if (lanes.length <= MOST_GUESTS) return lanes;
  const shown = new Set([...lanes].sort((a, b) => b.marks.length - a.marks.length).slice(0, MOST_GUESTS));
  return lanes.filter((lane) => shown.has(lane));
}

/** The state above; below it the host, or where the guest runs; under them what happened. */
function drawLane(lane: Lane, y: number, { x, nodes }: Drawing): { svg: string; height: number } {
  const marks = placedBelow(lane.marks, x);
  const bars = lane.spans.map((span) => bar(lane.name, span, y, BAR, COLOURS[span.state] ?? "#ddd", x));
  const below = lane.below.map((span) => bar(lane.name, span, y + BAR, BELOW, belowColour(span.state, nodes), x));
  const notes = marks.map(({ mark, x: at, line }) => {
    const base = y + BAR + BELOW + 11 + line * LINE;
    const stem = `<line x1="${x(mark.t)}" x2="${x(mark.t)}" y1="${y + BAR}" y2="${base}" stroke="${mark.colour}" stroke-width="2"/>`;
    return `${stem}${text(at, base, mark.label, mark.colour, `${mark.t} s: ${mark.label}`)}`;
  });
  const svg = `<g><text x="10" y="${y + 13}">${xmlText(lane.name)}</text>${bars.join("")}${below.join("")}${notes.join("")}</g>`;
  return { svg, height: BAR + BELOW + linesOf(marks) * LINE };
}

function bar(
  lane: string,
  { from, to, state }: Span,
  y: number,
  height: number,
  colour: string,
  x: Drawing["x"],
): string {
  const width = Math.max(1, x(to) - x(from));
  const label = state === DOWN ? `down ${Math.round((to - from) * 10) / 10} s` : state;
  const title = `<title>${xmlText(`${lane}: ${state} from ${from} s to ${to} s`)}</title>`;
  const dark = state === OFF || state === FROZEN || state === "Error" || state === "Fence";
  const size = height < BAR ? 9 : 11;
  const shown =
    width > label.length * CHARACTER + 8
      ? `<text x="${x(from) + 4}" y="${y + height - (height < BAR ? 2 : 5)}" font-size="${size}" fill="${dark ? "#fff" : "#222"}">${xmlText(label)}</text>`
      : "";
  const outline = state === DOWN ? ' stroke="#c62828" stroke-dasharray="3 2"' : "";
  return `<rect x="${x(from)}" y="${y}" width="${width}" height="${height}" fill="${colour}"${outline}>${title}</rect>${shown}`;
}

function belowColour(state: string, nodes: readonly string[]): string {
  return COLOURS[state] ?? NODE_COLOURS[Math.max(0, nodes.indexOf(state)) % NODE_COLOURS.length] ?? "#ddd";
}

interface Placed {
  readonly mark: Mark;
  readonly x: number;
  readonly line: number;
}

/** Each label beside its time, on the first line on which it overlaps no other. No stem from above crosses one of these. */
function placed(marks: readonly Mark[], x: Drawing["x"]): Placed[] {
  const ends: number[] = [];
  return marks.map((mark) => {
    const at = labelAt(mark, x);
    const free = ends.findIndex((end) => end <= Math.min(at, x(mark.t)));
    const line = free === -1 ? ends.length : free;
    ends[line] = at + widthOf(mark);
    return { mark, x: at, line };
  });
}

/** The same for labels below what they name: the last comes first, so that its stem crosses none of the earlier ones. */
function placedBelow(marks: readonly Mark[], x: Drawing["x"]): Placed[] {
  const starts: number[] = [];
  return marks
    .toReversed()
    .map((mark) => {
      const at = labelAt(mark, x);
      const free = starts.findIndex((start) => at + widthOf(mark) <= start);
      const line = free === -1 ? starts.length : free;
      starts[line] = Math.min(at, x(mark.t));
      return { mark, x: at, line };
    })
    .toReversed();
}

function labelAt(mark: Mark, x: Drawing["x"]): number {
  return Math.min(x(mark.t) + 4, WIDTH - widthOf(mark));
}

function widthOf({ label }: Mark): number {
  return label.length * CHARACTER + 10;
}

function linesOf(labels: readonly Placed[]): number {
  return labels.reduce((most, { line }) => Math.max(most, line + 1), 0);
}

/** Only of what is to be seen. */
function drawLegend(lanes: readonly Lane[], y: number): { svg: string; height: number } {
  const states = new Set(lanes.flatMap((lane) => [...lane.spans, ...lane.below].map((span) => span.state)));
  const known = [...states].filter((state) => COLOURS[state] !== undefined);
  let x = LEFT;
  let line = 0;
  const entries = known.map((state) => {
    const label = state === DOWN ? "guest down" : state;
    const width = label.length * CHARACTER + 34;
    if (x + width > WIDTH - RIGHT) {
      x = LEFT;
      line += 1;
    }
    const at = x;
    x += width;
    const outline = state === DOWN ? ' stroke="#c62828" stroke-dasharray="3 2"' : ' stroke="#999"';
    return `<rect x="${at}" y="${y + line * 18}" width="14" height="10" fill="${COLOURS[state]}"${outline}/>${text(at + 19, y + 9 + line * 18, label, "#333")}`;
  });
  const note =
    "thick bar: state of node or service; thin bar: where the guest runs, or what its host does; dotted line: what was done to the world";
  entries.push(text(LEFT, y + 9 + (line + 1) * 18, note, "#666"));
  return { svg: `<g>${entries.join("")}</g>`, height: (line + 2) * 18 };
}

function ticks(end: number): number[] {
  const step = [1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 3600].find((size) => end / size <= 14) ?? Math.ceil(end / 10);
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

function text(x: number, y: number, words: string, colour: string, title?: string): string {
  // A white edge: a line that runs through it leaves it readable.
  return `<text x="${x}" y="${y}" fill="${colour}" stroke="white" stroke-width="3" paint-order="stroke">${xmlText(words)}${title === undefined ? "" : `<title>${xmlText(title)}</title>`}</text>`;
}

function shortened(words: string, most: number): string {
  return words.length <= most ? words : `${words.slice(0, most - 1)}…`;
}

function xmlText(words: string): string {
  return words.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
