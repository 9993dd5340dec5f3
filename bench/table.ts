import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Prints rows in columns under a title; the first column is words, the others are numbers. */
export function printTable(title: string, header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((_, i) => Math.max(...[header, ...rows].map((row) => (row[i] ?? "").length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  ");
  console.log(`\n${title}\n`);
  console.log(line(header));
  console.log(line(widths.map((width) => "-".repeat(width))));
  for (const row of rows) console.log(line(row));
}

/** What else the machine did: a time of a busy machine is no time of the program. */
export function machine(): string {
  const load = readFileSync("/proc/loadavg", "utf8").split(" ")[0];
  return `${availableParallelism()} CPUs, load ${load}, Node ${process.versions.node}`;
}

export function number(value: number, digits = 1): string {
  return Number.isFinite(value) ? value.toFixed(digits) : "-";
}

export function megabytes(bytes: number): string {
  return number(bytes / 1024 ** 2, 0);
}
