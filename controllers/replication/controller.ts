import { type Clock, systemClock } from "../../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  type ClusterNode,
  GUESTS,
  type Guest,
  REPLICATION_JOBS,
  type ReplicationJob,
  type ReplicationJobStatus,
} from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import {
  type EventRecorder,
  type KubeClient,
  type KubeObject,
  parseKey,
  type ResourceType,
  WatchCache,
  WorkQueue,
} from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { jobScheduleProblem } from "./calendar.ts";
import { parseSchedule, type Schedule } from "./calendar-grammar.ts";
import { lowestFree, type Plan, planJob } from "./planner.ts";

export interface ReplicationOptions {
  readonly client: KubeClient;
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
  const { client } = options;
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
  const queue = new WorkQueue({
    name: "replication",
    clock,
    log,
    reconcile: async (namespace) => {
      const cluster = caches.clusters.list(namespace)[0];
      if (cluster === undefined) return;
      const guests = caches.guests.list(namespace);
      const jobs = caches.jobs.list(namespace);
      const { lower, upper } = cluster.spec.guestIds;
      await allocateIds(client, namespace, guests, jobs, lower, upper);
      const nodes = new Map(caches.nodes.list(namespace).map((node) => [node.metadata.name, node]));
      for (const job of jobs) await reconcileJob(client, job, guests, nodes, clock.wallMs());
    },
  });
  await Promise.all(Object.values(caches).map((each) => each.start()));
  filled = true;
  for (const cluster of caches.clusters.list()) wake(`${cluster.metadata.namespace ?? ""}/${cluster.metadata.name}`);
  return {
    stop: async () => {
      await Promise.all(Object.values(caches).map((each) => each.stop()));
      await queue.stop();
    },
  };
}

/** Ids that were handed out live in spec, so that the loss of every status gives none of them away twice. */
async function allocateIds(
  client: KubeClient,
  namespace: string,
  guests: readonly Guest[],
  jobs: readonly ReplicationJob[],
  lower: number,
  upper: number,
): Promise<void> {
  const vmids = new Set(guests.flatMap((guest) => guest.spec.vmid ?? []));
  for (const guest of byAge(guests)) {
    const { name, resourceVersion } = guest.metadata;
    const provisioned =
      (guest.status?.volumes ?? []).length > 0 && guest.metadata.annotations?.[PROVISIONED] === undefined;
    if (guest.spec.vmid !== undefined && !provisioned) continue;
    const vmid = guest.spec.vmid ?? lowestFree(vmids, lower, upper);
    if (vmid === undefined) continue;
    vmids.add(vmid);
    const metadata = { resourceVersion, ...(provisioned ? { annotations: { [PROVISIONED]: "true" } } : {}) };
    await client.mergePatch(
      GUESTS,
      { namespace, name },
      { metadata, ...(guest.spec.vmid === undefined ? { spec: { vmid } } : {}) },
      { fieldManager: FIELD_MANAGER },
    );
  }
  for (const job of byAge(jobs)) {
    if (job.spec.number !== undefined) continue;
    const taken = new Set(
      jobs.filter((other) => other.spec.guest === job.spec.guest).flatMap((other) => other.spec.number ?? []),
    );
    const number = lowestFree(taken, 0);
    if (number === undefined) continue;
    const { name, resourceVersion } = job.metadata;
    await client.mergePatch(
      REPLICATION_JOBS,
      { namespace, name },
      { metadata: { resourceVersion }, spec: { number } },
      { fieldManager: FIELD_MANAGER },
    );
    // The others of this guest are seen with their numbers in the next round.
    return;
  }
}

async function reconcileJob(
  client: KubeClient,
  job: ReplicationJob,
  guests: readonly Guest[],
  nodes: ReadonlyMap<string, ClusterNode>,
  wallMs: number,
): Promise<void> {
  const wanted = jobStatus(job, guests, nodes, wallMs);
  if (JSON.stringify(owned(job.status)) === JSON.stringify(owned(wanted))) return;
  const { name, namespace, uid } = job.metadata;
  await client.applyStatus(
    REPLICATION_JOBS,
    {
      metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...(uid === undefined ? {} : { uid }) },
      status: wanted,
    },
    { fieldManager: FIELD_MANAGER, force: true },
  );
}

/** The part that this controller writes, in a form that can be compared. */
function owned(status: ReplicationJobStatus | undefined): unknown {
  const ready = status?.conditions?.find((each) => each.type === "Ready");
  return [
    status?.jobId,
    status?.source,
    status?.target,
    status?.nextSync,
    ready?.status,
    ready?.reason,
    ready?.message,
  ];
}

/** What the job is and when it runs next, or in the condition Ready why it does not. */
export function jobStatus(
  job: ReplicationJob,
  guests: readonly Guest[],
  nodes: ReadonlyMap<string, ClusterNode>,
  wallMs: number,
): ReplicationJobStatus {
  const guest = guests.find((each) => each.metadata.name === job.spec.guest);
  const { vmid, nodeName } = guest?.spec ?? {};
  const base: ReplicationJobStatus = {
    observedGeneration: job.metadata.generation ?? 0,
    ...(vmid === undefined || job.spec.number === undefined ? {} : { jobId: `${vmid}-${job.spec.number}` }),
    ...(nodeName === undefined ? {} : { source: nodeName }),
    target: job.spec.target,
  };
  const ready = (holds: boolean, reason: string, message: string): NonNullable<ReplicationJobStatus["conditions"]> => {
    const status = holds ? ("True" as const) : ("False" as const);
    const before = job.status?.conditions?.find((each) => each.type === "Ready");
    const lastTransitionTime = before?.status === status ? before.lastTransitionTime : rfc3339(wallMs);
    return [
      { type: "Ready", status, observedGeneration: job.metadata.generation ?? 0, lastTransitionTime, reason, message },
    ];
  };
  const { guest: guestName, target } = job.spec;
  if (guest === undefined)
    return {
      ...base,
      conditions: ready(
        false,
        "GuestNotFound",
        `no Guest "${guestName}" in this namespace; apply it, or delete this ReplicationJob`,
      ),
    };
  if (!nodes.has(target))
    return {
      ...base,
      conditions: ready(
        false,
        "TargetNotFound",
        `no ClusterNode "${target}" in this namespace; apply it, or correct spec.target`,
      ),
    };
  if (nodeName === undefined)
    return { ...base, conditions: ready(false, "GuestNotBound", `Guest "${guestName}" has no spec.nodeName yet`) };
  const schedule = readSchedule(job, wallMs);
  if (typeof schedule === "string")
    return { ...base, conditions: ready(false, "InvalidSchedule", `spec.schedule: ${schedule}`) };
  const plan = planOf(job, schedule, vmid ?? 0, nodeName, nodes);
  if ("skip" in plan)
    return { ...base, conditions: ready(plan.skip === "Suspended", plan.skip, whySkipped(plan.skip, job, nodeName)) };
  const failing = (job.status?.failCount ?? 0) > 0;
  const message = failing
    ? `the last ${job.status?.failCount} runs failed (${job.status?.lastRun?.reason ?? "unknown"}): ${job.status?.lastRun?.message ?? ""}`
    : `runs from ${nodeName} to ${target}`;
  return {
    ...base,
    nextSync: rfc3339(plan.runAt * 1000),
    conditions: ready(!failing, failing ? "RunFailed" : "Scheduled", message.slice(0, 1000)),
  };
}

function planOf(
  job: ReplicationJob,
  schedule: Schedule,
  vmid: number,
  node: string,
  nodes: ReadonlyMap<string, ClusterNode>,
): Plan {
  const seconds = (time: string | undefined) => (time === undefined ? 0 : Math.floor(Date.parse(time) / 1000));
  return planJob(
    {
      id: job.metadata.name,
      guest: { id: vmid, node },
      target: job.spec.target,
      schedule,
      timeZone: job.spec.timeZone,
      suspended: job.spec.suspend,
      removing: false,
      // A job that never ran counts from its making, so that it does not run at once for a time long past.
      lastTry: seconds(job.status?.lastTry ?? job.metadata.creationTimestamp),
      failCount: job.status?.failCount ?? 0,
    },
    (name) => nodes.get(name)?.status?.state === "Online",
  );
}

function readSchedule(job: ReplicationJob, wallMs: number): Schedule | string {
  try {
    const schedule = parseSchedule(job.spec.schedule);
    return jobScheduleProblem(schedule, Math.floor(wallMs / 1000), job.spec.timeZone) ?? schedule;
  } catch (error) {
    return classify(error).message;
  }
}

function whySkipped(skip: Extract<Plan, { skip: string }>["skip"], job: ReplicationJob, node: string): string {
  switch (skip) {
    case "TargetIsSource":
      return `Guest "${job.spec.guest}" runs on ${node} itself; the job goes on when the guest is elsewhere`;
    case "TargetOffline":
      return `the last run failed and ${job.spec.target} is not online; it is tried again when it is`;
    case "Suspended":
      return "spec.suspend is set";
    case "NeverFires":
      return `the schedule "${job.spec.schedule}" never fires again`;
    case "GuestNotFound":
      return `no Guest "${job.spec.guest}" in this namespace`;
  }
}

function byAge<T extends KubeObject>(objects: readonly T[]): T[] {
  return [...objects].sort(
    (a, b) =>
      (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? "") ||
      a.metadata.name.localeCompare(b.metadata.name),
  );
}

function rfc3339(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}
