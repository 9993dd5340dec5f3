import type { Clock } from "../clock.ts";
import { REPLICATION_JOBS, type ReplicationJob } from "../crds/index.ts";
import { QuorateError } from "../errors.ts";
import type { KubeApi } from "../kube/index.ts";
import { notFound } from "./failures.ts";
import type { Printer } from "./printer.ts";
import { newLines, outcomeOf, progressText } from "./show-replication.ts";

type Api = Pick<KubeApi, "get" | "mergePatch">;

/** @throws QuorateError ReplicationJobNotFound */
export async function getJob(client: Pick<KubeApi, "get">, namespace: string, name: string): Promise<ReplicationJob> {
  const job = await client.get(REPLICATION_JOBS, { namespace, name });
  if (job === undefined) throw notFound("ReplicationJob", "replicationjobs", name, namespace);
  return job;
}

/** Asks for a run now, whatever the schedule says. @returns the job as asked @throws QuorateError ReplicationJobNotFound */
export async function runJob(client: Api, namespace: string, name: string, clock: Clock): Promise<ReplicationJob> {
  await getJob(client, namespace, name);
  const runNow = new Date(clock.wallMs()).toISOString();
  return client.mergePatch(
    REPLICATION_JOBS,
    { namespace, name },
    { spec: { runNow } },
    { fieldManager: "kubectl-quorate" },
  );
}

const LOOK_EVERY_MS = 1_000;

/** Which run is followed: the one that `runJob` asked for, or the one under way, else the next. */
export type Followed = "Asked" | "PresentOrNext";

/**
 * Prints the log as it grows until the run has ended. The log of a run that was over before is printed first, unless another
 * was asked for.
 * @throws QuorateError RunFailed; ReplicationJobNotFound when it was deleted meanwhile
 */
export async function followJob(
  client: Pick<KubeApi, "get">,
  first: ReplicationJob,
  followed: Followed,
  printer: Printer,
  clock: Clock,
): Promise<void> {
  const { name, namespace = "" } = first.metadata;
  const startedBefore = followed === "PresentOrNext" && isRunning(first) ? undefined : first.status?.lastRun?.startedAt;
  let printed: readonly string[] = followed === "Asked" ? (first.status?.log ?? []) : [];
  for (let job = first; ; job = await getJob(client, namespace, name)) {
    const log = job.status?.log ?? [];
    for (const line of newLines(printed, log)) printer.line(line);
    printed = log;
    const run = job.status?.lastRun;
    const isIt = run?.startedAt !== startedBefore && (followed !== "Asked" || hasBegun(job, first));
    if (isIt && run?.finishedAt !== undefined && !isRunning(job)) return ended(job, printer);
    if (job.status?.progress !== undefined) printer.progress(progressText(job.status.progress));
    await clock.sleep(LOOK_EVERY_MS);
  }
}

function hasBegun(job: ReplicationJob, asked: ReplicationJob): boolean {
  return job.status?.observedRunNow === asked.spec.runNow;
}

function isRunning({ status }: ReplicationJob): boolean {
  return status?.state === "Running" || (status?.lastRun !== undefined && status.lastRun.finishedAt === undefined);
}

function ended(job: ReplicationJob, printer: Printer): void {
  const outcome = outcomeOf(job) ?? "";
  if (job.status?.lastRun?.outcome === "Succeeded") printer.line(outcome);
  else throw new QuorateError("user", "RunFailed", outcome);
}
