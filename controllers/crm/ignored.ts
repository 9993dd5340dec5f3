import { HA_RESOURCES, type HAResource } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import { conditionsOf } from "../conditions.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";

/** Resources that are to be ignored, and whose status still says something else, on which their agent would act. */
export function ignored(objects: ClusterObjects): HAResource[] {
  return objects.resources.filter(({ spec, status }) => spec.state === "Ignored" && status?.state !== "Ignored");
}

/** Says that nothing is wanted of the guest: its agent leaves it alone, whether it runs or not. */
export async function writeIgnored(
  client: KubeClient,
  resource: HAResource,
  wall: string,
  signal: AbortSignal,
): Promise<void> {
  const { name, namespace = "", uid = "" } = resource.metadata;
  const { node, command, lastFailover } = resource.status ?? {};
  await client.applyStatus(
    HA_RESOURCES,
    {
      metadata: { name, namespace, uid },
      status: {
        observedGeneration: resource.metadata.generation ?? 0,
        state: "Ignored",
        since: wall,
        ...(node === undefined ? {} : { node }),
        ...(command === undefined ? {} : { command: { uid: command.uid, action: "None" as const } }),
        ...(lastFailover === undefined ? {} : { lastFailover }),
        conditions: conditionsOf(
          [
            { type: "Ready", status: "True", reason: "Ignored", message: "left alone, as if it were not under HA" },
            { type: "Error", status: "False", reason: "NoError", message: "nothing is wanted of it" },
          ],
          resource.status?.conditions,
          resource.metadata.generation,
          wall,
        ),
      },
    },
    { fieldManager: FIELD_MANAGER, force: true, signal },
  );
}
