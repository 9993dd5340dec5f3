import { guestId, imageFile, invalid, macAddressOf, tapName } from "./names.ts";
import type { GuestDefinition, MachineDefinition } from "./types.ts";

/** A disk as QEMU is to open it. */
export interface Disk {
  readonly volume: string;
  readonly path: string;
  /** False where the file system has no O_DIRECT: then every write waits for the disk instead. */
  readonly direct: boolean;
}

export interface Accelerator {
  readonly type: "KVM" | "TCG";
  /** MiB for translated code; TCG only. */
  readonly bufferMiB?: number;
}

const MIB = 1024 * 1024;
const COMMAND_LINE = "console=ttyS0";

/**
 * QEMU's arguments for a machine. Sockets and logs are named relative to the folder it is started in. What a user wrote
 * only ever becomes an argument of its own or a value in JSON: it cannot add an option.
 */
export function qemuArguments(
  guest: GuestDefinition,
  disks: readonly Disk[],
  how: { accelerator: Accelerator; machineType: string },
): string[] {
  const machine = guest.machine ?? {};
  checkSizes(guest);
  return [
    ...["-name", `guest=${guestId(guest)},debug-threads=on`],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-msg", "timestamp=on"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-machine", checkedMachine(how.machineType), ...acceleration(how.accelerator)],
    ...["-smp", String(guest.cpus), "-m", `${Math.floor(guest.memoryBytes / MIB)}M`],
    ...["-qmp", "unix:qmp.sock,server=on,wait=off"],
    ...["-chardev", "socket,id=console,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on"],
    ...["-serial", "chardev:console", "-device", "virtio-rng-pci"],
    ...disks.flatMap(diskArguments),
    ...(machine.networks ?? []).flatMap((network, i) => [
      ...["-netdev", `tap,id=net${i},ifname=${tapName(guest.vmid, i)},script=no,downscript=no`],
      ...[
        "-device",
        JSON.stringify({
          driver: "virtio-net-pci",
          netdev: `net${i}`,
          mac: network.macAddress ?? macAddressOf(guest, guest.vmid, network.name),
        }),
      ],
    ]),
    ...kernelArguments(machine),
  ];
}

function acceleration({ type, bufferMiB = 64 }: Accelerator): string[] {
  if (type === "KVM") return ["-accel", "kvm", "-cpu", "host"];
  return ["-accel", `tcg,thread=multi,tb-size=${Math.min(128, Math.max(32, Math.floor(bufferMiB)))}`, "-cpu", "max"];
}

/** With O_DIRECT nothing is kept in the host's memory; without it every write is on the disk before it is acknowledged. */
function diskArguments({ volume, path, direct }: Disk, index: number): string[] {
  const file = {
    driver: "file",
    filename: path,
    aio: "threads",
    discard: "unmap",
    cache: { direct, "no-flush": false },
  };
  const device = {
    driver: "virtio-blk-pci",
    drive: `disk${index}`,
    serial: volume.slice(0, 20),
    "write-cache": direct ? "on" : "off",
  };
  return [
    ...["-blockdev", JSON.stringify({ driver: "raw", "node-name": `disk${index}`, discard: "unmap", file })],
    ...["-device", JSON.stringify(index === 0 ? { ...device, bootindex: 1 } : device)],
  ];
}

function kernelArguments({ kernel, initrd, commandLine }: MachineDefinition): string[] {
  if (kernel === undefined) {
    if (initrd !== undefined || commandLine !== undefined)
      throw invalid("initrd and commandLine have an effect with a kernel only");
    return [];
  }
  const line = commandLine ?? COMMAND_LINE;
  if (!/^[ -~]{0,1024}$/.test(line))
    throw invalid("a kernel command line is one line of at most 1024 printable ASCII characters");
  return [
    "-kernel",
    imageFile(kernel),
    ...(initrd === undefined ? [] : ["-initrd", imageFile(initrd)]),
    "-append",
    line,
  ];
}

function checkSizes({ cpus, memoryBytes, machine }: GuestDefinition): void {
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 1024) throw invalid(`${cpus} CPUs: a machine has 1 to 1024`);
  if (!(memoryBytes >= 16 * MIB)) throw invalid(`${memoryBytes} bytes of memory: a machine needs at least 16Mi`);
  for (const { name, bridge, macAddress } of machine?.networks ?? []) {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$/.test(bridge))
      throw invalid(`network "${name}": ${JSON.stringify(bridge)} is no bridge`);
    if (macAddress !== undefined && !/^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$/.test(macAddress)) {
      throw invalid(`network "${name}": ${JSON.stringify(macAddress)} is no hardware address of one interface`);
    }
  }
}

function checkedMachine(type: string): string {
  if (!/^[a-z0-9][a-z0-9.-]*$/.test(type)) throw invalid(`${JSON.stringify(type)} is no machine type of QEMU`);
  return type;
}
