/**
 * When each replication job runs next, and why one does not. Pure: all times are seconds since the epoch, given by the
 * caller. Wall-clock time decides here because schedules are about wall clocks; nothing that guards data depends on it.
 */
import { nextRun } from "./calendar.ts";
import type { Schedule } from "./calendar-grammar.ts";

export interface Job {
  id: string;
  /** Undefined: no such guest. */
  guest: { id: number; node: string } | undefined;
  target: string;
  schedule: Schedule;
  timeZone: string;
  suspended: boolean;
  /** The job is being removed: it runs once more at once, wherever its target is. */
  removing: boolean;
  /** Start of the last run, good or bad; 0 for none. */
  lastTry: number;
  /** Failed runs since the last good one. */
  failCount: number;
}

export type SkipReason = "GuestNotFound" | "TargetIsSource" | "Suspended" | "TargetOffline" | "NeverFires";

export type Plan = { runAt: number } | { skip: SkipReason };

/** A removal runs before everything that waits for a time. */
const AT_ONCE = 1;

/**
 * When the job runs next. Missed runs are one: the schedule counts from the last try. After a failure the schedule is
 * suspended; the job is tried again after 5, 10, 15 and then every 30 minutes, as long as the target is online.
 */
export function planJob(job: Job, online: (node: string) => boolean): Plan {
  if (job.guest === undefined) return { skip: "GuestNotFound" };
  if (job.removing) return { runAt: AT_ONCE };
  if (job.suspended) return { skip: "Suspended" };
  if (job.target === job.guest.node) return { skip: "TargetIsSource" };
  if (job.failCount > 0) {
    return online(job.target) ? { runAt: job.lastTry + retryDelaySeconds(job.failCount) } : { skip: "TargetOffline" };
  }
  const runAt = nextRun(job.schedule, job.lastTry, job.timeZone);
  return runAt === undefined ? { skip: "NeverFires" } : { runAt };
}

export function retryDelaySeconds(failCount: number): number {
  return failCount <= 3 ? failCount * 300 : 1800;
}

/**
 * The jobs of guests on `node` that are due at `now`, in the order to run them: those not looked at for longest first,
 * then by due time, guest and job.
 * @param lastIteration when a job was last started by this node, in any unit that grows; 0 for never.
 */
export function dueJobs<J extends Job>(
  jobs: readonly J[],
  node: string,
  now: number,
  online: (node: string) => boolean,
  lastIteration: (job: J) => number,
): J[] {
  const due: { job: J; runAt: number; guest: number }[] = [];
  for (const job of jobs) {
    const plan = planJob(job, online);
    if ("runAt" in plan && plan.runAt <= now && job.guest?.node === node)
      due.push({ job, runAt: plan.runAt, guest: job.guest.id });
  }
  due.sort(
    (a, b) =>
      lastIteration(a.job) - lastIteration(b.job) ||
      a.runAt - b.runAt ||
      a.guest - b.guest ||
      (a.job.id < b.job.id ? -1 : Number(a.job.id > b.job.id)),
  );
  return due.map(({ job }) => job);
}
