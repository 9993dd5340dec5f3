import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type Progress, withLock } from "../tools/index.ts";
import { ensureGoProgram } from "./go-program.ts";
import { run } from "./run.ts";

/** Debian's small kernel for virtual machines: ext4 is built in, the virtio drivers are modules. */
const KERNEL = "linux-image-cloud-amd64";
const MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "button", "evdev"];
const ROOT_BYTES = 48 << 20;
const SOURCES = join(import.meta.dirname, "guest");

/** Names of the files in the folder that `ensureGuestImages` returns. */
export const GUEST_IMAGES = { kernel: "tiny-vmlinux", initrd: "tiny-initrd", root: "tiny.raw" } as const;

/**
 * The folder with the images of a tiny guest (see docs/lab.md for what it does), built once and kept in the cache.
 *
 * It boots with `-kernel tiny-vmlinux -initrd tiny-initrd -append console=ttyS0` and a copy of tiny.raw, of any size
 * from 48 MiB, as /dev/vda.
 */
export async function ensureGuestImages(progress: Progress): Promise<string> {
  const witness = await ensureGoProgram("witness", progress);
  const recipe = createHash("sha256")
    .update(JSON.stringify([KERNEL, MODULES, ROOT_BYTES]))
    .update(witness);
  for (const file of [...globSync("**", { cwd: SOURCES }), import.meta.filename].sort()) {
    const path = join(SOURCES, file);
    if (/init$|rc|inittab/.test(file)) recipe.update(file).update(readFileSync(path));
  }
  const folder = join(cacheFolder("lab-guests"), `tiny-${recipe.digest("hex").slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  const onWait = (holder: number) => progress(`process ${holder} builds the guest images; waiting for it`);
  await withLock(`${cacheFolder("lab-guests")}/build.lock`, onWait, async () => {
    if (existsSync(folder)) return;
    progress("building the images of the tiny guest, once");
    const work = mkdtempSync(`${folder}.building-`);
    try {
      const out = join(work, "out");
      mkdirSync(out);
      await buildKernelAndInitrd(work, out);
      await buildRoot(work, out, witness);
      renameSync(out, folder);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
  return folder;
}

async function buildKernelAndInitrd(work: string, out: string): Promise<void> {
  const unpacked = join(work, "kernel");
  await fetchKernel(work, unpacked);
  const [compressed = ""] = globSync(join(unpacked, "boot/vmlinuz-*"));
  await unpackKernel(readFileSync(compressed), work, join(out, GUEST_IMAGES.kernel));

  const initrd = join(work, "initrd");
  for (const folder of ["bin", "dev", "proc", "sys", "root", "modules"])
    mkdirSync(join(initrd, folder), { recursive: true });
  copyFileSync("/usr/bin/busybox", join(initrd, "bin/busybox"));
  symlinkSync("busybox", join(initrd, "bin/sh"));
  cpSync(join(SOURCES, "initrd"), initrd, { recursive: true });
  const modules = await modulesInOrder(unpacked);
  for (const module of modules) copyFileSync(module, join(initrd, "modules", basename(module)));
  writeFileSync(join(initrd, "modules/list"), modules.map((module) => `${basename(module)}\n`).join(""));
  // Not compressed: an emulated processor unpacks slowly.
  const names = [".", ...globSync("**", { cwd: initrd })].join("\n");
  await run(["cpio", "--create", "--format=newc", "--quiet", `--file=${join(out, GUEST_IMAGES.initrd)}`], {
    cwd: initrd,
    input: names,
  });
}

async function fetchKernel(work: string, target: string): Promise<void> {
  const { stdout } = await run(["apt-cache", "depends", "--important", KERNEL]);
  const version = /Depends: (linux-image-\S+)/.exec(stdout)?.[1];
  if (version === undefined) {
    throw new QuorateError("environment", "NoKernel", `apt knows no package ${KERNEL}; run: apt-get update`);
  }
  await run(["apt-get", "download", "--quiet", version], { cwd: work, timeoutMs: 300_000 });
  const [archive = ""] = globSync(join(work, "*.deb"));
  await run(["dpkg-deb", "--extract", archive, target], { timeoutMs: 120_000 });
}

/** How kernels are compressed: the first bytes, and what unpacks them. */
const UNPACKERS: Record<number, string> = { 35736600: "lz4", 4248271448: "xz", 682962941: "zstd" };

/**
 * Writes the ELF image inside a bzImage to a file: QEMU starts it directly, and no emulated processor has to unpack it.
 * Offsets are those of the Linux/x86 boot protocol.
 */
async function unpackKernel(image: Buffer, work: string, target: string): Promise<void> {
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248);
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c));
  const unpacker = UNPACKERS[payload.readUInt32BE(0)];
  if (unpacker === undefined) {
    throw new QuorateError("environment", "NoKernel", `the compression of ${KERNEL} is not known`);
  }
  const compressed = join(work, "vmlinux.compressed");
  // The payload ends in its unpacked size (4 bytes), which is no part of the stream.
  writeFileSync(compressed, payload.subarray(0, -4));
  await run([unpacker, "-d", "-c", compressed], { timeoutMs: 60_000, outputFile: target });
}

/** Files of the modules and of what they depend on, in the order in which to load them. */
async function modulesInOrder(unpacked: string): Promise<string[]> {
  const [version = ""] = readdirSync(join(unpacked, "lib/modules"));
  await run(["depmod", "--basedir", unpacked, version]);
  const files: string[] = [];
  for (const module of MODULES) {
    const { stdout } = await run([
      "modprobe",
      "--dirname",
      unpacked,
      "--set-version",
      version,
      "--show-depends",
      module,
    ]);
    files.push(...[...stdout.matchAll(/^insmod (\S+)/gm)].map((match) => match[1] ?? ""));
  }
  return [...new Set(files)];
}

async function buildRoot(work: string, out: string, witness: string): Promise<void> {
  const root = join(work, "root");
  for (const folder of ["bin", "dev", "proc", "sys", "run", "tmp", "data", "sbin"]) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  copyFileSync("/usr/bin/busybox", join(root, "bin/busybox"));
  copyFileSync(witness, join(root, "sbin/witness"));
  chmodSync(join(root, "sbin/witness"), 0o755);
  const { stdout } = await run(["/usr/bin/busybox", "--list"]);
  for (const applet of stdout.split("\n").filter((name) => /^[\w[-]+$/.test(name) && name !== "busybox")) {
    symlinkSync("busybox", join(root, "bin", applet));
  }
  for (const name of ["init", "poweroff", "reboot"]) symlinkSync("../bin/busybox", join(root, "sbin", name));
  cpSync(join(SOURCES, "root"), root, { recursive: true });
  writeFileSync(join(root, "data/ticks"), "0\n");
  const image = join(out, GUEST_IMAGES.root);
  writeFileSync(image, "");
  truncateSync(image, ROOT_BYTES);
  await run([
    "mke2fs",
    "-q",
    "-t",
    "ext4",
    "-b",
    "4096",
    "-m",
    "0",
    "-E",
    "lazy_itable_init=0,root_owner=0:0",
    "-d",
    root,
    image,
  ]);
}
