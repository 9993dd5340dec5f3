import { join } from "node:path";
import type { ProcessIdentity } from "../tools/index.ts";
import { attachCommand, type Container, initPid, powerOff, powerOn, runInHost, waitUntilOff } from "./container.ts";
import { insidePath } from "./namespace.ts";
import { type Cut, cut, heal, healAll, hostAddress, LINKS, type Link } from "./network.ts";
import { signalProcesses } from "./processes.ts";
import type { RunOptions, RunResult } from "./run.ts";
import { waitFor } from "./wait.ts";
import {
  type OnReset,
  setOnReset,
  type WatchdogEvent,
  type WatchdogState,
  watchdogEvents,
  watchdogLosesPower,
  watchdogState,
} from "./watchdog.ts";

/** What may be cut off a host: everything, one link, one kind of traffic on all links, or the way to one other host. */
export type CutOptions = { link?: Link; traffic?: "corosync" | "api"; from?: string };

/** One host of a lab: what a test may ask it and do to it. */
export class LabHost {
  readonly name: string;
  /** From 1; the last part of its addresses. */
  readonly number: number;
  readonly #container: Container;
  readonly #holder: ProcessIdentity;

  constructor(container: Container, number: number, holder: ProcessIdentity) {
    this.name = container.host;
    this.number = number;
    this.#container = container;
    this.#holder = holder;
  }

  address(link: Link = 0): string {
    return hostAddress(this.number, link);
  }

  /** Runs a command as root in the host. @throws QuorateError with its last lines when it fails or takes too long. */
  run(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<RunResult> {
    return runInHost(this.#container, [command, ...args], options);
  }

  /** As `run`; standard output without the space around it. */
  async output(command: string, args: readonly string[] = [], options: RunOptions = {}): Promise<string> {
    return (await this.run(command, args, options)).stdout.trim();
  }

  /** The path, on this machine, of a file on the host's own disk, also while the host is off. Not for /run, /srv, /dev. */
  diskPath(path: string): string {
    return insidePath(this.#holder, join(this.#container.files.host(this.name).root, path));
  }

  /** The path, on this machine, of any file as the running host sees it, such as a socket in /run. */
  async livePath(path: string): Promise<string> {
    return join(`/proc/${await initPid(this.#container)}/root`, path);
  }

  /** Puts a container image (an OCI or docker archive on this machine) into the host's containerd. */
  async loadImage(archive: string): Promise<void> {
    const command = ["--namespace", "k8s.io", "images", "import", "--snapshotter", "overlayfs", "-"];
    await this.run("ctr", command, { inputFile: archive, timeoutMs: 120_000 });
  }

  // Network

  /** Drops frames in the switch, from this moment until `heal`, also across a restart of the host. Nothing given: all links. */
  async cut(options: CutOptions = {}): Promise<void> {
    for (const what of cuts(options)) await cut(this.#container.inside, this.name, what);
  }

  /** Ends what `cut` with the same options began; nothing given: every cut of this host. */
  async heal(options: CutOptions = {}): Promise<void> {
    if (Object.keys(options).length === 0) return healAll(this.#container.inside, this.name);
    for (const what of cuts(options)) await heal(this.#container.inside, this.name, what);
  }

  // Processes

  /** Freezes the whole host, or the processes of a unit, of a program name, or of a command line matching "/…/". */
  async freeze(process?: string): Promise<void> {
    if (process === undefined) await this.#container.cgroups.freeze(this.name);
    else await signalProcesses(this.#container, process, "STOP");
  }

  /** Lets go on what `freeze` stopped. */
  async thaw(process?: string): Promise<void> {
    if (process === undefined) this.#container.cgroups.thaw(this.name);
    else await signalProcesses(this.#container, process, "CONT");
  }

  /** Kills (SIGKILL) the processes of a unit, of a program name, or of a command line matching "/…/". */
  async kill(process: string): Promise<void> {
    await signalProcesses(this.#container, process, "KILL");
  }

  // Power

  isOn(): boolean {
    return this.#container.cgroups.populated(this.name);
  }

  isFrozen(): boolean {
    return this.#container.cgroups.isFrozen(this.name);
  }

  /** Gives it power; returns when its systemd answers. */
  async powerOn(): Promise<void> {
    if (this.isOn()) return;
    watchdogLosesPower(this.#own, this.#holder);
    await powerOn(this.#container);
    await this.waitUntilBooted();
  }

  /** Takes its power at once, like pulling the plug; what was not synced to its disk by then may be lost. */
  async powerOff(): Promise<void> {
    watchdogLosesPower(this.#own, this.#holder);
    await powerOff(this.#container);
  }

  /** The reset button: off and on again. */
  async reset(): Promise<void> {
    await this.powerOff();
    await this.powerOn();
  }

  /** `systemctl poweroff`, and waits until it is off. */
  async shutdown(deadlineMs = 60_000): Promise<void> {
    await this.run("systemctl", ["poweroff"]);
    await waitUntilOff(this.#container, deadlineMs);
  }

  /** `systemctl reboot`, and waits until the new systemd answers. */
  async reboot(deadlineMs = 60_000): Promise<void> {
    const before = await initPid(this.#container);
    await this.run("systemctl", ["reboot"]);
    const rebooted = async () => this.isOn() && (await initPid(this.#container)) !== before;
    await waitFor(rebooted, deadlineMs, `${this.name} to reboot`);
    await this.waitUntilBooted();
  }

  /** Waits until systemd has started everything. */
  async waitUntilBooted(deadlineMs = 60_000): Promise<void> {
    const isUp = async () => {
      const { stdout } = await this.run("systemctl", ["is-system-running"], { exitCodes: [0, 1] });
      return ["running", "degraded"].includes(stdout.trim());
    };
    await waitFor(isUp, deadlineMs, `${this.name} to have booted`);
  }

  // Watchdog

  watchdog(): WatchdogState {
    return watchdogState(this.#own, this.#holder);
  }

  /** Everything its watchdog noted since the lab is up, with times. */
  watchdogEvents(): WatchdogEvent[] {
    return watchdogEvents(this.#own);
  }

  /** What follows when its watchdog resets it, from the next time on. */
  setOnReset(policy: OnReset): void {
    setOnReset(this.#own, policy);
  }

  /** The command line of this machine that runs what follows it in the host, for terminals. */
  attachCommand(): string[] {
    return attachCommand(this.#container);
  }

  get #own() {
    return this.#container.files.host(this.name);
  }
}

function cuts({ link, traffic, from }: CutOptions): Cut[] {
  const all: Cut[] = [
    ...(link === undefined ? [] : [{ link }]),
    ...(traffic === undefined ? [] : [{ traffic }]),
    ...(from === undefined ? [] : [{ from }]),
  ];
  return all.length > 0 ? all : LINKS.map((each) => ({ link: each }));
}
