import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type ProcessIdentity } from "../tools/index.ts";

/** How the agent of Quorate comes to the hosts: as a pod of their kubelets, or as a unit on hosts that have none. */
export type AgentMode = "DaemonSet" | "SystemdUnit";

/** What is known of a lab on disk, so that another process can use it or clean up after it. */
export interface LabRecord {
  name: string;
  hosts: number;
  agent: AgentMode;
  createdAt: string;
  /** The process that keeps the lab's namespaces. Gone: the lab is dead, whatever else is left. */
  holder?: ProcessIdentity;
  /** Port on the machine's loopback that reaches the API server. */
  apiPort?: number;
  /** Path of kubectl. */
  kubectl?: string;
}

const NAME = /^[a-z][a-z0-9-]{0,15}$/;
export const MAX_HOSTS = 50;

/** Files of a lab; `host` gives those of one of its hosts. */
export function layout(name: string) {
  const folder = labFolder(name);
  return {
    folder,
    record: join(folder, "lab.json"),
    /** kubeconfig of an administrator, for programs on this machine. */
    kubeconfig: join(folder, "kubeconfig"),
    /** What all hosts have on top of Debian: units, settings, programs, images. */
    layer: join(folder, "layer"),
    /** Mount point inside the lab's mount namespace only. */
    cgroups: join(folder, "cgroups"),
    /** /srv/shared of every host. */
    shared: join(folder, "shared"),
    lxc: join(folder, "lxc"),
    log: (what: string) => join(folder, `${what}.log`),
    host: (host: string) => hostLayout(join(folder, "hosts", host)),
  };
}

export type LabLayout = ReturnType<typeof layout>;
export type HostLayout = ReturnType<LabLayout["host"]>;

function hostLayout(folder: string) {
  return {
    folder,
    /** The host's own disk: upper layer of the overlay, survives power off and on. */
    upper: join(folder, "upper"),
    work: join(folder, "work"),
    /** Mount points inside the lab's mount namespace only. */
    root: join(folder, "root"),
    btrfs: join(folder, "btrfs"),
    watchdog: join(folder, "watchdog"),
    /** Bound in, so that containerd's snapshots lie on no overlay. */
    containerd: join(folder, "containerd"),
    btrfsImage: join(folder, "btrfs.img"),
    tankImage: join(folder, "tank.img"),
    kernelSettings: join(folder, "kernel-settings"),
    onReset: join(folder, "on-reset.json"),
    watchdogLog: join(folder, "watchdog.log"),
    console: join(folder, "console.log"),
  };
}

/** Makes the folder of a new lab. @throws QuorateError `user` when the name cannot be used. */
export function claimLab(record: LabRecord): void {
  mkdirSync(labFolder(record.name), { recursive: true, mode: 0o755 });
  writeRecord(record);
}

export function writeRecord(record: LabRecord): void {
  const file = layout(record.name).record;
  writeFileSync(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}

export function readRecord(name: string): LabRecord | undefined {
  try {
    return JSON.parse(readFileSync(layout(name).record, "utf8")) as LabRecord;
  } catch {
    return undefined;
  }
}

/** Whether anything of a lab of that name is on disk, with a readable record or without. */
export function labExists(name: string): boolean {
  return existsSync(labFolder(name));
}

export function listLabs(): string[] {
  return readdirSync(cacheFolder("labs")).filter((name) => NAME.test(name));
}

export function forgetLab(name: string): void {
  rmSync(labFolder(name), { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

/** The name of the lab's control plane among those of this machine. */
export function controlPlaneName(lab: string): string {
  return `lab-${lab}`;
}

/** n1, n2, … */
export function hostNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `n${index + 1}`);
}

/** The number of a host, from 1: the last part of its addresses. @throws QuorateError `user` for no host of the lab. */
export function hostNumber(record: LabRecord, host: string): number {
  const index = hostNames(record.hosts).indexOf(host);
  if (index < 0) {
    const hosts = hostNames(record.hosts).join(", ");
    throw new QuorateError("user", "NoSuchHost", `lab "${record.name}" has no host "${host}"; it has ${hosts}`);
  }
  return index + 1;
}

function labFolder(name: string): string {
  if (!NAME.test(name)) {
    throw new QuorateError(
      "user",
      "InvalidName",
      `lab name "${name}": use at most 16 lower case letters, digits and "-", a letter first`,
    );
  }
  return join(cacheFolder("labs"), name);
}
