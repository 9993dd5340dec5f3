import type { Clock } from "../clock.ts";
import { CLUSTER_NODES, CLUSTERS, type Cluster, type DisarmMode, HA_RESOURCES } from "../crds/index.ts";
import { QuorateError } from "../errors.ts";
import { type KubeApi, NotFoundError } from "../kube/index.ts";
import { conditionOf, findCluster } from "./cluster-view.ts";
import { notFound } from "./failures.ts";

const FIELD_MANAGER = "kubectl-quorate";

type Api = Pick<KubeApi, "get" | "list" | "mergePatch">;

/** Asks for maintenance of a node, or ends it. @returns what happens now, in words. @throws QuorateError ClusterNodeNotFound */
export async function setMaintenance(client: Api, namespace: string, node: string, on: boolean): Promise<string> {
  const key = { namespace, name: node };
  const before = await client.get(CLUSTER_NODES, key);
  if (before === undefined) throw notFound("ClusterNode", "clusternodes", node, namespace);
  if (before.spec.maintenance === on) return `${node}: maintenance is ${on ? "on" : "off"} already`;
  try {
    await client.mergePatch(CLUSTER_NODES, key, { spec: { maintenance: on } }, { fieldManager: FIELD_MANAGER });
  } catch (error) {
    if (error instanceof NotFoundError) throw notFound("ClusterNode", "clusternodes", node, namespace);
    throw error;
  }
  if (!on) return `${node}: maintenance ends; the guests that left come back, unless failback is off`;
  const { items } = await client.list(HA_RESOURCES, { namespace });
  const leaving = items.filter(({ spec, status }) => status?.node === node && spec.state === "Started").length;
  const guests = leaving === 1 ? "1 guest under HA leaves" : `${leaving} guests under HA leave`;
  return `${node}: maintenance begins; ${guests}. It is free when its state is Maintenance and no guest is on it: kubectl quorate status -n ${namespace}`;
}

/** Asks that HA stops guarding, or (undefined) guards again. @returns the cluster as it was and what happens now */
export async function setDisarm(
  client: Api,
  namespace: string,
  mode: DisarmMode | undefined,
): Promise<{ cluster: Cluster; text: string }> {
  const cluster = await findCluster(client, namespace);
  const { name } = cluster.metadata;
  const { disarm } = cluster.spec.ha;
  if (disarm === mode) {
    return { cluster, text: `${name}: ${mode === undefined ? "armed already" : `disarmed (${mode}) already`}` };
  }
  // In a merge patch null removes the field.
  const patch = { spec: { ha: { disarm: mode ?? null } } };
  await client.mergePatch(CLUSTERS, { namespace, name }, patch, { fieldManager: FIELD_MANAGER });
  return {
    cluster,
    text:
      mode === undefined
        ? `${name}: arms again`
        : `${name}: disarms (${mode}) as soon as no fence, recovery or move runs; until "kubectl quorate arm" no lost host is replaced`,
  };
}

const LOOK_EVERY_MS = 500;

/** Waits until HA is disarmed, or guards again. @throws QuorateError NotInTime */
export async function waitForArmed(
  client: Pick<KubeApi, "get">,
  cluster: Cluster,
  armed: boolean,
  timeoutMs: number,
  clock: Clock,
): Promise<string> {
  const { name, namespace = "" } = cluster.metadata;
  const deadlineMs = clock.elapsedMs() + timeoutMs;
  for (;;) {
    const now = await client.get(CLUSTERS, { namespace, name });
    const condition = now === undefined ? undefined : conditionOf(now, "Armed");
    const isArmed = condition?.reason === "Armed" || condition?.reason === "Idle";
    if (armed ? isArmed : condition?.reason === "Disarmed") return `${name}: ${condition?.reason ?? ""}`;
    if (clock.elapsedMs() >= deadlineMs) {
      const said =
        condition === undefined ? "the controllers have not said" : `${condition.reason}: ${condition.message}`;
      throw new QuorateError(
        "transient",
        "NotInTime",
        `Cluster "${name}" is not ${armed ? "armed" : "disarmed"} yet (${said})`,
      );
    }
    await clock.sleep(LOOK_EVERY_MS);
  }
}
