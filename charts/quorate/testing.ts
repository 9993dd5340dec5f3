/**
 * For tests against a real API server: clients that may do what the chart's roles say and nothing else, so that a right that
 * is used and not given is found before there is a cluster.
 */
import { execa } from "execa";
import { loadAll } from "js-yaml";
import type { ControlPlane } from "../../e2e/controlplane/index.ts";
import { ensureBinaries } from "../../e2e/tools/index.ts";
import { KubeClient } from "../../kube/index.ts";

const RELEASE_NAMESPACE = "quorate-system";
/** Rendering and applying them takes a second, and one test may sign in many times. */
const applied = new WeakMap<ControlPlane, Promise<void>>();

/** As the controllers sign in. The chart's roles are applied to the API server. */
export async function controllersClient(controlPlane: ControlPlane): Promise<KubeClient> {
  await applyRoles(controlPlane);
  const name = `system:serviceaccount:${RELEASE_NAMESPACE}:quorate-controllers`;
  return KubeClient.fromKubeconfig(await controlPlane.kubeconfigFor({ name }));
}

/** As the agent of a node signs in, where it is no pod. The chart's roles are applied to the API server. */
export async function agentClient(controlPlane: ControlPlane, namespace: string, node: string): Promise<KubeClient> {
  await applyRoles(controlPlane);
  const user = { name: `quorate:agent:${namespace}:${node}`, groups: ["quorate:agents"] };
  return KubeClient.fromKubeconfig(await controlPlane.kubeconfigFor(user));
}

function applyRoles(controlPlane: ControlPlane): Promise<void> {
  const roles = applied.get(controlPlane) ?? applyFromChart(controlPlane);
  applied.set(controlPlane, roles);
  return roles;
}

async function applyFromChart(controlPlane: ControlPlane): Promise<void> {
  const { helm } = await ensureBinaries(["helm"]);
  const settings = ["--namespace", RELEASE_NAMESPACE, "--set=image.repository=registry.example/quorate"];
  const { stdout } = await execa(helm, ["template", "quorate", import.meta.dirname, ...settings]);
  const items = (loadAll(stdout) as ({ kind?: string } | null)[]).filter((manifest) =>
    ["ClusterRole", "ClusterRoleBinding"].includes(manifest?.kind ?? ""),
  );
  await controlPlane.kubectl(["apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
  });
}
