import type { Clock } from "../../clock.ts";
import type { Guest } from "../../crds/index.ts";
import { rfc3339 } from "../../kube/index.ts";
import type { GuestProcess, Guests } from "../guests/index.ts";
import type { Host } from "../host/index.ts";

/** As the status of a Guest, or of a ClusterNode, shows it. */
export interface Usage {
  readonly cpuMillicores: number;
  readonly memoryBytes: number;
  readonly measuredAt: string;
}

/** What was used in all until now, and what is held. */
export interface Sample {
  readonly cpuMilliseconds: number;
  readonly memoryBytes: number;
}

/** Peaks shorter than this are no reason to move a guest. */
const SMOOTHED_OVER_MS = 60_000;
/** The API server hears of it at most so often, and only of a change that matters. */
const SHOWN_EVERY_MS = 30_000;
const MATTERS = { share: 0.1, cpuMillicores: 50, memoryBytes: 16 * 1024 * 1024 };

interface Course {
  readonly sample: Sample;
  readonly at: number;
  readonly smooth?: { readonly cpuMillicores: number; readonly memoryBytes: number };
  readonly shown?: { readonly usage: Usage; readonly at: number };
}

/** Turns samples of one consumer into what is shown of it: smoothed, and kept as it is while it changes little. Pure. */
export function follow(before: Course | undefined, sample: Sample, now: number, wall: string): Course {
  const elapsed = before === undefined ? 0 : now - before.at;
  const spent = before === undefined ? -1 : sample.cpuMilliseconds - before.sample.cpuMilliseconds;
  // The first of them, or one that was started anew: there is nothing to compare it with.
  if (before === undefined || spent < 0 || elapsed <= 0) return { sample, at: now };
  const weight = before.smooth === undefined ? 1 : 1 - Math.exp(-elapsed / SMOOTHED_OVER_MS);
  const towards = (old: number | undefined, current: number) =>
    (old ?? current) + weight * (current - (old ?? current));
  const smooth = {
    cpuMillicores: towards(before.smooth?.cpuMillicores, (spent / elapsed) * 1000),
    memoryBytes: towards(before.smooth?.memoryBytes, sample.memoryBytes),
  };
  const { shown } = before;
  if (shown !== undefined && (now - shown.at < SHOWN_EVERY_MS || !matters(shown.usage, smooth)))
    return { sample, at: now, smooth, shown };
  const usage = {
    cpuMillicores: Math.round(smooth.cpuMillicores),
    memoryBytes: Math.round(smooth.memoryBytes),
    measuredAt: wall,
  };
  return { sample, at: now, smooth, shown: { usage, at: now } };
}

function matters(shown: Usage, now: { cpuMillicores: number; memoryBytes: number }): boolean {
  return (["cpuMillicores", "memoryBytes"] as const).some(
    (what) => Math.abs(now[what] - shown[what]) > Math.max(MATTERS[what], shown[what] * MATTERS.share),
  );
}

export interface NodeLoadOptions {
  readonly namespace: string;
  readonly host: Host;
  readonly clock: Clock;
  readonly drivers: Pick<Guests, "loads">;
  /** Those that run on this host. */
  readonly guests: () => readonly Guest[];
}

/** How much of this host its guests use, and all together, for the scheduler `Dynamic`. */
export class NodeLoad {
  readonly #options: NodeLoadOptions;
  #guests = new Map<string, Course>();
  #host: Course | undefined;

  constructor(options: NodeLoadOptions) {
    this.#options = options;
  }

  ofGuest(name: string): Usage | undefined {
    return this.#guests.get(name)?.shown?.usage;
  }

  ofHost(): Usage | undefined {
    return this.#host?.shown?.usage;
  }

  async measure(): Promise<void> {
    const { clock, drivers, guests, namespace, host } = this.#options;
    const now = clock.elapsedMs();
    const wall = rfc3339(clock.wallMs());
    const sample = hostSample(await text(host, "/proc/stat"), await text(host, "/proc/meminfo"));
    if (sample !== undefined) this.#host = follow(this.#host, sample, now, wall);
    const loads = await drivers.loads(
      guests().flatMap(({ metadata: { name }, spec: { service, machine } }): GuestProcess[] => {
        if (service !== undefined) return [{ namespace, name, service }];
        return machine?.driver === "QEMU" ? [{ namespace, name, machine: {} }] : [];
      }),
    );
    this.#guests = new Map([...loads].map(([name, load]) => [name, follow(this.#guests.get(name), load, now, wall)]));
  }
}

/** From /proc/stat and /proc/meminfo; undefined for what is no such file. */
export function hostSample(stat: string, meminfo: string): Sample | undefined {
  const [, user, nice, system, , , irq, softirq] = (/^cpu .*$/m.exec(stat)?.[0] ?? "").split(/\s+/).map(Number);
  const ticks = (user ?? Number.NaN) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0);
  const kibibytes = (name: string) => Number(new RegExp(`^${name}:\\s+([0-9]+) kB$`, "m").exec(meminfo)?.[1]);
  const memoryBytes = (kibibytes("MemTotal") - kibibytes("MemAvailable")) * 1024;
  return Number.isFinite(ticks) && Number.isFinite(memoryBytes)
    ? { cpuMilliseconds: ticks * 10, memoryBytes }
    : undefined;
}

async function text(host: Host, path: string): Promise<string> {
  return (await host.readFile(path))?.toString() ?? "";
}
