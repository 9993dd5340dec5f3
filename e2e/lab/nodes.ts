import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { dump, load } from "js-yaml";
import { type LocalControlPlane, startLocalControlPlane } from "../controlplane/index.ts";
import type { Progress } from "../tools/index.ts";
import type { LabHost } from "./host.ts";
import type { Lab } from "./lab.ts";
import { CONTROL_PLANE_ADDRESS, SERVICE_CIDR } from "./network.ts";
import type { CommandPrefix } from "./run.ts";
import { controlPlaneName, type LabLayout } from "./state.ts";
import { waitFor } from "./wait.ts";

const NODES_READY_MS = 90_000;

/** A control plane inside the lab's namespaces; the hosts reach it over link 0. */
export function startControlPlane(lab: string, inside: CommandPrefix, progress: Progress): Promise<LocalControlPlane> {
  return startLocalControlPlane({
    name: controlPlaneName(lab),
    cluster: true,
    persistent: true,
    progress,
    network: {
      commandPrefix: inside,
      bindAddress: "0.0.0.0",
      advertiseAddress: CONTROL_PLANE_ADDRESS,
      serviceCidr: SERVICE_CIDR,
    },
  });
}

/** Writes the administrator's kubeconfig for programs on this machine, which reach the API server over a loopback port. */
export function writeMachineKubeconfig(controlPlane: LocalControlPlane, files: LabLayout, port: number): void {
  const kubeconfig = load(readFileSync(controlPlane.kubeconfig, "utf8")) as {
    clusters: { cluster: { server: string } }[];
  };
  for (const { cluster } of kubeconfig.clusters) cluster.server = `https://127.0.0.1:${port}`;
  writeFileSync(files.kubeconfig, dump(kubeconfig), { mode: 0o600 });
}

/** Gives a host's kubelet its identity and starts it. From then on it starts with the host. */
export async function joinNode(controlPlane: LocalControlPlane, host: LabHost): Promise<void> {
  const user = { name: `system:node:${host.name}`, groups: ["system:nodes"] };
  const kubeconfig = readFileSync(await controlPlane.kubeconfigFor(user), "utf8");
  await host.waitUntilBooted();
  const target = host.diskPath("/etc/kubernetes/kubelet.kubeconfig");
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(host.diskPath("/etc/kubernetes/ca.crt"), controlPlane.authority);
  writeFileSync(target, kubeconfig, { mode: 0o600 });
  await host.run("systemctl", ["start", "kubelet.service"]);
}

/** Waits until all hosts are Ready in the eyes of the API server. */
export async function nodesReady(lab: Lab): Promise<void> {
  const condition = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}';
  const ready = async () => {
    const nodes = (await lab.kubectl(["get", "nodes", `--output=jsonpath=${condition}`])).split(" ");
    return lab.hosts.every((host) => nodes.includes(`${host.name}=True`));
  };
  await waitFor(ready, NODES_READY_MS, `${lab.hosts.length} nodes to be Ready`, { intervalMs: 300 });
}
