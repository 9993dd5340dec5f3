import { filesOf, hardwareId, IMAGE_FOLDER, unitOf } from "./names.ts";
import type { ProbedDisk } from "./probe-files.ts";
import type { GuestNetwork, GuestSpec, QemuKind } from "./types.ts";

/** What QEMU runs the guest's processors with. */
export type Accelerator = "tcg" | "kvm";

/** How long QEMU may take to flush and end after SIGTERM before systemd kills it. */
export const TERMINATE_SECONDS = 30;

/**
 * The arguments of `systemd-run` for a machine: a unit of the host, so that it is nobody's child but systemd's and runs on
 * whatever becomes of the agent. No value of a guest can become an option: it is checked before, or it is inside JSON.
 */
export function unitArguments(
  spec: GuestSpec,
  kind: QemuKind,
  disks: readonly ProbedDisk[],
  machine: { binary: string; accelerator: Accelerator },
): string[] {
  const files = filesOf(spec);
  const properties = [
    // SIGTERM for QEMU itself, SIGKILL for whatever is left.
    "KillMode=mixed",
    `TimeoutStopSec=${TERMINATE_SECONDS}`,
    // The HA part decides about restarts; a unit that came back by itself could run beside another.
    "Restart=no",
    // At the host's shutdown the guest ends before what its disks are on.
    "After=local-fs.target remote-fs.target zfs.target zfs-mount.service zfs-fuse.service",
    `WorkingDirectory=${files.folder}`,
    `StandardOutput=append:${files.log}`,
    `StandardError=append:${files.log}`,
    ...(kind.networks ?? []).flatMap((network) => interfaceProperties(spec, network)),
  ];
  return [
    "--quiet",
    "--no-ask-password",
    `--unit=${unitOf(spec)}`,
    "--service-type=exec",
    "--slice=quorate-guests.slice",
    `--description=Guest ${spec.name} (${spec.vmid}) of cluster ${spec.namespace}`,
    ...properties.map((property) => `--property=${property}`),
    "--",
    machine.binary,
    // systemd replaces $NAME in the arguments of a service.
    ...qemuArguments(spec, kind, disks, machine.accelerator).map((argument) => argument.replaceAll("$", "$$$$")),
  ];
}

/** The arguments of QEMU. Sockets are relative to the guest's folder, since the length of their paths is limited. */
export function qemuArguments(
  spec: GuestSpec,
  kind: QemuKind,
  disks: readonly ProbedDisk[],
  accelerator: Accelerator,
): string[] {
  return [
    ["-name", `guest=${spec.namespace}.${spec.name},debug-threads=on`],
    ["-uuid", uuidOf(spec)],
    ["-nodefaults"],
    ["-no-user-config"],
    ["-display", "none"],
    // Whoever breaks out of the device emulation cannot start programs.
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ["-machine", "q35"],
    ...(accelerator === "kvm"
      ? [
          ["-accel", "kvm"],
          ["-cpu", "host"],
        ]
      : [
          ["-accel", "tcg,thread=multi,tb-size=32"],
          ["-cpu", "max"],
        ]),
    ["-smp", String(spec.cpu)],
    ["-m", `size=${Math.ceil(spec.memoryBytes / (1024 * 1024))}M`],
    ["-rtc", "base=utc"],
    ...socketDevice("driver", "driver.sock"),
    ["-mon", "chardev=driver,mode=control"],
    ...socketDevice("qmp", "qmp.sock"),
    ["-mon", "chardev=qmp,mode=control"],
    ...socketDevice("console", "console.sock", ",logfile=console.log,logappend=on"),
    ["-serial", "chardev:console"],
    ["-device", "virtio-rng-pci"],
    ...bootArguments(kind, accelerator),
    ...disks.flatMap((disk, i) => diskArguments(disk, i, kind.kernel === undefined)),
    ...(kind.networks ?? []).flatMap((network, i) => networkArguments(spec, network, i)),
  ].flat();
}

/** Interface of the host behind a network of a guest: at most 15 characters, not the same for any two guests of a host. */
export function tapOf(spec: GuestSpec, network: GuestNetwork): string {
  return `qt${hardwareId(spec, `tap ${network.name}`).slice(0, 12)}`;
}

function socketDevice(id: string, path: string, more = ""): string[][] {
  return [["-chardev", `socket,id=${id},path=${path},server=on,wait=off${more}`]];
}

function bootArguments(kind: QemuKind, accelerator: Accelerator): string[][] {
  if (kind.kernel === undefined) return [];
  // Without hardware help the mitigations cost much and protect nothing.
  const standard = `console=ttyS0 quiet panic=-1 random.trust_cpu=on${accelerator === "tcg" ? " mitigations=off" : ""}`;
  return [
    ["-kernel", `${IMAGE_FOLDER}/${kind.kernel}`],
    ...(kind.initrd === undefined ? [] : [["-initrd", `${IMAGE_FOLDER}/${kind.initrd}`]]),
    ["-append", kind.commandLine ?? standard],
  ];
}

function diskArguments(disk: ProbedDisk, index: number, boot: boolean): string[][] {
  const shared = disk.sharedWriters === true;
  const blockdev = {
    driver: "raw",
    "node-name": `disk${index}`,
    "read-only": disk.readOnly === true,
    discard: "unmap",
    cache: { direct: disk.direct },
    file: {
      driver: disk.blockDevice ? "host_device" : "file",
      filename: disk.path,
      "read-only": disk.readOnly === true,
      discard: "unmap",
      cache: { direct: disk.direct },
      locking: shared ? "off" : "on",
    },
  };
  const device = {
    driver: "virtio-blk-pci",
    id: `virtio-disk${index}`,
    drive: `disk${index}`,
    // Through the page cache of the host, each write is made to reach the storage before the guest hears that it is done.
    "write-cache": disk.direct ? "on" : "off",
    ...(shared ? { "share-rw": true } : {}),
    ...(boot ? { bootindex: index + 1 } : {}),
  };
  return [
    ["-blockdev", JSON.stringify(blockdev)],
    ["-device", JSON.stringify(device)],
  ];
}

function networkArguments(spec: GuestSpec, network: GuestNetwork, index: number): string[][] {
  const netdev = { type: "tap", id: `net${index}`, ifname: tapOf(spec, network), script: "no", downscript: "no" };
  const device = {
    driver: "virtio-net-pci",
    id: `virtio-net${index}`,
    netdev: `net${index}`,
    mac: network.macAddress?.toLowerCase() ?? macOf(spec, network),
    // No program to boot from the network.
    romfile: "",
  };
  return [
    ["-netdev", JSON.stringify(netdev)],
    ["-device", JSON.stringify(device)],
  ];
}

/** systemd makes the interface before QEMU starts and removes it after QEMU ended, however that came about. */
function interfaceProperties(spec: GuestSpec, network: GuestNetwork): string[] {
  const tap = tapOf(spec, network);
  return [
    `ExecStartPre=-ip tuntap del dev ${tap} mode tap`,
    `ExecStartPre=ip tuntap add dev ${tap} mode tap`,
    `ExecStartPre=ip link set dev ${tap} master ${network.bridge} up`,
    `ExecStopPost=-ip tuntap del dev ${tap} mode tap`,
  ];
}

function macOf(spec: GuestSpec, network: GuestNetwork): string {
  const digits = hardwareId(spec, `mac ${network.name}`);
  return ["52", "54", "00", digits.slice(0, 2), digits.slice(2, 4), digits.slice(4, 6)].join(":");
}

function uuidOf(spec: GuestSpec): string {
  const digits = hardwareId(spec, "uuid");
  // Version 8 of RFC 9562: the rest is ours to derive.
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    `8${digits.slice(12, 15)}`,
    `a${digits.slice(15, 18)}`,
    digits.slice(18, 30),
  ].join("-");
}
