import { QuorateError } from "../../errors.ts";
import { type LocalControlPlane, openControlPlane } from "../controlplane/index.ts";
import { type ProcessIdentity, processLives } from "../tools/index.ts";
import { LabCgroups } from "./cgroups.ts";
import { LabHost } from "./host.ts";
import { insidePrefix } from "./namespace.ts";
import { faults, healAll } from "./network.ts";
import { type CommandPrefix, type RunOptions, type RunResult, run } from "./run.ts";
import { controlPlaneName, hostNames, type LabRecord, layout, readRecord } from "./state.ts";
import { tearDown } from "./tear-down.ts";

/** A lab that is up: N hosts, a control plane, and faults for them. */
export class Lab implements AsyncDisposable {
  readonly name: string;
  readonly hosts: readonly LabHost[];
  /** Path of the kubeconfig of an administrator, for programs on this machine. */
  readonly kubeconfig: string;
  /** The API server and what may be done to it (stop, start, pause, resume). Its own kubeconfig holds only inside the lab. */
  readonly controlPlane: LocalControlPlane;
  readonly record: LabRecord;
  readonly #inside: CommandPrefix;

  /** Use `openLab` or `labUp`. */
  constructor(record: LabRecord, holder: ProcessIdentity, controlPlane: LocalControlPlane) {
    const files = layout(record.name);
    const cgroups = new LabCgroups(record.name);
    const inside = insidePrefix(holder, cgroups);
    this.name = record.name;
    this.record = record;
    this.kubeconfig = files.kubeconfig;
    this.controlPlane = controlPlane;
    this.#inside = inside;
    this.hosts = hostNames(record.hosts).map(
      (host, index) => new LabHost({ lab: record.name, host, files, cgroups, inside }, index + 1, holder),
    );
  }

  /** The folder of this machine that every host sees as /srv/shared. */
  get shared(): string {
    return layout(this.name).shared;
  }

  /** @throws QuorateError `user` NoSuchHost. */
  host(name: string): LabHost {
    const host = this.hosts.find((each) => each.name === name);
    if (host !== undefined) return host;
    const names = this.hosts.map((each) => each.name).join(", ");
    throw new QuorateError("user", "NoSuchHost", `lab "${this.name}" has no host "${name}"; it has ${names}`);
  }

  /** kubectl as an administrator. */
  async kubectl(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { kubectl = "kubectl" } = this.record;
    const shownAs = `kubectl ${args.join(" ")}`;
    return (await run([kubectl, `--kubeconfig=${this.kubeconfig}`, ...args], { shownAs, ...options })).stdout;
  }

  /** Runs a command of this machine in the lab's network, where the control plane is. */
  run(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
    const shownAs = `in lab ${this.name}: ${[command, ...args].join(" ")}`;
    return run([...this.#inside, command, ...args], { shownAs, ...options });
  }

  /** Puts a container image (an OCI or docker archive on this machine) into the containerd of every host that is on. */
  async loadImage(archive: string): Promise<void> {
    await Promise.all(this.hosts.filter((host) => host.isOn()).map((host) => host.loadImage(archive)));
  }

  /** What is cut now, as names of ports such as "n1l0" (host n1, link 0). */
  async faults(): Promise<{ kind: "link" | "corosync" | "api" | "pair"; ports: string[] }[]> {
    return (await faults(this.#inside)).map(({ set, element }) => ({ kind: set, ports: element.split(" . ") }));
  }

  /** Ends every fault that can be ended: cuts, frozen hosts, a paused API server; and powers every host on. */
  async healAll(): Promise<void> {
    await healAll(this.#inside);
    this.controlPlane.resumeApiServer();
    await this.controlPlane.startApiServer();
    await Promise.all(
      this.hosts.map(async (host) => {
        if (host.isFrozen()) await host.thaw();
        await host.powerOn();
      }),
    );
  }

  /** Ends and removes everything. */
  async down(): Promise<void> {
    await tearDown(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }
}

/** The lab of that name, started by this process or another. @throws QuorateError `user` LabNotUp. */
export function openLab(name: string): Lab {
  const lab = findLab(name);
  if (lab !== undefined) return lab;
  throw new QuorateError("user", "LabNotUp", `no lab "${name}" is up; run: quorate lab up --name ${name}`);
}

/** The lab of that name, or undefined when it is not up, or is dead. */
export function findLab(name: string): Lab | undefined {
  const record = readRecord(name);
  const holder = record?.holder;
  const controlPlane = openControlPlane(controlPlaneName(name));
  if (record === undefined || holder === undefined || controlPlane === undefined) return undefined;
  return processLives(holder) ? new Lab(record, holder, controlPlane) : undefined;
}
