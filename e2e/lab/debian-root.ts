import { createHash } from "node:crypto";
import { existsSync, globSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type Progress, withLock } from "../tools/index.ts";
import { lastLines, run } from "./run.ts";

const SUITE = "bookworm";
const BUILD_TIMEOUT_MS = 20 * 60_000;

const PACKAGES = [
  ...["systemd-sysv", "dbus", "kmod", "procps", "psmisc", "less", "iproute2", "iputils-ping", "ca-certificates"],
  ...["corosync", "corosync-qdevice", "corosync-qnetd"],
  ...["zfs-fuse", "btrfs-progs", "e2fsprogs"],
  ...["qemu-system-x86", "qemu-utils", "lxc"],
  ...["runc", "iptables", "nftables"],
  ...["socat", "openssl", "zstd"],
];

/** Installed, but started by nobody unless told so: making them a cluster is Quorate's business. */
const DISABLED = ["corosync.service", "corosync-qnetd.service", "corosync-qdevice.service"];
const REMOVED = ["etc/corosync/corosync.conf"];

const LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/** Everything that decides what the root holds: a change of it makes another root. */
const RECIPE = { suite: SUITE, packages: PACKAGES, leftOut: LEFT_OUT, disabled: DISABLED, removed: REMOVED };

/**
 * The folder of a whole Debian with everything a host needs, as a read-only lower layer for the hosts' overlays.
 * Built once (half a minute and 350 MB), then kept in the cache.
 *
 * @throws QuorateError `environment` when it cannot be built.
 */
export async function ensureDebianRoot(progress: Progress): Promise<string> {
  const key = createHash("sha256").update(JSON.stringify(RECIPE)).digest("hex").slice(0, 12);
  const root = join(cacheFolder("lab-roots"), `debian-${SUITE}-${key}`);
  if (existsSync(root)) return root;
  const onWait = (holder: number) => progress(`process ${holder} builds the hosts' Debian; waiting for it`);
  await withLock(`${cacheFolder("lab-roots")}/build.lock`, onWait, async () => {
    if (existsSync(root)) return;
    progress(`building the hosts' Debian (${SUITE}, ${PACKAGES.length} packages and what they need), once`);
    const unfinished = `${root}.building`;
    rmSync(unfinished, { recursive: true, force: true });
    await build(unfinished, progress);
    renameSync(unfinished, root);
  });
  return root;
}

async function build(folder: string, progress: Progress): Promise<void> {
  const began = Date.now();
  const onLine = (line: string) => {
    if (line.startsWith("I: ")) progress(`  ${line.slice(3)}`);
  };
  const options = [
    "--mode=root",
    "--variant=minbase",
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=force-unsafe-io",
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    `--include=${PACKAGES.join(",")}`,
  ];
  const input = (await aptSources()).join("\n");
  try {
    await run(["mmdebstrap", ...options, SUITE, folder, "-"], { input, timeoutMs: BUILD_TIMEOUT_MS, onLine });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    const said = lastLines(error instanceof Error ? error.message : String(error), 8);
    throw new QuorateError("environment", "RootNotBuilt", `the hosts' Debian could not be built: ${said}`, {
      cause: error,
    });
  }
  for (const unit of DISABLED) {
    for (const link of globSync(`etc/systemd/system/*.wants/${unit}`, { cwd: folder })) rmSync(join(folder, link));
  }
  for (const file of REMOVED) rmSync(join(folder, file));
  // An empty file: each host has its own identity. A missing one would make systemd take this for a first boot.
  writeFileSync(join(folder, "etc/machine-id"), "");
  writeFileSync(join(folder, "etc/fstab"), "");
  progress(`built the hosts' Debian in ${Math.round((Date.now() - began) / 1000)} s`);
}

/** The sources of this machine for the suite, so that a machine with a mirror of its own uses that. @throws QuorateError NoPackageSource */
async function aptSources(): Promise<string[]> {
  const format = "$" + "(ORIGIN)\t$" + "(REPO_URI)\t$" + "(RELEASE)\t$" + "(COMPONENT)";
  const { stdout } = await run(["apt-get", "indextargets", "--format", format, "Created-By: Packages"], {
    exitCodes: [0, 100],
  });
  const own = stdout
    .split("\n")
    .map((line) => line.split("\t"))
    .filter(
      ([origin, , release, component]) => origin === "Debian" && release?.startsWith(SUITE) && component === "main",
    )
    .map(([, uri, release]) => `deb ${uri} ${release} main`);
  if (own.length > 0) return [...new Set(own)];
  throw new QuorateError(
    "environment",
    "NoPackageSource",
    `apt on this machine has no source of Debian ${SUITE}, from which the hosts of a lab are made; add one and run apt-get update`,
  );
}
