import { createHash } from "node:crypto";
import { copyFileSync, cpSync, linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CNI_PLUGINS } from "../tools/index.ts";
import { CONTROL_PLANE_ADDRESS, hostAddress, podCidr } from "./network.ts";
import { type CommandPrefix, run } from "./run.ts";
import { hostNames, type LabLayout, type LabRecord } from "./state.ts";

/** What all hosts have on top of Debian, as files beside this one. */
const SKELETON = join(import.meta.dirname, "rootfs");

/** Units for every host, and those only a Kubernetes node has. */
const ENABLED = ["zfs-fuse.service", "tank.service"];
const ENABLED_ON_NODES = ["containerd.service", "kubelet.service", "pod-routes.service"];

/** What would do nothing useful in a container, or reach out of it into the machine's kernel. */
const MASKED = [
  ...["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"],
  ...["e2scrub_reap.service", "systemd-pstore.service", "systemd-modules-load.service", "kmod-static-nodes.service"],
  ...["proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service", "systemd-sysctl.service", "dev-hugepages.mount"],
  ...["sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"],
  ...["sys-fs-fuse-connections.mount", "lxc.service", "lxc-net.service", "lxc-monitord.service"],
  ...["getty@tty1.service", "console-getty.service", "getty-static.service"],
];

const NODE_PROGRAMS = ["kubelet", "containerd", "containerd-shim-runc-v2", "ctr"] as const;
const TANK_BYTES = 8 * 2 ** 30;
const BTRFS_BYTES = 8 * 2 ** 30;

/** Paths, on this machine, of what goes into the hosts. */
export interface HostParts {
  debianRoot: string;
  programs: Record<string, string>;
  guestImages: string;
  pauseImage: string;
}

/** The names of the programs a lab's hosts need. */
export function hostPrograms(record: LabRecord): (typeof NODE_PROGRAMS | typeof CNI_PLUGINS)[number][] {
  return record.agent === "DaemonSet" ? [...NODE_PROGRAMS, ...CNI_PLUGINS] : [];
}

/** Makes the layer that all hosts of a lab share, between Debian and their own disks. Large files are hard links. */
export function makeLayer(record: LabRecord, files: LabLayout, parts: HostParts, imageFiles: readonly string[]): void {
  const { layer } = files;
  cpSync(SKELETON, layer, { recursive: true });
  const units = join(layer, "etc/systemd/system");
  const wants = join(units, "multi-user.target.wants");
  mkdirSync(wants, { recursive: true });
  const enabled = record.agent === "DaemonSet" ? [...ENABLED, ...ENABLED_ON_NODES] : ENABLED;
  for (const unit of enabled) symlinkSync(`../${unit}`, join(wants, unit));
  for (const unit of MASKED) symlinkSync("/dev/null", join(units, unit));

  for (const name of hostPrograms(record)) {
    const isPlugin = (CNI_PLUGINS as readonly string[]).includes(name);
    place(parts.programs[name] ?? name, join(layer, isPlugin ? "opt/cni/bin" : "usr/local/bin", name));
  }
  for (const image of imageFiles) place(join(parts.guestImages, image), join(layer, "var/lib/quorate/images", image));
  place(parts.pauseImage, join(layer, "opt/images/pause.tar"));

  const addresses = hostNames(record.hosts).map((host, index) => `${hostAddress(index + 1, 0)} ${host}`);
  writeFileSync(
    join(layer, "etc/hosts"),
    ["127.0.0.1 localhost", ...addresses, `${CONTROL_PLANE_ADDRESS} control-plane`, ""].join("\n"),
  );
}

/** Makes a host's own disk and storage, as a machine that was just installed has them. */
export async function makeHostFiles(record: LabRecord, files: LabLayout, host: string, number: number): Promise<void> {
  const own = files.host(host);
  for (const folder of [own.upper, own.work, own.root, own.btrfs, own.containerd])
    mkdirSync(folder, { recursive: true });
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(own.upper, path)), { recursive: true });
    writeFileSync(join(own.upper, path), text);
  };
  write("etc/hostname", `${host}\n`);
  write("etc/machine-id", `${createHash("sha256").update(`${record.name}/${host}`).digest("hex").slice(0, 32)}\n`);
  if (record.agent === "DaemonSet") {
    write("etc/default/kubelet", `NODE_IP=${hostAddress(number, 0)}\n`);
    write("etc/cni/net.d/10-lab.conflist", JSON.stringify(podNetwork(number)));
    const others = hostNames(record.hosts)
      .map((_, index) => index + 1)
      .filter((other) => other !== number);
    write("etc/pod-routes", others.map((n) => `route replace ${podCidr(n)} via ${hostAddress(n, 0)}\n`).join(""));
  }
  writeFileSync(own.tankImage, "");
  truncateSync(own.tankImage, TANK_BYTES);
  writeFileSync(own.btrfsImage, "");
  truncateSync(own.btrfsImage, BTRFS_BYTES);
  await run(["mkfs.btrfs", "--quiet", "--nodiscard", own.btrfsImage]);
}

/** Mounts a host's file systems inside the lab: its disk over the layers, and its btrfs (a host has no loop devices). */
export async function mountHost(
  files: LabLayout,
  inside: CommandPrefix,
  debianRoot: string,
  host: string,
): Promise<void> {
  const own = files.host(host);
  const options = `lowerdir=${files.layer}:${debianRoot},upperdir=${own.upper},workdir=${own.work}`;
  await run([...inside, "mount", "-t", "overlay", "-o", options, "overlay", own.root]);
  await run([...inside, "mount", "-o", "loop,noatime", own.btrfsImage, own.btrfs]);
}

function podNetwork(number: number): object {
  const ipam = { type: "host-local", ranges: [[{ subnet: podCidr(number) }]], routes: [{ dst: "0.0.0.0/0" }] };
  return {
    cniVersion: "1.0.0",
    name: "lab",
    plugins: [
      { type: "bridge", bridge: "pods", isGateway: true, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

/** A hard link, or a copy where the file lies on another file system. */
function place(source: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true });
  try {
    linkSync(source, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EXDEV") throw error;
    copyFileSync(source, target);
  }
}
