import type { Host } from "../host/index.ts";

/** What the processes of a guest's unit have used, and hold. */
export interface UnitLoad {
  /** Since they were started; it falls when they are started anew. */
  readonly cpuMilliseconds: number;
  /** Of their own: pages of files, which the kernel can drop, are not in it. */
  readonly memoryBytes: number;
}

const TIMEOUT_MS = 15_000;
/** USER_HZ, the same on all that Linux runs on today. */
const TICK_MS = 10;
/** Where systemd's own hierarchy may be: alone, or beside those of version 1. */
const HIERARCHIES = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/** Of running units, by name; one that does not run, or of which nothing can be read, is left out. */
export async function unitLoads(host: Host, units: readonly string[]): Promise<Map<string, UnitLoad>> {
  if (units.length === 0) return new Map();
  const { stdout } = await host.run(
    "systemctl",
    ["show", "--property=Id,MainPID,ControlGroup,CPUUsageNSec", "--", ...units],
    { timeoutMs: TIMEOUT_MS },
  );
  const loads = new Map<string, UnitLoad>();
  for (const block of stdout.trim().split(/\n\s*\n/)) {
    const value = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(block)?.[1] ?? "";
    const mainPid = Number(value("MainPID"));
    if (!(mainPid > 0)) continue;
    const pids = await processes(host, value("ControlGroup"), mainPid);
    const used = (await Promise.all(pids.map((pid) => processLoad(host, pid)))).filter((load) => load !== undefined);
    if (used.length === 0) continue;
    // Systemd's count has the processes that ended in it; where it keeps none it says so, or the highest number.
    const counted = /^[0-9]{1,18}$/.test(value("CPUUsageNSec")) ? Number(value("CPUUsageNSec")) / 1e6 : undefined;
    loads.set(value("Id"), {
      cpuMilliseconds: counted ?? used.reduce((sum, load) => sum + load.cpuMilliseconds, 0),
      memoryBytes: used.reduce((sum, load) => sum + load.memoryBytes, 0),
    });
  }
  return loads;
}

async function processes(host: Host, group: string, mainPid: number): Promise<number[]> {
  if (!group.startsWith("/") || group.includes("..")) return [mainPid];
  for (const hierarchy of HIERARCHIES) {
    const text = await host.readFile(`${hierarchy}${group}/cgroup.procs`).catch(() => undefined);
    const pids = (text?.toString() ?? "").split("\n").map(Number);
    if (pids.includes(mainPid)) return pids.filter((pid) => pid > 0);
  }
  return [mainPid];
}

async function processLoad(host: Host, pid: number): Promise<UnitLoad | undefined> {
  const read = async (name: string) => (await host.readFile(`/proc/${pid}/${name}`).catch(() => undefined))?.toString();
  const [stat, status] = [await read("stat"), await read("status")];
  if (stat === undefined || status === undefined) return undefined;
  // The name of the program, in brackets, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const kibibytes = (name: string) => Number(new RegExp(`^${name}:\\s+([0-9]+) kB$`, "m").exec(status)?.[1] ?? 0);
  return {
    cpuMilliseconds: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
    memoryBytes: (kibibytes("RssAnon") + kibibytes("RssShmem")) * 1024,
  };
}
