import { type Clock, systemClock } from "../../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  GUESTS,
  type Guest,
  REPLICATION_JOBS,
  type ReplicationJob,
} from "../../crds/index.ts";
import {
  type EventRecorder,
  type KubeApi,
  type KubeObject,
  parseKey,
  type ResourceType,
  WatchCache,
  WorkQueue,
} from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { byAge, ownStatusDiffers } from "../membership/index.ts";
import { allocateNumbers, allocateVmids, USED_VMIDS } from "./ids.ts";
import { decideJob, JOB_CONDITIONS, JOB_STATUS_KEYS, type JobsView } from "./jobs.ts";
import { decideRelease, FINALIZER } from "./removal.ts";

export interface ReplicationOptions {
  readonly client: KubeApi;
  readonly clock?: Clock;
  readonly log: Logger;
  readonly events?: Pick<EventRecorder, "event">;
}

export interface RunningReplication {
  stop(): Promise<void>;
}

const FIELD_MANAGER = "quorate-replication";
/** Set once a guest has had its disks: no agent makes them anew, even when every status is lost. */
const PROVISIONED = "quorate.dev/provisioned";

/**
 * Ids of guests and jobs, and when each job runs next. The runs are done by the agent of the node that owns the guest.
 * Only the leader may run it. Resolves when the caches are filled.
 */
export async function startReplication(options: ReplicationOptions): Promise<RunningReplication> {
  const { client, events } = options;
  const clock = options.clock ?? systemClock;
  const log = options.log.child({ controller: "replication" });
  let filled = false;
  const wake = (key: string) => {
    if (filled) queue.add(parseKey(key).namespace ?? "");
  };
  const cache = <T extends KubeObject>(type: ResourceType<T>) =>
    new WatchCache({ client, type, name: `replication-${type.plural}`, onChange: wake, clock, log });
  const caches = {
    clusters: cache(CLUSTERS),
    nodes: cache(CLUSTER_NODES),
    guests: cache(GUESTS),
    jobs: cache(REPLICATION_JOBS),
  };
  const reconcile = async (namespace: string) => {
    const [cluster] = [...caches.clusters.list(namespace)].sort(byAge);
    const view: JobsView = {
      cluster,
      nodes: caches.nodes.list(namespace),
      guests: caches.guests.list(namespace),
      jobs: caches.jobs.list(namespace),
      wallMs: clock.wallMs(),
    };
    const lookAgain: number[] = [];
    const failures: unknown[] = [];
    // Nor must a guest that gets no id.
    if (cluster !== undefined) await giveIds(client, cluster, view).catch((error: unknown) => failures.push(error));
    for (const job of view.jobs) {
      try {
        const laterMs = await bring({ client, log, ...(events ? { events } : {}) }, job, view);
        if (laterMs !== undefined) lookAgain.push(laterMs);
      } catch (error) {
        // One job that cannot be written must not keep the others from running.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    return lookAgain.length > 0 ? { requeueAfterMs: Math.min(...lookAgain) } : undefined;
  };
  const queue = new WorkQueue({ name: "replication", clock, log, reconcile });
  await Promise.all(Object.values(caches).map((each) => each.start()));
  filled = true;
  for (const { metadata } of [...caches.jobs.list(), ...caches.guests.list()]) queue.add(metadata.namespace ?? "");
  return {
    stop: async () => {
      await queue.stop();
      await Promise.all(Object.values(caches).map((each) => each.stop()));
    },
  };
}

/** Brings one job to what it should be. @returns when to look again although nothing changes */
async function bring(
  { client, events, log }: Pick<ReplicationOptions, "client" | "events" | "log">,
  job: ReplicationJob,
  view: JobsView,
): Promise<number | undefined> {
  const { name, namespace, deletionTimestamp, finalizers } = job.metadata;
  if (deletionTimestamp === undefined) await claim(client, job);
  await writeStatus(client, job, view);
  if (deletionTimestamp === undefined || !finalizers?.includes(FINALIZER)) return undefined;
  const verdict = decideRelease(job, view.nodes, view.wallMs);
  if (!verdict.release) return verdict.lookAgainMs;
  await release(client, job);
  if (verdict.left === undefined) return undefined;
  const note = `copies of Guest "${job.spec.guest}" stay on ${job.status?.target ?? job.spec.target}: ${verdict.left}`;
  log.warn({ namespace, job: name }, note);
  events?.event({ regarding: job, type: "Warning", reason: "CopiesLeft", action: "Remove", note });
  return undefined;
}

/**
 * Ids that were handed out live in spec, so that the loss of every status gives none of them away twice. They are
 * decided on a cache that may be behind: a patch names the revision it was decided on, and a guest that is not in the
 * cache yet has no id yet either, unless its user chose one; such twins are shown, not repaired.
 *
 * That a vmid was used is written down before a guest has it; one that its guest then did not get is skipped for ever. So that this is
 * rare, the guests are asked for when there is one to give.
 */
async function giveIds(client: KubeApi, cluster: Cluster, { guests: cached, jobs }: JobsView): Promise<void> {
  const before = cluster.metadata.annotations?.[USED_VMIDS] ?? "";
  const { namespace = "" } = cluster.metadata;
  const isOneToGive = allocateVmids(cached, cluster.spec.guestIds, before).vmids.size > 0;
  const guests = isOneToGive ? (await client.list(GUESTS, { namespace })).items : cached;
  const { vmids, used } = allocateVmids(guests, cluster.spec.guestIds, before);
  const failures: unknown[] = [];
  if (used !== before) await patch(client, CLUSTERS, cluster, { metadata: { annotations: { [USED_VMIDS]: used } } });
  for (const guest of guests) {
    const vmid = vmids.get(guest.metadata.name);
    const isProvisioned =
      (guest.status?.volumes ?? []).length > 0 && guest.metadata.annotations?.[PROVISIONED] === undefined;
    if (vmid === undefined && !isProvisioned) continue;
    await patch(client, GUESTS, guest, {
      metadata: isProvisioned ? { annotations: { [PROVISIONED]: "true" } } : {},
      ...(vmid === undefined ? {} : { spec: { vmid } }),
    }).catch((error: unknown) => failures.push(error));
  }
  const numbers = allocateNumbers(jobs);
  for (const job of jobs) {
    const number = numbers.get(job.metadata.name);
    if (number !== undefined) await patch(client, REPLICATION_JOBS, job, { metadata: {}, spec: { number } });
  }
  if (failures.length > 0) throw failures[0];
}

async function claim(client: KubeApi, job: ReplicationJob): Promise<void> {
  const { finalizers = [] } = job.metadata;
  // One without its number is patched with that first, and comes back with a new revision.
  if (finalizers.includes(FINALIZER) || job.spec.number === undefined) return;
  await patch(client, REPLICATION_JOBS, job, { metadata: { finalizers: [...finalizers, FINALIZER] } });
}

async function release(client: KubeApi, job: ReplicationJob): Promise<void> {
  const finalizers = (job.metadata.finalizers ?? []).filter((one) => one !== FINALIZER);
  await patch(client, REPLICATION_JOBS, job, { metadata: { finalizers } });
}

/** Only if the object is still the one that was looked at. */
async function patch<T extends Cluster | Guest | ReplicationJob>(
  client: KubeApi,
  type: ResourceType<T>,
  { metadata: { name, namespace = "", resourceVersion } }: T,
  change: { metadata: object; spec?: object },
): Promise<void> {
  const body = { ...change, metadata: { ...change.metadata, resourceVersion } };
  await client.mergePatch(type, { namespace, name }, body, { fieldManager: FIELD_MANAGER });
}

async function writeStatus(client: KubeApi, job: ReplicationJob, view: JobsView): Promise<void> {
  const { status, state } = decideJob(job, view);
  const { name, namespace = "", uid = "" } = job.metadata;
  if (ownStatusDiffers(job.status, status, JOB_STATUS_KEYS, JOB_CONDITIONS)) {
    const options = { fieldManager: FIELD_MANAGER, force: true };
    await client.applyStatus(REPLICATION_JOBS, { metadata: { name, namespace, uid }, status }, options);
  }
  // Not by apply: what is applied once and left out later would be removed, and the agent goes on with this field.
  if (state !== undefined) {
    await client.mergePatch(
      REPLICATION_JOBS,
      { namespace, name },
      { metadata: { uid }, status: { state } },
      { fieldManager: FIELD_MANAGER, subresource: "status" },
    );
  }
}
