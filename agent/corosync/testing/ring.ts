import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { systemClock } from "../../../clock.ts";
import { type Host, podHost } from "../../host/index.ts";

/**
 * A real corosync ring on this machine, for tests: each node is a set of unnamed namespaces, two links of veth pairs
 * between them and a switch namespace. Every process ends with this one, and the kernel then removes the rest.
 */
export interface Ring extends AsyncDisposable {
  readonly nodes: readonly RingNode[];
  /** A further host with its network, nothing running; its id is the next. */
  addNode(): Promise<RingNode>;
  /** The configuration with these nodes. `extra` goes into the totem section. */
  config(version: number, nodeIds: readonly number[], extra?: string): string;
  readonly authkey: Buffer;
}

export interface RingNode {
  readonly id: number;
  /** The node as the agent in a pod sees its host. */
  readonly host: Host;
  /** The process whose namespaces the node is. */
  readonly pid: number;
  /** Writes configuration and key. */
  configure(config: string): Promise<void>;
  start(): void;
  /** Process id of corosync. */
  readonly corosync: number;
  signal(signal: NodeJS.Signals): void;
  /** Kills corosync and waits for its end. */
  kill(): Promise<void>;
  /** Takes links down or up; both when no number is given. */
  link(state: "up" | "down", number?: 0 | 1): void;
  log(): string;
}

/** Why no ring can be made here, or false. For `test(…, { skip })`. */
export function ringUnavailable(): string | false {
  if (process.getuid?.() !== 0) return "needs root to make namespaces";
  try {
    execFileSync("corosync", ["-v"], { stdio: "ignore" });
    return false;
  } catch {
    return "needs corosync installed";
  }
}

export async function makeRing(options: { tokenMilliseconds: number }): Promise<Ring> {
  const authkey = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  const fabric = await holder(
    "ip link set lo up; for l in 0 1; do ip link add br$l type bridge forward_delay 0; ip link set br$l up; done",
  );
  const nodes: RingNode[] = [];
  const ends: (() => Promise<void>)[] = [fabric.end];
  return {
    nodes,
    authkey,
    config: (version, ids, extra = "") =>
      ringConfig(version, ids, `token: ${options.tokenMilliseconds}\n  token_coefficient: 125\n  ${extra}`),
    async addNode() {
      const { node, end } = await makeNode(nodes.length + 1, fabric.pid, authkey);
      nodes.push(node);
      ends.unshift(end);
      return node;
    },
    async [Symbol.asyncDispose]() {
      for (const end of ends) await end();
    },
  };
}

/** Polls until `condition` holds. The error says what was waited for, and `explain` what is there instead. */
export async function until(
  what: string,
  condition: () => Promise<boolean>,
  explain: () => string = () => "",
  limitMs = 30_000,
): Promise<number> {
  const started = systemClock.elapsedMs();
  while (!(await condition())) {
    if (systemClock.elapsedMs() - started > limitMs) throw new Error(`not within ${limitMs} ms: ${what}. ${explain()}`);
    await systemClock.sleep(25);
  }
  return systemClock.elapsedMs() - started;
}

async function makeNode(
  id: number,
  fabric: number,
  authkey: Buffer,
): Promise<{ node: RingNode; end: () => Promise<void> }> {
  const mounts = ["/etc/corosync", "/var/lib/corosync", "/var/log/corosync", "/dev/shm", "/run"];
  const held = await holder(
    `hostname n${id}; ip link set lo up; ${mounts.map((path) => `mount -t tmpfs tmpfs ${path};`).join(" ")} mkdir -p /run/corosync`,
  );
  const inFabric = (...words: string[]) =>
    execFileSync("nsenter", ["--target", String(fabric), "--net", "ip", ...words]);
  const host = podHost(held.pid);
  for (const l of [0, 1]) {
    inFabric("link", "add", `n${id}l${l}`, "type", "veth", "peer", "name", `eth${l}`, "netns", String(held.pid));
    inFabric("link", "set", `n${id}l${l}`, "master", `br${l}`, "up");
    await host.run("ip", ["address", "add", `10.9.${l}.${id}/24`, "dev", `eth${l}`], { timeoutMs: 5000 });
    await host.run("ip", ["link", "set", `eth${l}`, "up"], { timeoutMs: 5000 });
  }
  let daemon: ChildProcess | undefined;
  const corosync = () => {
    if (daemon?.pid === undefined) throw new Error(`corosync of n${id} was not started`);
    return daemon.pid;
  };
  const node: RingNode = {
    id,
    host,
    pid: held.pid,
    get corosync() {
      return corosync();
    },
    async configure(config) {
      await host.writeFileAtomic("/etc/corosync/authkey", authkey, { mode: 0o400 });
      await host.writeFileAtomic("/etc/corosync/corosync.conf", config, { mode: 0o644 });
    },
    start() {
      daemon = spawn(
        "setpriv",
        [
          "--pdeathsig",
          "KILL",
          "nsenter",
          "--target",
          String(held.pid),
          "--mount",
          "--uts",
          "--net",
          "--ipc",
          "corosync",
          "-f",
        ],
        {
          stdio: ["ignore", "ignore", "inherit"],
        },
      );
    },
    signal: (signal) => process.kill(corosync(), signal),
    async kill() {
      if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
      const ended = once(daemon, "exit");
      daemon.kill("SIGKILL");
      await ended;
    },
    link(state, number) {
      for (const l of number === undefined ? [0, 1] : [number]) inFabric("link", "set", `n${id}l${l}`, state);
    },
    log: () => readFileSync(host.path("/var/log/corosync/corosync.log"), "utf8").split("\n").slice(-25).join("\n"),
  };
  return {
    node,
    async end() {
      await node.kill();
      await held.end();
    },
  };
}

/** A process in namespaces of its own that does nothing and ends with its standard input, that is with this process. */
async function holder(setup: string): Promise<{ pid: number; end: () => Promise<void> }> {
  const script = `set -e; ${setup}; echo ready; exec cat >/dev/null`;
  const child = spawn(
    "unshare",
    ["--mount", "--uts", "--net", "--ipc", "--propagation", "private", "bash", "-c", script],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  const [said] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  if (String(said) !== "ready\n" || child.pid === undefined) throw new Error(`namespaces could not be made: ${said}`);
  const { pid } = child;
  return {
    pid,
    async end() {
      const ended = once(child, "exit");
      child.stdin.end();
      await ended;
    },
  };
}

function ringConfig(version: number, ids: readonly number[], totem: string): string {
  const node = (id: number) => `  node {
    name: n${id}
    nodeid: ${id}
    quorum_votes: 1
    ring0_addr: 10.9.0.${id}
    ring1_addr: 10.9.1.${id}
  }
`;
  return `totem {
  version: 2
  cluster_name: ring
  config_version: ${version}
  transport: knet
  ip_version: ipv4
  crypto_cipher: aes256
  crypto_hash: sha256
  link_mode: passive
  ${totem}
}
nodelist {
${ids.map(node).join("")}}
quorum {
  provider: corosync_votequorum
}
logging {
  to_syslog: no
  to_stderr: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
  timestamp: hires
}
system {
  sched_rr: no
}
`;
}
