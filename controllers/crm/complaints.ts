import { HA_RESOURCES, type HAResource } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import { conditionsOf } from "../conditions.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";

export interface Complaint {
  readonly resource: HAResource;
  readonly reason: string;
  readonly message: string;
}

/** What an HAResource still lacks to be taken under HA. The order of `kubectl apply` must not matter, so this is no refusal. */
export function complaints(objects: ClusterObjects): Complaint[] {
  const guests = new Map(objects.guests.map((guest) => [guest.metadata.name, guest]));
  const groups = new Set(objects.groups.map((group) => group.metadata.name));
  const nodes = new Set(objects.nodes.map((node) => node.metadata.name));
  return objects.resources.flatMap((resource): Complaint[] => {
    const name = resource.metadata.name;
    const guest = guests.get(name);
    const { group } = resource.spec;
    if (guest === undefined)
      return [
        {
          resource,
          reason: "GuestNotFound",
          message: `no Guest "${name}" in this namespace; apply it, or delete this HAResource`,
        },
      ];
    const node = guest.spec.nodeName;
    if (node === undefined)
      return [
        {
          resource,
          reason: "GuestNotBound",
          message: `Guest "${name}" has no spec.nodeName; set it to the node that has its data`,
        },
      ];
    if (!nodes.has(node))
      return [
        {
          resource,
          reason: "NodeNotFound",
          message: `Guest "${name}" is bound to "${node}", and there is no ClusterNode "${node}" in this namespace`,
        },
      ];
    if (group !== undefined && !groups.has(group))
      return [
        {
          resource,
          reason: "GroupNotFound",
          message: `no HAGroup "${group}" in this namespace; apply it, or remove spec.group`,
        },
      ];
    return [];
  });
}

/** Says it in the Ready condition of resources that were never taken under HA; of the others the CRM's record goes on. */
export async function writeComplaint(
  client: KubeClient,
  complaint: Complaint,
  wall: string,
  signal: AbortSignal,
): Promise<void> {
  const { resource, reason, message } = complaint;
  if (resource.status?.state !== undefined) return;
  const before = resource.status?.conditions?.find((each) => each.type === "Ready");
  if (before?.reason === reason && before.message === message) return;
  await client.applyStatus(
    HA_RESOURCES,
    {
      metadata: {
        name: resource.metadata.name,
        ...(resource.metadata.namespace === undefined ? {} : { namespace: resource.metadata.namespace }),
        ...(resource.metadata.uid === undefined ? {} : { uid: resource.metadata.uid }),
      },
      status: {
        conditions: conditionsOf(
          [{ type: "Ready", status: "False", reason, message }],
          resource.status?.conditions,
          resource.metadata.generation,
          wall,
        ),
      },
    },
    { fieldManager: FIELD_MANAGER, force: true, signal },
  );
}
