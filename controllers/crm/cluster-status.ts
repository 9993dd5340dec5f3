import { CLUSTERS, type Cluster } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import { conditionsOf } from "../conditions.ts";
import type { DisarmMode, DisarmRecord } from "../ha/index.ts";
import { FIELD_MANAGER } from "./objects.ts";

/**
 * The disarm record as the Armed condition keeps it over a restart. Agents let go only on the reasons that say that the CRM
 * has agreed: `DisarmAgreed` and `Disarmed`.
 */
export function disarmOf(cluster: Cluster): DisarmRecord | undefined {
  const armed = cluster.status?.conditions?.find((each) => each.type === "Armed");
  if (armed === undefined || armed.status === "True") return undefined;
  const mode: DisarmMode = armed.message.startsWith("Ignore") ? "Ignore" : "Freeze";
  switch (armed.reason) {
    case "Disarming":
      return { mode, phase: "Disarming", agreed: false };
    case "DisarmAgreed":
      return { mode, phase: "Disarming", agreed: true };
    case "Disarmed":
      return { mode, phase: "Disarmed", agreed: true };
    default:
      return undefined;
  }
}

/** Writes Cluster.status.leader and the Armed condition, when they are not so already. */
export async function writeClusterStatus(
  client: KubeClient,
  cluster: Cluster,
  leader: string,
  disarm: DisarmRecord | undefined,
  wall: string,
  signal: AbortSignal,
): Promise<void> {
  const { reason, message } = words(disarm);
  const before = cluster.status?.conditions?.find((each) => each.type === "Armed");
  if (cluster.status?.leader === leader && before?.reason === reason && before.message === message) return;
  await client.applyStatus(
    CLUSTERS,
    {
      metadata: {
        name: cluster.metadata.name,
        ...(cluster.metadata.namespace === undefined ? {} : { namespace: cluster.metadata.namespace }),
        ...(cluster.metadata.uid === undefined ? {} : { uid: cluster.metadata.uid }),
      },
      status: {
        leader,
        conditions: conditionsOf(
          [{ type: "Armed", status: disarm === undefined ? "True" : "False", reason, message }],
          cluster.status?.conditions,
          cluster.metadata.generation,
          wall,
        ),
      },
    },
    { fieldManager: FIELD_MANAGER, force: true, signal },
  );
}

function words(disarm: DisarmRecord | undefined): { reason: string; message: string } {
  if (disarm === undefined) return { reason: "Armed", message: "guests under HA are guarded" };
  if (disarm.phase === "Disarmed")
    return { reason: "Disarmed", message: `${disarm.mode}: no node is guarded; remove spec.ha.disarm to arm again` };
  return disarm.agreed
    ? { reason: "DisarmAgreed", message: `${disarm.mode}: agents close their watchdogs now` }
    : { reason: "Disarming", message: `${disarm.mode}: waits for a fence, recovery or move that is under way` };
}
