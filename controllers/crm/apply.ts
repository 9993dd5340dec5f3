import type { Clock } from "../../clock.ts";
import { CLUSTER_NODES, CRM_HOLDER, type FenceRecord, GUESTS, HA_RESOURCES, nodeLeaseName } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { type KubeClient, leaseHolder, releaseLease, rfc3339, takeLease } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import type { CrmEffect, DisarmRecord, NodeRecord, ServiceRecord } from "../ha/index.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";
import { type FailoverNotes, nodeStatus, serviceStatus } from "./records.ts";

export interface ApplyContext {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly namespace: string;
  /** False from the moment another controller may lead: asked right before the one write that can't be taken back. */
  readonly mayAct: () => boolean;
  /** Wall-clock notes of a failover for HAResource.status, by service. */
  readonly failoverNotes: (service: string, record: ServiceRecord) => FailoverNotes | undefined;
  /** What proved the fences of this leadership, by node: kept from the taking of a Lease to the record of the fence. */
  readonly fences: Map<string, FenceProof>;
  readonly setDisarm: (disarm: DisarmRecord | undefined) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface FenceProof {
  readonly reason: string;
  /** As FenceRecord.by says. */
  readonly by: string;
}

/**
 * Writes the effects of one CRM step, in order, each with a precondition on what the step saw. Stops at the first that fails:
 * the caller then begins again from the objects, never from a state that was not written.
 * @returns whether a Lease was taken or released, so that the caller steps again at once.
 */
export async function applyCrmEffects(
  effects: readonly CrmEffect[],
  objects: ClusterObjects,
  context: ApplyContext,
): Promise<boolean> {
  let leasesChanged = false;
  for (const effect of effects) {
    if (context.signal.aborted) throw new QuorateError("transient", "LeadershipLost", "this controller leads no more");
    leasesChanged = (await applyOne(effect, objects, context)) || leasesChanged;
  }
  return leasesChanged;
}

async function applyOne(effect: CrmEffect, objects: ClusterObjects, context: ApplyContext): Promise<boolean> {
  const { client, namespace } = context;
  const wall = rfc3339(context.clock.wallMs());
  switch (effect.type) {
    case "setService": {
      const resource = objects.resources.find((r) => r.metadata.name === effect.service);
      if (resource === undefined) return false;
      const owner = objects.guests.find((g) => g.metadata.name === effect.service)?.spec.nodeName;
      const notes = context.failoverNotes(effect.service, effect.record);
      const status = serviceStatus(resource, effect.record, wall, notes, owner);
      await client.applyStatus(
        HA_RESOURCES,
        { metadata: identity(resource.metadata, namespace), status },
        { fieldManager: FIELD_MANAGER, force: true, signal: context.signal },
      );
      return false;
    }
    case "setNode": {
      const node = objects.nodes.find((n) => n.metadata.name === effect.node);
      if (node === undefined) return false;
      const status = nodeStatus(node, effect.record, wall, fenceRecord(effect.node, effect.record, context));
      await client.applyStatus(
        CLUSTER_NODES,
        { metadata: identity(node.metadata, namespace), status },
        { fieldManager: FIELD_MANAGER, force: true, signal: context.signal },
      );
      return false;
    }
    case "takeLease": {
      const lease = leaseOf(effect.node, objects);
      if (lease === undefined) {
        throw new QuorateError(
          "transient",
          "LeaseMissing",
          `node "${effect.node}" has no Lease ${nodeLeaseName(effect.node)}; nothing can be taken`,
        );
      }
      if (!context.mayAct()) throw new QuorateError("transient", "LeadershipLost", "this controller leads no more");
      // A compare-and-swap on the very revision the gate was judged by: an agent that renewed in between wins.
      await takeLease(
        client,
        lease,
        { holder: CRM_HOLDER, durationSeconds: 3600 },
        { clock: context.clock, signal: context.signal },
      );
      context.fences.set(effect.node, {
        reason: effect.why.join("; ").slice(0, 512),
        by: leaseHolder(lease) === "" ? "Released" : "Watchdog",
      });
      context.log.warn({ node: effect.node, why: effect.why }, "lease taken: the node is fenced");
      return true;
    }
    case "releaseLease": {
      const lease = leaseOf(effect.node, objects);
      if (lease === undefined || leaseHolder(lease) !== CRM_HOLDER) return false;
      await releaseLease(client, lease, { clock: context.clock, signal: context.signal });
      return true;
    }
    case "setNodeOwner": {
      const guest = objects.guests.find((g) => g.metadata.name === effect.service);
      if (guest === undefined || guest.spec.nodeName === effect.node) return false;
      if (guest.spec.nodeName !== effect.from) {
        throw new QuorateError(
          "transient",
          "BindingChanged",
          `Guest "${effect.service}" is bound to ${guest.spec.nodeName ?? "no node"}, not to ${effect.from}; its move to ${effect.node} is decided anew`,
        );
      }
      if (!context.mayAct()) throw new QuorateError("transient", "LeadershipLost", "this controller leads no more");
      await client.apply(
        GUESTS,
        {
          metadata: {
            ...identity(guest.metadata, namespace),
            ...(guest.metadata.resourceVersion === undefined
              ? {}
              : { resourceVersion: guest.metadata.resourceVersion }),
          },
          spec: { nodeName: effect.node },
        },
        { fieldManager: FIELD_MANAGER, force: true, signal: context.signal },
      );
      return false;
    }
    // What remains is shown by other parts of the status, or needs nothing of the API server.
    case "dropService":
    case "forgetNode":
    case "removeLock":
      return false;
    case "setDisarm":
      await context.setDisarm(effect.disarm);
      return false;
    case "fenceHardware":
      context.log.error(
        { node: effect.node },
        "hardware fencing is configured but not available in this version; waiting for the watchdog proof",
      );
      return false;
  }
}

/** Its time is that of the fence, however much later the node's state is written again. */
function fenceRecord(node: string, record: NodeRecord, { clock, fences }: ApplyContext): FenceRecord | undefined {
  if (record.fencedAt === undefined) return undefined;
  const proof = fences.get(node) ?? { reason: "an earlier leader had taken its lease", by: "Watchdog" };
  return { at: rfc3339(clock.wallMs() - (clock.elapsedMs() - record.fencedAt)), ...proof };
}

function leaseOf(node: string, objects: ClusterObjects) {
  return objects.leases.find((lease) => lease.metadata.name === nodeLeaseName(node));
}

/** The uid makes an apply to a deleted and re-created object fail instead of creating half an object. */
function identity(
  metadata: { name: string; uid?: string },
  namespace: string,
): { name: string; namespace: string; uid?: string } {
  return { name: metadata.name, namespace, ...(metadata.uid === undefined ? {} : { uid: metadata.uid }) };
}
