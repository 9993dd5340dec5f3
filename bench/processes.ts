/** What processes of this machine take: the parts of Quorate on the hosts of a lab, which are processes here too. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { systemClock } from "../clock.ts";

export interface PartUse {
  readonly part: string;
  readonly pid: number;
  /** Of one CPU. */
  readonly cpuPercent: number;
  readonly rssBytes: number;
}

const PART = /quorate\.mjs (controllers|agent|keeper)\b/;

/** @param pids where to look; what is no part of Quorate, or ends meanwhile, is left out. */
export async function measureParts(pids: readonly number[], seconds: number): Promise<PartUse[]> {
  const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  const parts = pids.flatMap((pid) => {
    const part = PART.exec(readProc(pid, "cmdline")?.replaceAll("\0", " ") ?? "")?.[1];
    return part === undefined ? [] : [{ part, pid, ticks: ticks(pid) }];
  });
  const from = systemClock.elapsedMs();
  await systemClock.sleep(seconds * 1000);
  const passed = (systemClock.elapsedMs() - from) / 1000;
  return parts.flatMap(({ part, pid, ticks: before }) => {
    const after = ticks(pid);
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(pid, "status") ?? "")?.[1];
    if (before === undefined || after === undefined || rss === undefined) return [];
    const cpuPercent = ((after - before) / ticksPerSecond / passed) * 100;
    return [{ part, pid, cpuPercent, rssBytes: Number(rss) * 1024 }];
  });
}

/** User and system time of the process (fields 14 and 15 of proc(5) stat, counted behind the name). */
function ticks(pid: number): number | undefined {
  const stat = readProc(pid, "stat");
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}
