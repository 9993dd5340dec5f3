import type { ReplicationJob, ReplicationJobStatus } from "../../crds/index.ts";
import type { ReplicationSuccess } from "../replication/index.ts";

/** The part of a job's status that the source's agent owns. Written whole at each change. */
export type Owned = Pick<
  ReplicationJobStatus,
  | "state"
  | "observedRunNow"
  | "lastTry"
  | "lastSync"
  | "ageOfDataSeconds"
  | "durationSeconds"
  | "failCount"
  | "lastRun"
  | "snapshot"
  | "copies"
  | "baseGuid"
  | "progress"
  | "log"
  | "conditions"
>;

const LOG_LINES = 50;
const LOG_LINE = 500;
const MESSAGE = 1000;
/** The condition types that runs write. */
const RUN_CONDITIONS = ["Failed", "Fresh"];

/** Where a run goes: a job turns round when its guest runs on the node that `spec.target` names. */
export function targetOf(job: ReplicationJob): string {
  return job.status?.target ?? job.spec.target;
}

/** The nodes that may have a copy which one of these jobs brought there, or will. */
export function nodesOf(jobs: readonly ReplicationJob[]): string[] {
  return [
    ...new Set(
      jobs.flatMap((job) => [job.spec.target, targetOf(job), ...(job.status?.copies ?? []).map(({ node }) => node)]),
    ),
  ];
}

/**
 * What earlier runs wrote stays until the next one ends; but what is said of the target's copy (`lastSync` and its like) is said
 * of the present target, not of another node that the job copied to before it turned round.
 */
export function ownedBefore(job: ReplicationJob): Owned {
  const { status } = job;
  if (status === undefined) return {};
  const { state, observedRunNow, lastTry, durationSeconds, failCount, lastRun, copies, log } = status;
  const kept = { state, observedRunNow, lastTry, durationSeconds, failCount, lastRun, copies, log };
  const ours = status.conditions?.filter(({ type }) => RUN_CONDITIONS.includes(type)) ?? [];
  return {
    ...defined(kept),
    ...aboutTarget(job),
    ...(ours.length === 0 ? {} : { conditions: ours }),
  };
}

/** Whether the status tells of another node's copy as if it were the target's. */
export function tellsOfAnother(job: ReplicationJob): boolean {
  const { status } = job;
  if (status?.lastSync === undefined) return false;
  const { lastSync, snapshot } = aboutTarget(job);
  return status.lastSync !== lastSync || status.snapshot?.name !== snapshot?.name;
}

/**
 * What puts that right, as a merge patch: fields that another node's agent applied stay when this one's leaves them out, and only a
 * patch takes them away from all.
 */
export function correction(job: ReplicationJob): Record<string, unknown> {
  const { lastSync = null, snapshot } = aboutTarget(job);
  return {
    lastSync,
    snapshot: snapshot === undefined ? null : { guid: null, ...snapshot },
    ageOfDataSeconds: null,
    baseGuid: null,
    progress: null,
  };
}

function aboutTarget(job: ReplicationJob): Owned {
  const { status } = job;
  const target = targetOf(job);
  const copy = status?.copies?.find(({ node }) => node === target);
  if (copy === undefined) return {};
  if (copy.snapshot !== status?.snapshot?.name)
    return { lastSync: copy.time, snapshot: { name: copy.snapshot, time: copy.time } };
  const { lastSync, ageOfDataSeconds, snapshot, baseGuid } = status;
  return defined({ lastSync, ageOfDataSeconds, snapshot, baseGuid });
}

/** A run began at this time. */
export function running(job: ReplicationJob, startedMs: number): Owned {
  return {
    ...ownedBefore(job),
    state: "Running",
    lastTry: rfc3339(startedMs),
    ...(job.spec.runNow === undefined ? {} : { observedRunNow: job.spec.runNow }),
  };
}

/** The run is through: what the target has is of `createdAt`. */
export function succeeded(
  job: ReplicationJob,
  run: Owned,
  times: { readonly startedMs: number; readonly finishedMs: number },
  success: ReplicationSuccess,
): Owned {
  const target = targetOf(job);
  const [first] = success.volumes;
  const dataMs = success.createdAt * 1000;
  const finished = rfc3339(times.finishedMs);
  // The source's own disk is what the guest runs on: what was brought there once is no copy any more.
  const others = (job.status?.copies ?? []).filter(({ node }) => node !== target && node !== job.status?.source);
  return {
    ...withoutProgress(run),
    state: "Idle",
    lastSync: rfc3339(dataMs),
    ageOfDataSeconds: Math.max(0, Math.round((times.finishedMs - dataMs) / 1000)),
    durationSeconds: Math.round(success.durationSeconds),
    failCount: 0,
    snapshot: { name: success.snapshot, guid: first?.guid ?? "", time: rfc3339(dataMs) },
    copies: [...others, { node: target, snapshot: success.snapshot, time: rfc3339(dataMs) }],
    ...(first === undefined ? {} : { baseGuid: first.guid }),
    lastRun: {
      startedAt: rfc3339(times.startedMs),
      finishedAt: finished,
      outcome: "Succeeded",
      bytes: success.bytes,
      full: success.volumes.some(({ kind }) => kind === "full"),
    },
    conditions: conditions(job, true, "Synced", `copied to ${target}`, finished),
  };
}

/** The run came to nothing. */
export function failed(
  job: ReplicationJob,
  run: Owned,
  times: { readonly startedMs: number; readonly finishedMs: number },
  failure: { readonly reason: string; readonly message: string },
): Owned {
  const finished = rfc3339(times.finishedMs);
  const message = failure.message.slice(0, MESSAGE);
  return {
    ...withoutProgress(run),
    state: "Failed",
    failCount: (job.status?.failCount ?? 0) + 1,
    lastRun: {
      startedAt: rfc3339(times.startedMs),
      finishedAt: finished,
      outcome: "Failed",
      reason: failure.reason,
      message,
    },
    conditions: conditions(job, false, failure.reason, message, finished),
  };
}

/** The run's log comes after those of earlier runs; the oldest lines go. */
export function withLog(owned: Owned, job: ReplicationJob, lines: readonly string[]): Owned {
  const log = [...(job.status?.log ?? []), ...lines.map((line) => line.slice(0, LOG_LINE))];
  return { ...owned, log: log.slice(-LOG_LINES) };
}

/** A condition of this job, with the time of its last change. */
export function condition(
  job: ReplicationJob,
  type: string,
  holds: boolean,
  reason: string,
  message: string,
  wall: string,
): NonNullable<Owned["conditions"]>[number] {
  const status = holds ? ("True" as const) : ("False" as const);
  const before = job.status?.conditions?.find((each) => each.type === type);
  return {
    type,
    status,
    observedGeneration: job.metadata.generation ?? 0,
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : wall,
    reason,
    message: message.slice(0, MESSAGE),
  };
}

/** RFC 3339 in whole seconds, as the API's time fields want it. */
export function rfc3339(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}

function conditions(
  job: ReplicationJob,
  good: boolean,
  reason: string,
  message: string,
  wall: string,
): NonNullable<Owned["conditions"]> {
  return [condition(job, "Failed", !good, reason, message, wall), condition(job, "Fresh", good, reason, message, wall)];
}

function withoutProgress({ progress: _progress, ...rest }: Owned): Owned {
  return rest;
}

function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
