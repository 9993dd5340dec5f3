/** What becomes of each replication job, from the objects of its namespace. Pure. */
import type {
  Cluster,
  ClusterNode,
  Guest,
  ReplicationJob,
  ReplicationJobStatus,
  ReplicationState,
} from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import { byAge, conditionsOf, type Finding } from "../membership/index.ts";
import { jobScheduleProblem } from "./calendar.ts";
import { parseSchedule, type Schedule } from "./calendar-grammar.ts";
import { planJob } from "./planner.ts";

export interface JobsView {
  readonly cluster: Cluster | undefined;
  readonly nodes: readonly ClusterNode[];
  readonly guests: readonly Guest[];
  readonly jobs: readonly ReplicationJob[];
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
}

export interface JobDecision {
  /** The part of the status that the controller owns. */
  readonly status: ReplicationJobStatus;
  /** To be set where it differs; otherwise the state is the agent's. */
  readonly state?: ReplicationState;
}

/** The fields of ReplicationJob.status that the controller owns as a whole. */
export const JOB_STATUS_KEYS = [
  "observedGeneration",
  "jobId",
  "source",
  "target",
  "nextSync",
] as const satisfies (keyof ReplicationJobStatus)[];
export const JOB_CONDITIONS = ["Ready"];

export function decideJob(job: ReplicationJob, view: JobsView): JobDecision {
  const { metadata, spec, status } = job;
  const guest = view.guests.find((one) => one.metadata.name === spec.guest);
  const vmid = guest?.spec.vmid;
  const source = guest?.spec.nodeName;
  const target = source === undefined ? spec.target : targetOf(job, source, view.jobs);
  const verdict = judge(job, guest, source, target, view);
  const { generation } = metadata;
  const now = rfc3339(view.wallMs);
  const state = stateOf(job);
  return {
    status: {
      ...(generation === undefined ? {} : { observedGeneration: generation }),
      ...(vmid === undefined || spec.number === undefined ? {} : { jobId: `${vmid}-${spec.number}` }),
      ...(source === undefined ? {} : { source }),
      target: target ?? spec.target,
      ...(verdict.nextSync === undefined ? {} : { nextSync: rfc3339(verdict.nextSync * 1000) }),
      conditions: conditionsOf([verdict.ready], status?.conditions, generation, now),
    },
    ...(state === undefined ? {} : { state }),
  };
}

/**
 * Where the job copies to. When the guest has moved to the job's target, the job turns round: it copies to where the
 * guest came from, or to whichever node of this guest's jobs no other job copies to. Undefined: there is no such node.
 */
function targetOf(job: ReplicationJob, source: string, jobs: readonly ReplicationJob[]): string | undefined {
  if (job.spec.target !== source) return job.spec.target;
  const siblings = jobs
    .filter((other) => other.spec.guest === job.spec.guest && other.metadata.name !== job.metadata.name)
    .sort(byAge);
  const served = new Set([source, ...siblings.map(({ spec }) => spec.target)]);
  const known = [job, ...siblings].flatMap(({ status }) => [status?.source, status?.target]);
  return known.find((node) => node !== undefined && !served.has(node));
}

interface Verdict {
  /** Seconds since the epoch. */
  readonly nextSync?: number;
  readonly ready: Finding;
}

function judge(
  job: ReplicationJob,
  guest: Guest | undefined,
  source: string | undefined,
  target: string | undefined,
  view: JobsView,
): Verdict {
  const { spec, metadata } = job;
  const refuse = (reason: string, message: string): Verdict => ({
    ready: { type: "Ready", status: "False", reason, message },
  });
  const namespace = `namespace "${metadata.namespace}"`;
  if (metadata.deletionTimestamp !== undefined) return refuse("Removing", "the job is being removed");
  if (view.cluster === undefined) return refuse("ClusterNotFound", `no Cluster in ${namespace}; apply one first`);
  if (guest === undefined)
    return refuse("GuestNotFound", `no Guest "${spec.guest}" in ${namespace}; apply it first, or delete this job`);
  if (source === undefined)
    return refuse("GuestUnbound", `Guest "${spec.guest}" has no spec.nodeName; set it to the node it lives on`);
  const twin = view.guests.find(
    (other) => other !== guest && other.spec.vmid !== undefined && other.spec.vmid === guest.spec.vmid,
  );
  if (guest.spec.vmid === undefined)
    return refuse("NoVmid", `Guest "${spec.guest}" has no vmid yet; when this lasts, see Cluster.spec.guestIds`);
  if (twin) {
    const message = `Guests "${spec.guest}" and "${twin.metadata.name}" both have vmid ${guest.spec.vmid}, and volumes are named after it; delete one and apply it with another`;
    return refuse("VmidNotUnique", message);
  }
  if (spec.number === undefined) return refuse("Preparing", "the job is being given its number");
  if (target === undefined) {
    return refuse(
      "TargetIsSource",
      `Guest "${spec.guest}" lives on "${source}", and that is the target; make a job with another target`,
    );
  }
  if (!view.nodes.some((node) => node.metadata.name === target)) {
    return refuse(
      "TargetNotFound",
      `no ClusterNode "${target}" in ${namespace}; apply it first, or make a job with another target`,
    );
  }
  const storage = storageProblem(guest, target, view.cluster);
  if (storage) return refuse(storage.reason, storage.message);
  const schedule = readSchedule(job, view.wallMs);
  if ("problem" in schedule) return refuse("ScheduleRefused", schedule.problem);
  return scheduled(job, { vmid: guest.spec.vmid, source, target, schedule: schedule.schedule }, view, refuse);
}

interface Sound {
  readonly vmid: number;
  readonly source: string;
  readonly target: string;
  readonly schedule: Schedule;
}

/** The planner's word for a job that is sound. */
function scheduled(
  { metadata, spec, status }: ReplicationJob,
  { vmid, source, target, schedule }: Sound,
  view: JobsView,
  refuse: (reason: string, message: string) => Verdict,
): Verdict {
  const failCount = status?.failCount ?? 0;
  const plan = planJob(
    {
      id: status?.jobId ?? metadata.name,
      guest: { id: vmid, node: source },
      target,
      schedule,
      timeZone: spec.timeZone,
      suspended: spec.suspend,
      removing: false,
      lastTry: seconds(status?.lastTry),
      failCount,
    },
    (name) => isOnline(view, name),
  );
  const last = status?.lastRun;
  const why =
    failCount === 0
      ? ""
      : `${failCount} runs in a row failed, the last with ${last?.reason ?? "an error"}: ${last?.message ?? ""}`;
  if ("skip" in plan) {
    if (plan.skip === "TargetOffline")
      return refuse("TargetOffline", `${why}; it is tried again when ${target} is back`);
    return refuse("Suspended", "spec.suspend is set; runs only by spec.runNow");
  }
  // A new job is due at once, and that shows as the time of its making.
  const nextSync = Math.max(plan.runAt, seconds(metadata.creationTimestamp));
  if (!isOnline(view, source)) {
    return {
      nextSync,
      ...refuse("SourceOffline", `the agent of ${source}, which sends, is not there; look at ClusterNode "${source}"`),
    };
  }
  if (failCount > 0)
    return {
      nextSync,
      ...refuse(last?.reason ?? "RunFailed", `${why}; it is tried again at ${rfc3339(nextSync * 1000)}`),
    };
  const warning = schedule.warnings.length > 0 ? `; ${schedule.warnings.join("; ")}` : "";
  const turned = target === spec.target ? "" : `, turned round because the guest lives on ${source}`;
  return {
    nextSync,
    ready: {
      type: "Ready",
      status: "True",
      reason: "Scheduled",
      message: `from ${source} to ${target}${turned}${warning}`,
    },
  };
}

/** The target needs the storages of the volumes, by the same names. */
function storageProblem(
  guest: Guest,
  target: string,
  cluster: Cluster,
): { reason: string; message: string } | undefined {
  const guestName = guest.metadata.name;
  let replicated = 0;
  for (const volume of guest.spec.volumes ?? []) {
    const storage = cluster.spec.storages?.find(({ name }) => name === volume.storage);
    if (storage === undefined) {
      return {
        reason: "StorageNotFound",
        message: `volume "${volume.name}" of Guest "${guestName}" is on storage "${volume.storage}", which Cluster.spec.storages does not name; add it there`,
      };
    }
    if (!volume.replicate || storage.type === "Directory") continue;
    replicated += 1;
    if (storage.nodes !== undefined && !storage.nodes.includes(target)) {
      return {
        reason: "StorageMissing",
        message: `"${target}" does not have storage "${storage.name}", which volume "${volume.name}" of Guest "${guestName}" needs there; add it to the storage's nodes, or make a job with another target`,
      };
    }
  }
  if (replicated > 0) return undefined;
  return {
    reason: "NothingToReplicate",
    message: `Guest "${guestName}" has no volume that is replicated (type ZFS or Btrfs, replicate: true); delete this job, or add one`,
  };
}

function readSchedule({ spec }: ReplicationJob, wallMs: number): { schedule: Schedule } | { problem: string } {
  try {
    const schedule = parseSchedule(spec.schedule);
    const problem = jobScheduleProblem(schedule, Math.floor(wallMs / 1000), spec.timeZone);
    return problem === undefined ? { schedule } : { problem };
  } catch (error) {
    return { problem: classify(error).message };
  }
}

/** A node whose agent works; whether it is a member matters to guests, not to copies. */
function isOnline({ nodes }: JobsView, name: string): boolean {
  const node = nodes.find(({ metadata }) => metadata.name === name);
  return node?.status?.conditions?.some(({ type, status }) => type === "AgentReady" && status === "True") ?? false;
}

/** The state belongs to the agent that runs the job, except that only the controller sees a job suspended or new. */
function stateOf({ metadata, spec, status }: ReplicationJob): ReplicationState | undefined {
  const now = status?.state;
  if (metadata.deletionTimestamp !== undefined || now === "Running") return undefined;
  if (spec.suspend) return now === "Suspended" ? undefined : "Suspended";
  if (now !== undefined && now !== "Suspended") return undefined;
  return (status?.failCount ?? 0) > 0 ? "Failed" : "Idle";
}

function seconds(time: string | undefined): number {
  return time === undefined ? 0 : Math.floor(Date.parse(time) / 1000);
}

function rfc3339(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}
