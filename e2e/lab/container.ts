import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { QuorateError } from "../../errors.ts";
import type { LabCgroups } from "./cgroups.ts";
import { CONTROL_PLANE_ADDRESS, hostAddress, LINKS, portName } from "./network.ts";
import { type CommandPrefix, type RunOptions, type RunResult, run } from "./run.ts";
import type { LabLayout } from "./state.ts";
import { waitFor } from "./wait.ts";

const HOST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_TIMEOUT_MS = 20_000;

/**
 * Settings of the machine's kernel, one for all its containers, that kubelet insists on. The hosts read files in their
 * place, so that a lab changes nothing of the machine.
 */
const KERNEL_SETTINGS = { "kernel/panic": "10", "kernel/panic_on_oops": "1", "vm/overcommit_memory": "1" };

/** Devices of the machine that a host has too. */
const DEVICES = ["fuse", "net/tun"];

/** Writes the LXC configuration of a host: a whole system with all capabilities this machine has. */
export function writeContainer(lab: string, files: LabLayout, cgroups: LabCgroups, host: string, number: number): void {
  const own = files.host(host);
  for (const [name, value] of Object.entries(KERNEL_SETTINGS)) {
    mkdirSync(dirname(join(own.kernelSettings, name)), { recursive: true });
    writeFileSync(join(own.kernelSettings, name), `${value}\n`);
  }
  const bind = (source: string, target: string, kind: "file" | "dir") =>
    `lxc.mount.entry = ${source} ${target} none bind,create=${kind} 0 0`;
  const lines = [
    `lxc.uts.name = ${host}`,
    `lxc.rootfs.path = dir:${own.root}`,
    "lxc.mount.auto = proc:mixed sys:mixed cgroup:rw:force",
    "lxc.apparmor.profile = unconfined",
    "lxc.cap.drop =",
    "lxc.cgroup.devices.allow = a",
    "lxc.cgroup2.devices.allow = a",
    `lxc.cgroup.dir.container = ${cgroups.relative(host)}`,
    `lxc.cgroup.dir.monitor = ${cgroups.relative(`${host}-monitor`)}`,
    "lxc.init.cmd = /sbin/init",
    "lxc.tty.max = 1",
    "lxc.pty.max = 1024",
    `lxc.console.logfile = ${own.console}`,
    ...LINKS.flatMap((link) => [
      `lxc.net.${link}.type = veth`,
      `lxc.net.${link}.link = br${link}`,
      `lxc.net.${link}.name = eth${link}`,
      `lxc.net.${link}.veth.pair = ${portName(host, link)}`,
      `lxc.net.${link}.hwaddr = 02:06:00:0${link}:00:${number.toString(16).padStart(2, "0")}`,
      `lxc.net.${link}.ipv4.address = ${hostAddress(number, link)}/24`,
      `lxc.net.${link}.flags = up`,
    ]),
    `lxc.net.0.ipv4.gateway = ${CONTROL_PLANE_ADDRESS}`,
    ...DEVICES.map((device) => bind(`/dev/${device}`, `dev/${device}`, "file")),
    bind(join(own.watchdog, "watchdog0"), "dev/watchdog0", "file"),
    bind(join(own.watchdog, "watchdog0"), "dev/watchdog", "file"),
    bind(files.shared, "srv/shared", "dir"),
    bind(own.btrfs, "srv/btrfs", "dir"),
    bind(own.containerd, "var/lib/containerd", "dir"),
    bind(own.tankImage, "var/lib/zfs/tank.img", "file"),
    ...Object.keys(KERNEL_SETTINGS).map((name) => bind(join(own.kernelSettings, name), `proc/sys/${name}`, "file")),
    // However a host ends, its watchdog device ends with it.
    `lxc.hook.post-stop = /bin/sh -c 'echo stopped >${join(own.watchdog, "power")}'`,
  ];
  const folder = join(files.lxc, containerName(lab, host));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config"), `${lines.join("\n")}\n`);
}

/** LXC's name for a host; the abstract sockets of LXC are per network namespace, but control groups are not. */
export function containerName(lab: string, host: string): string {
  return `${lab}-${host}`;
}

/** The command, inside the lab, that gives a host power. */
export function startCommand(lab: string, files: LabLayout, host: string): string[] {
  const log = files.log(`lxc-${host}`);
  return ["lxc-start", "-P", files.lxc, "-n", containerName(lab, host), "-l", "INFO", "-o", log];
}

/** What one host's container needs to be addressed. */
export interface Container {
  lab: string;
  host: string;
  files: LabLayout;
  cgroups: LabCgroups;
  inside: CommandPrefix;
}

/** Gives the host power; its systemd has just started when this returns. */
export async function powerOn(container: Container): Promise<void> {
  const { lab, host, files, cgroups, inside } = container;
  if (cgroups.populated(host)) return;
  await monitorGone(container);
  try {
    await run([...inside, ...startCommand(lab, files, host)], { timeoutMs: 60_000 });
  } catch (error) {
    const log = files.log(`lxc-${host}`);
    throw new QuorateError("environment", "HostNotStarted", `${host} does not start; see ${log}`, { cause: error });
  }
}

/** Takes the host's power, like pulling the plug: all its processes end at one instant, with nothing written. */
export async function powerOff(container: Container): Promise<void> {
  await container.cgroups.killHost(container.host);
  await monitorGone(container);
}

/** Waits until a host that shuts down in order is off. */
export async function waitUntilOff(container: Container, deadlineMs: number): Promise<void> {
  await waitFor(() => !container.cgroups.populated(container.host), deadlineMs, `${container.host} to be off`);
  await monitorGone(container);
}

/** Runs a command in the host as root. @throws QuorateError as `run`; HostOff when the host has no power. */
export async function runInHost(
  container: Container,
  command: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  requireOn(container);
  const shownAs = `${container.host}: ${command.join(" ")}`;
  return run([...attachCommand(container), ...command], { shownAs, ...options });
}

/** The command that runs what follows it in the host. */
export function attachCommand({ lab, host, files, inside }: Container): string[] {
  const environment = ["--clear-env", "-v", `PATH=${HOST_PATH}`, "-v", "HOME=/root", "-v", "TERM=xterm"];
  return [...inside, "lxc-attach", "-P", files.lxc, "-n", containerName(lab, host), ...environment, "--"];
}

/** The id, on this machine, of the host's first process: `/proc/ID/root` leads to its files. */
export async function initPid(container: Container): Promise<number> {
  requireOn(container);
  const { lab, host, files, inside } = container;
  const { stdout } = await run([...inside, "lxc-info", "-P", files.lxc, "-n", containerName(lab, host), "-p", "-H"]);
  return Number(stdout.trim());
}

function requireOn({ cgroups, host }: Container): void {
  if (cgroups.populated(host)) return;
  throw new QuorateError("user", "HostOff", `${host} is off; run: quorate lab power ${host} on`);
}

/** LXC's monitor cleans up behind a host that ended; before it has, the host cannot be started again. */
async function monitorGone({ cgroups, host }: Container): Promise<void> {
  await waitFor(() => !cgroups.populated(`${host}-monitor`), STOP_TIMEOUT_MS, `the end of ${host}`, { intervalMs: 10 });
}
