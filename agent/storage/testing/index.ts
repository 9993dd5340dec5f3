import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Host, podHost } from "../../host/index.ts";

/** A host of its own as far as ZFS goes: a real zfs-fuse daemon in a private mount namespace, with a pool in a file. */
export interface ZfsFuseHost extends AsyncDisposable {
  readonly host: Host;
  /** The process that keeps its namespaces: `podHost(holder)` is this host. */
  readonly holder: number;
  /** Exists, mounted, empty. */
  readonly dataset: string;
  /** `zfs …` on this host; returns what it printed. */
  zfs(...args: string[]): Promise<string>;
  /** Ends the daemon without warning, as a crash would. */
  killDaemon(): Promise<void>;
  /** Starts it again after a crash and mounts what was mounted. */
  startDaemon(): Promise<void>;
}

/** Why tests on real userland ZFS cannot run here, or nothing. For `test(name, { skip: … })`. */
export function zfsFuseMissing(): string | false {
  if (process.getuid?.() !== 0) return "needs root for mount namespaces";
  if (!existsSync("/usr/sbin/zfs-fuse")) return "zfs-fuse is not installed (apt-get install zfs-fuse)";
  return existsSync("/dev/fuse") ? false : "no /dev/fuse";
}

/** Disposal leaves nothing behind; neither does the death of this process. */
export async function startZfsFuseHost(options: { poolBytes?: number } = {}): Promise<ZfsFuseHost> {
  // In memory where there is room: what is tested waits for the disk at every step.
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "quorate-zfs-"));
  mkdirSync(join(folder, "var-lib-zfs"));
  const image = join(folder, "pool.img");
  writeFileSync(image, "");
  truncateSync(image, options.poolBytes ?? 512 * 1024 * 1024);
  const holder = startDying("unshare", [
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-ec",
    `mount -t tmpfs tmpfs /run; mkdir -p /run/zfs /run/pool /run/lock; mount --bind ${folder}/var-lib-zfs /var/lib/zfs; exec sleep infinity`,
  ]);
  if (holder.pid === undefined) throw new Error("unshare could not be started");
  const host = podHost(holder.pid);
  await until(
    "the private mounts",
    () => execFileSync("cat", [`/proc/${holder.pid}/comm`], { encoding: "utf8" }).trim() === "sleep",
  );

  let daemon: ChildProcess | undefined;
  const startDaemon = async () => {
    const inside = ["--target", String(holder.pid), "--mount", "--"];
    daemon = startDying("nsenter", [
      ...inside,
      "zfs-fuse",
      "-n",
      "--no-kstat-mount",
      "-p",
      "/run/zfs-fuse.pid",
      "-m",
      "64",
    ]);
    await until("zfs-fuse", () =>
      run("zpool", ["list"]).then(
        () => true,
        () => false,
      ),
    );
  };
  const run = async (command: string, args: string[]) => (await host.run(command, args, { timeoutMs: 60_000 })).stdout;
  await startDaemon();
  await run("zpool", ["create", "-O", "atime=off", "-m", "/run/pool", "tank", image]);
  await run("zfs", ["create", "tank/guests"]);

  const killDaemon = async () => {
    await end(daemon);
    daemon = undefined;
  };
  return {
    host,
    holder: holder.pid,
    dataset: "tank/guests",
    zfs: (...args) => run("zfs", args),
    killDaemon,
    startDaemon: async () => {
      const mounted = (await run("sh", ["-c", "grep ' fuse.zfs ' /proc/mounts | cut -d' ' -f2"]))
        .split("\n")
        .filter(Boolean);
      for (const path of mounted.toSorted().reverse()) await run("umount", ["-l", path]);
      await run("sh", ["-c", "rm -rf /run/pool/* /run/zfs-fuse.pid"]);
      await startDaemon();
      await run("zfs", ["mount", "-a"]);
    },
    [Symbol.asyncDispose]: async () => {
      await killDaemon();
      await end(holder);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A process that ends with this one, whatever ends it. */
function startDying(command: string, args: readonly string[]): ChildProcess {
  return spawn("setpriv", ["--pdeathsig", "KILL", "--", command, ...args], { stdio: "ignore" });
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const closed = new Promise((resolve) => child.once("close", resolve));
  child.kill("SIGKILL");
  await closed;
}

/** Polls until it holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`);
    await delay(20);
  }
}
