import { QuorateError } from "../../errors.ts";
import { isLabel, quoted, unitOf } from "./names.ts";
import type { Disk, GuestSpec, QemuKind } from "./types.ts";

const VMID_MAX = 999_999_999;
/** What a q35 machine has at most without an IOMMU. */
const CPU_MAX = 255;
const MIB = 1024 * 1024;
const MEMORY_MAX = 4 * 1024 * 1024 * MIB;
const DISKS_MAX = 16;
const NETWORKS_MAX = 16;

/**
 * Refuses (`InvalidSpec`, user) a machine that QEMU could not be started from, and any value that could be taken for
 * something else where it becomes an argument of a command that runs as root. The API has checked most of it before: what
 * is root does not rely on that.
 */
export function checkMachine(spec: GuestSpec, kind: QemuKind, disks: readonly Disk[]): void {
  const refuse = refusal(spec);
  checkIdentity(spec);
  if (!Number.isInteger(spec.cpu) || spec.cpu < 1 || spec.cpu > CPU_MAX) {
    refuse(`cpu ${spec.cpu} is not a whole number from 1 to ${CPU_MAX}`);
  }
  if (!Number.isSafeInteger(spec.memoryBytes) || spec.memoryBytes < MIB || spec.memoryBytes > MEMORY_MAX) {
    refuse(`memory of ${spec.memoryBytes} bytes is not from 1 MiB to 4 TiB`);
  }
  for (const [field, name] of [
    ["kernel", kind.kernel],
    ["initrd", kind.initrd],
  ] as const) {
    if (name !== undefined && !isImageName(name)) {
      refuse(
        `${field} ${JSON.stringify(name)} is not the name of a file in the image folder (a-z, 0-9, ".", "_", "-")`,
      );
    }
  }
  if (kind.kernel === undefined && (kind.initrd !== undefined || kind.commandLine !== undefined)) {
    refuse("initrd and commandLine have an effect with a kernel only; give kernel, or remove them");
  }
  if (kind.commandLine !== undefined && !/^[ -~]{0,1024}$/.test(kind.commandLine)) {
    refuse("commandLine is not one line of at most 1024 printable ASCII characters");
  }
  if (kind.kernel === undefined && disks.length === 0)
    refuse("there is nothing to boot from; give a volume or a kernel");
  checkDisks(spec, disks);
  checkNetworks(spec, kind);
}

/** Namespace, name and number. */
export function checkIdentity(spec: GuestSpec): void {
  unitOf(spec);
  if (!Number.isInteger(spec.vmid) || spec.vmid < 1 || spec.vmid > VMID_MAX) {
    refusal(spec)(`vmid ${spec.vmid} is not a whole number from 1 to ${VMID_MAX}`);
  }
}

/** Paths as a storage makes them: absolute, and the same whoever reads them. */
export function checkDisks(spec: GuestSpec, disks: readonly Disk[]): void {
  const refuse = refusal(spec);
  if (disks.length > DISKS_MAX) refuse(`${disks.length} disks are more than ${DISKS_MAX}`);
  for (const { path } of disks) {
    const parts = path.split("/").slice(1);
    if (
      !/^(\/[A-Za-z0-9 ._@:+=-]+)+$/.test(path) ||
      path.length > 1024 ||
      parts.includes("..") ||
      parts.includes(".")
    ) {
      refuse(`the path of a disk, ${JSON.stringify(path)}, is not absolute and plain`);
    }
  }
  const twice = disks.find(({ path }, i) => disks.findIndex((other) => other.path === path) !== i);
  if (twice !== undefined) refuse(`disk ${twice.path} is given twice`);
}

export function isImageName(name: string): boolean {
  return /^[a-z0-9][a-z0-9._-]{0,127}$/.test(name);
}

function checkNetworks(spec: GuestSpec, kind: QemuKind): void {
  const refuse = refusal(spec);
  const networks = kind.networks ?? [];
  if (networks.length > NETWORKS_MAX) refuse(`${networks.length} networks are more than ${NETWORKS_MAX}`);
  if (new Set(networks.map(({ name }) => name)).size !== networks.length) refuse("two networks have the same name");
  for (const { name, bridge, macAddress } of networks) {
    if (!isLabel(name)) refuse(`network ${JSON.stringify(name)} is not a name of a-z, 0-9 and inner hyphens`);
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$/.test(bridge)) {
      refuse(`bridge ${JSON.stringify(bridge)} of network ${name} is not a name of an interface, such as br0`);
    }
    if (macAddress !== undefined && !/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/i.test(macAddress)) {
      refuse(
        `macAddress ${JSON.stringify(macAddress)} of network ${name} is not the hardware address of one interface`,
      );
    }
  }
}

function refusal(spec: GuestSpec): (why: string) => never {
  return (why) => {
    throw new QuorateError("user", "InvalidSpec", `${quoted(spec)} cannot be started: ${why}`);
  };
}
