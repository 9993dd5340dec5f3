import CliTable from "cli-table3";

/** A cell: its text, and how it is painted, kept apart so that colour does not count as width. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string };

export interface TableOptions {
  readonly heading: (text: string) => string;
  /** Columns of the terminal; the last column is cut to fit. Absent: nothing is cut. */
  readonly width?: number | undefined;
}

const GAP = 3;
const NO_LINES = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: " ".repeat(GAP),
};

/** Columns without lines, as kubectl prints them. Empty cells are shown as `-`. */
export function table(headings: readonly string[], rows: readonly (readonly Cell[])[], options: TableOptions): string {
  const fitted = fit(headings, rows, options.width);
  const drawn = new CliTable({
    chars: NO_LINES,
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  drawn.push(headings.map((heading) => options.heading(heading)));
  for (const row of fitted) drawn.push(row.map((cell) => (typeof cell === "string" ? cell : cell.paint(cell.text))));
  return drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

function fit(headings: readonly string[], rows: readonly (readonly Cell[])[], width: number | undefined): Cell[][] {
  const filled = rows.map((row) => row.map((cell) => (textOf(cell) === "" ? "-" : oneLine(cell))));
  if (width === undefined) return filled;
  const last = headings.length - 1;
  const before = headings.slice(0, last).map((heading, column) => {
    return Math.max(heading.length, ...filled.map((row) => textOf(row[column] ?? "").length)) + GAP;
  });
  const room = Math.max(
    width - before.reduce((sum, column) => sum + column, 0),
    headings[last]?.length ?? 0,
    MINIMUM_LAST,
  );
  return filled.map((row) => row.map((cell, column) => (column === last ? cut(cell, room) : cell)));
}

const MINIMUM_LAST = 10;

function textOf(cell: Cell): string {
  return typeof cell === "string" ? cell : cell.text;
}

function oneLine(cell: Cell): Cell {
  const flat = (text: string) => text.replaceAll(/\s*\n\s*/g, " ");
  return typeof cell === "string" ? flat(cell) : { ...cell, text: flat(cell.text) };
}

function cut(cell: Cell, room: number): Cell {
  const shorten = (text: string) => (text.length <= room ? text : `${text.slice(0, room - 1)}…`);
  return typeof cell === "string" ? shorten(cell) : { ...cell, text: shorten(cell.text) };
}
