import type { ReplicationJob, TransferProgress } from "../crds/index.ts";
import { bytes, duration } from "./age.ts";
import type { ClusterView } from "./cluster-view.ts";
import { jobTable, type Look } from "./show-status.ts";

/** All jobs of the cluster. */
export function showJobs(view: ClusterView, look: Look): string {
  const jobs = jobTable(view, look);
  return jobs === ""
    ? `namespace ${view.namespace} has no ReplicationJob; apply one, named <guest>-<target>\n`
    : `${jobs}\n`;
}

/** The log of a job's last run, as far as it is kept, and what came of it. */
export function showLog(job: ReplicationJob): string {
  const lines = job.status?.log ?? [];
  const outcome = outcomeOf(job);
  if (lines.length === 0 && outcome === undefined) return `${job.metadata.name} has not run yet\n`;
  return `${[...lines, ...(outcome === undefined ? [] : [outcome])].join("\n")}\n`;
}

/** What came of the last run, in a line; undefined while it runs or before the first. */
export function outcomeOf({ metadata, status }: ReplicationJob): string | undefined {
  const run = status?.lastRun;
  if (run?.finishedAt === undefined || run.outcome === undefined) return undefined;
  const took = Date.parse(run.finishedAt) - Date.parse(run.startedAt ?? "");
  const time = Number.isNaN(took) ? "" : ` in ${duration(took)}`;
  if (run.outcome !== "Succeeded") {
    const why = [run.reason, run.message].filter((text) => text !== undefined).join(": ");
    return `${metadata.name}: ${run.outcome.toLowerCase()}${time}${why === "" ? "" : `: ${why}`}`;
  }
  const what = `${run.full === true ? "everything" : "what changed"}, ${bytes(run.bytes ?? 0)}`;
  return `${metadata.name}: succeeded${time} (${what})`;
}

/** How far a transfer is: `34 % (1.2 GiB of 3.5 GiB), 110 MiB/s, 20s left`. */
export function progressText(progress: TransferProgress): string {
  const { bytes: sent = 0, total = 0, bytesPerSecond, etaSeconds } = progress;
  const share = total > 0 ? `${Math.floor((sent / total) * 100)} % (${bytes(sent)} of ${bytes(total)})` : bytes(sent);
  const rate = bytesPerSecond === undefined ? "" : `, ${bytes(bytesPerSecond)}/s`;
  const left = etaSeconds === undefined ? "" : `, ${duration(etaSeconds * 1000)} left`;
  return `${share}${rate}${left}`;
}

/**
 * The lines of a log that were not there before. A log keeps only its last lines, so `before` may have lost its first
 * ones in `after`; a log that shares nothing with `before` is another run's and is new as a whole.
 */
export function newLines(before: readonly string[], after: readonly string[]): readonly string[] {
  for (let kept = Math.min(before.length, after.length); kept > 0; kept -= 1) {
    const tail = before.slice(before.length - kept);
    if (tail.every((line, index) => line === after[index])) return after.slice(kept);
  }
  return after;
}
