import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { QuorateError } from "../../errors.ts";
import { waitFor } from "./wait.ts";

/**
 * The control groups of a lab: they tell which processes belong to it, whatever became of their parents, and are its
 * power switch and freezer. In every hierarchy of this machine the lab has one group `quorate-lab-NAME`, below it one
 * for each host (made by LXC) and `control` for the control plane, the watchdogs and the like.
 *
 * Works on the unified hierarchy alone (cgroup v2) and where v1 hierarchies lie beside it.
 */
export class LabCgroups {
  readonly #group: string;
  readonly #unified: string;
  readonly #v1: string[];

  constructor(labName: string) {
    const { unified, v1 } = hierarchies(readFileSync("/proc/self/mounts", "utf8"));
    this.#group = `quorate-lab-${labName}${cacheMark()}`;
    this.#unified = unified;
    this.#v1 = v1;
  }

  create(): void {
    mkdirSync(join(this.#unified, this.#group, "control"), { recursive: true });
  }

  exists(): boolean {
    return existsSync(join(this.#unified, this.#group));
  }

  /** A process that writes its id here belongs to the lab, and so do all that it starts. */
  get joinFile(): string {
    return join(this.#unified, this.#group, "control", "cgroup.procs");
  }

  /** The group of a host relative to a hierarchy, as LXC wants it. */
  relative(host: string): string {
    return `${this.#group}/${host}`;
  }

  /** The folder of a host's group in the unified hierarchy. */
  unified(host: string): string {
    return join(this.#unified, this.#group, host);
  }

  /** The folder of a host's group in the v1 freezer; undefined when the unified hierarchy freezes. */
  freezer(host: string): string | undefined {
    const freezer = this.#v1.find((folder) => folder.endsWith("/freezer"));
    return freezer && join(freezer, this.#group, host);
  }

  /** Whether any process of the host lives. */
  populated(host: string): boolean {
    return isPopulated(this.unified(host));
  }

  /** Every process of the lab, as ids on this machine. */
  processes(): number[] {
    return processesIn(join(this.#unified, this.#group));
  }

  /** Kills every process of the host at one instant, frozen or not, and returns when all are gone. */
  async killHost(host: string): Promise<void> {
    await this.#kill(this.unified(host), () => this.thaw(host));
  }

  /**
   * Stops every process of the host in its tracks and returns when they stand still.
   * A process that waits for another one's file system inside the kernel cannot be frozen there, but cannot run either.
   */
  async freeze(host: string): Promise<void> {
    const freezer = this.freezer(host);
    if (freezer === undefined) writeFileSync(join(this.unified(host), "cgroup.freeze"), "1");
    else writeFileSync(join(freezer, "freezer.state"), "FROZEN");
    await waitFor(() => this.#standsStill(host), 5_000, `the processes of ${host} to stand still`, { intervalMs: 5 });
  }

  thaw(host: string): void {
    const freezer = this.freezer(host);
    if (freezer === undefined) writeIfThere(join(this.unified(host), "cgroup.freeze"), "0");
    else writeIfThere(join(freezer, "freezer.state"), "THAWED");
  }

  isFrozen(host: string): boolean {
    const freezer = this.freezer(host);
    if (freezer === undefined) return readIfThere(join(this.unified(host), "cgroup.freeze")).trim() === "1";
    return ["FROZEN", "FREEZING"].includes(readIfThere(join(freezer, "freezer.state")).trim());
  }

  /** Kills every process of the lab and removes its groups. Nothing happens when there are none. */
  async destroy(hosts: readonly string[]): Promise<void> {
    await this.#kill(join(this.#unified, this.#group), () => {
      for (const host of hosts) this.thaw(host);
    });
    for (const hierarchy of [this.#unified, ...this.#v1]) {
      await waitFor(() => removeGroups(join(hierarchy, this.#group)), 10_000, `${hierarchy}/${this.#group} to go`, {
        intervalMs: 20,
      });
    }
  }

  async #kill(folder: string, thaw: () => void): Promise<void> {
    writeIfThere(join(folder, "cgroup.kill"), "1");
    thaw();
    await waitFor(() => !isPopulated(folder), 20_000, `the processes in ${folder} to end`, { intervalMs: 5 });
  }

  #standsStill(host: string): boolean {
    const freezer = this.freezer(host);
    if (freezer === undefined) {
      if (/^frozen 1$/m.test(readIfThere(join(this.unified(host), "cgroup.events")))) return true;
      return processesIn(this.unified(host)).every(cannotRun);
    }
    if (readIfThere(join(freezer, "freezer.state")).trim() === "FROZEN") return true;
    return processesIn(freezer).every(cannotRun);
  }
}

/** Labs of another cache than the usual one may have the same name; they must not be taken for left over, nor killed. */
function cacheMark(): string {
  const other = process.env.QUORATE_CACHE;
  if (other === undefined || resolve(other) === join(homedir(), ".cache", "quorate")) return "";
  return `-${createHash("sha256").update(resolve(other)).digest("hex").slice(0, 6)}`;
}

/** The mount points of the unified hierarchy and of those of v1. @param mounts the content of /proc/self/mounts */
export function hierarchies(mounts: string): { unified: string; v1: string[] } {
  const rows = mounts.split("\n").map((line) => line.split(" "));
  const points = (type: string) => rows.filter((row) => row[2] === type).map((row) => row[1] ?? "");
  const [unified] = points("cgroup2");
  if (unified === undefined) {
    const how = "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified";
    throw new QuorateError("environment", "NoCgroup2", `cgroup2 is not mounted on this machine; run: ${how}`);
  }
  return { unified, v1: points("cgroup") };
}

function isPopulated(folder: string): boolean {
  return /^populated 1$/m.test(readIfThere(join(folder, "cgroup.events")));
}

/** Removes a group and those below it, innermost first. True when it is gone; false when something is still in it. */
function removeGroups(folder: string): boolean {
  if (!groupsIn(folder).every(removeGroups)) return false;
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT") return true;
    if (code === "EBUSY" || code === "ENOTEMPTY") return false;
    throw error;
  }
}

function processesIn(folder: string): number[] {
  const own = readIfThere(join(folder, "cgroup.procs")).split("\n").filter(Boolean).map(Number);
  return [...own, ...groupsIn(folder).flatMap(processesIn)];
}

/** The groups right below one; none when it has gone meanwhile. */
function groupsIn(folder: string): string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(folder, entry.name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Frozen (v1 shows it as D), waiting inside the kernel, or dead. */
function cannotRun(pid: number): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  return ["D", "Z", "X", undefined].includes(stat.slice(stat.lastIndexOf(")") + 2)[0]);
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (["ENOENT", "ENODEV", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

function writeIfThere(file: string, text: string): void {
  if (!existsSync(file)) return;
  try {
    writeFileSync(file, text);
  } catch (error) {
    if (!["ENOENT", "ENODEV"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
