import { existsSync, rmSync, writeFileSync } from "node:fs";
import { QuorateError } from "../../errors.ts";
import { cacheFolder, type Progress, withLock } from "../tools/index.ts";
import { run } from "./run.ts";

/** Debian packages for the lab and for tests that use the parts of a host on this machine itself. */
const PACKAGES = [
  "lxc",
  "mmdebstrap",
  "debian-archive-keyring",
  "iproute2",
  "nftables",
  "kmod",
  "lz4",
  "xz-utils",
  "zstd",
  "cpio",
  "e2fsprogs",
  "btrfs-progs",
  "busybox-static",
  "corosync",
  "corosync-qnetd",
  "corosync-qdevice",
  "zfs-fuse",
  "qemu-system-x86",
  "qemu-utils",
  "socat",
  "spin",
  "gcc",
  "libc6-dev",
];

/** With this file, packages do not start their services when they are installed: this machine is no cluster member. */
const POLICY_FILE = "/usr/sbin/policy-rc.d";

const INSTALL_TIMEOUT_MS = 20 * 60_000;

/**
 * Installs what is missing of the packages the lab and the host tests need; nothing is done when all are there.
 *
 * @throws QuorateError `environment` when this is not a Debian, not root, or apt-get fails.
 */
export async function ensureHostPackages(
  progress: Progress = (line) => process.stderr.write(`${line}\n`),
  packages: readonly string[] = PACKAGES,
): Promise<void> {
  if ((await missingPackages(packages)).length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new QuorateError("environment", "NotRoot", `the lab needs root, also to install ${packages.join(", ")}`);
  }
  const onWait = (holder: number) => progress(`process ${holder} installs packages; waiting for it`);
  await withLock(`${cacheFolder()}/packages.lock`, onWait, async () => {
    const missing = await missingPackages(packages);
    if (missing.length === 0) return;
    progress(`installing ${missing.join(" ")}, once`);
    await withoutStartingServices(() => install(missing, progress));
    progress(`installed ${missing.length} packages`);
  });
}

/** Those of the packages that are not installed. */
export async function missingPackages(packages: readonly string[] = PACKAGES): Promise<string[]> {
  const format = "$" + "{binary:Package} $" + "{db:Status-Abbrev}\n";
  // Exit code 1: some are not known at all; the others are listed nevertheless.
  const known = await run(["dpkg-query", "--show", `--showformat=${format}`, ...packages], { exitCodes: [0, 1] });
  const installed = new Set(
    known.stdout
      .split("\n")
      .map((line) => line.split(/\s+/))
      .filter(([, status]) => status === "ii")
      .map(([name]) => name?.replace(/:.*$/, "")),
  );
  return packages.filter((name) => !installed.has(name));
}

async function install(packages: readonly string[], progress: Progress): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", ...packages];
  const onLine = (line: string) => {
    if (/^(Setting up|Need to get)/.test(line)) progress(`  ${line}`);
  };
  const options = { env, timeoutMs: INSTALL_TIMEOUT_MS, onLine };
  await run(["apt-get", "update", "--quiet"], { env, timeoutMs: INSTALL_TIMEOUT_MS });
  await run(command, options);
}

async function withoutStartingServices(work: () => Promise<void>): Promise<void> {
  if (existsSync(POLICY_FILE)) return work();
  writeFileSync(POLICY_FILE, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await work();
  } finally {
    rmSync(POLICY_FILE, { force: true });
  }
}
