import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../clock.ts";
import { CLUSTER_NODES, type ClusterNode } from "../crds/index.ts";
import { classify, QuorateError } from "../errors.ts";
import { KubeClient, serveHealth, WatchCache } from "../kube/index.ts";
import { type Logger, processLog } from "../log.ts";
import { type Host, localHost, podHost } from "./host/index.ts";
import type { KeeperRelease } from "./keeper/index.ts";
import { NodeAgent } from "./node/index.ts";
import { isPreparingForShutdown } from "./shutdown/index.ts";

const USAGE = `usage: quorate agent --node-name NAME [--mode DaemonSet|SystemdUnit] [--kubeconfig FILE] [--metrics-port PORT]

The agent of this host: corosync's configuration, guests, replication, and the keeper of the watchdog. It serves the
ClusterNode of this name. Guests, corosync and the keeper run on when it ends.
`;

/** The LRM goes round once a second; an agent whose LRM has not for this long hangs. */
const HANGS_AFTER_MS = 60_000;

/** Less than the pod's terminationGracePeriodSeconds. */
const HOST_ENDS_WITHIN_MS = 80_000;

/** Runs until SIGTERM or SIGINT. */
export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      "node-name": { type: "string", default: process.env.NODE_NAME ?? "" },
      mode: { type: "string", default: "SystemdUnit" },
      kubeconfig: { type: "string" },
      "metrics-port": { type: "string", default: "9808" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const node = values["node-name"];
  const { mode } = values;
  const port = Number(values["metrics-port"]);
  if (
    !/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(node) ||
    (mode !== "DaemonSet" && mode !== "SystemdUnit") ||
    !Number.isInteger(port)
  ) {
    process.stderr.write(
      `quorate agent: --node-name must be the name of a ClusterNode, --mode DaemonSet or SystemdUnit\n\n${USAGE}`,
    );
    process.exitCode = 64;
    return;
  }
  const log = processLog("agent").child({ node });
  const stop = new AbortController();
  const host = mode === "DaemonSet" ? podHost() : localHost();
  let agent: NodeAgent | undefined;
  const end = async () => {
    // The end of an agent is nothing to its host, unless it comes because the host ends: a kubelet may stop pods before systemd begins.
    if (agent !== undefined && (await isPreparingForShutdown(host))) await agent.endHost(HOST_ENDS_WITHIN_MS);
    stop.abort();
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void end());
  const client = KubeClient.fromKubeconfig(values.kubeconfig);
  const mine = new WatchCache({
    client,
    type: CLUSTER_NODES,
    fieldSelector: `metadata.name=${node}`,
    name: "agent-self",
    log,
  });

  const health = await serveHealth({
    port,
    health: {
      lrm: () => {
        const age = agent === undefined ? 0 : systemClock.elapsedMs() - agent.aliveAt;
        return age > HANGS_AFTER_MS ? `the LRM has not gone round for ${Math.round(age / 1000)} s` : undefined;
      },
    },
    ready: { objects: () => (mine.synced ? undefined : "the API server has not answered yet") },
  });
  await mine.start();
  log.info({ mode, version: release().version }, "agent started");
  while (!stop.signal.aborted) {
    const self = chooseCluster(mine.list(), log);
    if (self === undefined) {
      await systemClock.sleep(1_000, stop.signal).catch(() => undefined);
      continue;
    }
    const serving = new AbortController();
    const namespace = self.metadata.namespace ?? "";
    agent = new NodeAgent({
      node,
      namespace,
      mode,
      host,
      client,
      clock: systemClock,
      log,
      release: release(),
      accelerator: await accelerator(host),
    });
    const watch = setInterval(() => {
      // The object is gone, so this host is of no cluster any more, or of another one.
      if (mine.synced && mine.get(`${namespace}/${node}`) === undefined) serving.abort();
    }, 1_000);
    try {
      await agent.run(AbortSignal.any([stop.signal, serving.signal]));
    } finally {
      clearInterval(watch);
      agent = undefined;
    }
  }
  await mine.stop();
  await health.close();
  log.info("agent ended; guests, corosync and the keeper run on");
}

/** A host is of one cluster. Of two objects with its name, the older one counts and the other is told to no one but the log. */
function chooseCluster(nodes: readonly ClusterNode[], log: Logger): ClusterNode | undefined {
  const [first, ...others] = [...nodes].sort((a, b) =>
    (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? ""),
  );
  if (others.length > 0)
    log.error(
      { namespaces: others.map((each) => each.metadata.namespace) },
      "this host has a ClusterNode in more than one namespace; only the oldest is served, delete the others",
    );
  return first;
}

/** The program that the keeper is installed from: the folder of the image, named by its content. */
function release(): KeeperRelease {
  const script = process.argv[1] ?? "";
  if (basename(script) !== "quorate.mjs") {
    throw new QuorateError(
      "environment",
      "NotInstalled",
      "the agent runs from its installed program (/opt/quorate), which it copies to the host for the keeper; this is a checkout: build the image first",
    );
  }
  const folder = dirname(dirname(script));
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string };
  const digest = createHash("sha256").update(readFileSync(script)).digest("hex").slice(0, 12);
  return { folder, version: `${version}-${digest}`, node: "bin/node", script: "lib/quorate.mjs" };
}

/** `/etc/quorate/agent.json` of the host: {"qemu": {"accelerator": "Auto" | "KVM" | "TCG"}}. */
async function accelerator(host: Host): Promise<"Auto" | "KVM" | "TCG"> {
  const text = await host.readFile("/etc/quorate/agent.json");
  if (text === undefined) return "Auto";
  try {
    const wanted = (JSON.parse(text.toString()) as { qemu?: { accelerator?: unknown } }).qemu?.accelerator ?? "Auto";
    if (wanted === "Auto" || wanted === "KVM" || wanted === "TCG") return wanted;
    throw new QuorateError(
      "user",
      "InvalidConfig",
      `qemu.accelerator is ${JSON.stringify(wanted)}; it must be Auto, KVM or TCG`,
    );
  } catch (error) {
    throw new QuorateError("user", "InvalidConfig", `/etc/quorate/agent.json: ${classify(error).message}`);
  }
}
