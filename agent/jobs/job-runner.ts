import type { Clock } from "../../clock.ts";
import { type Guest, REPLICATION_JOBS, type ReplicationJob, type ReplicationJobStatus } from "../../crds/index.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import {
  type Progress,
  type ReplicationParts,
  type ReplicationRequest,
  type ReplicationResult,
  replicate,
} from "../replication/index.ts";
import type { VolumeRef } from "../storage/index.ts";

export interface JobRunnerOptions {
  readonly node: string;
  readonly namespace: string;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly jobs: () => readonly ReplicationJob[];
  readonly guest: (name: string) => Guest | undefined;
  /** The names of the cluster's nodes. */
  readonly nodes: () => readonly string[];
  /** The volumes of a guest that are to be replicated: on storages that are not shared. */
  readonly volumes: (guest: Guest) => readonly VolumeRef[];
  /** Everything a run needs for this target. @throws QuorateError when the target can't be asked now. */
  readonly parts: (
    job: ReplicationJob,
    guest: Guest,
  ) => Promise<Omit<ReplicationParts, "record" | "onProgress" | "clock">>;
  /** Held while a run or a move works on a guest's volumes; undefined when somebody else holds it. */
  readonly claim: (guest: string) => (() => void) | undefined;
}

/** The part of a job's status that the source's agent owns. Written whole at each change. */
type Owned = Pick<
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
  | "baseGuid"
  | "progress"
  | "log"
  | "conditions"
>;

/** Runs the replication jobs whose source this node is, when the controller's schedule or a person says so. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Starts what is due. Called about once a second, and only while this host is quorate. */
  tick(signal: AbortSignal): void {
    for (const job of this.#options.jobs()) {
      const name = job.metadata.name;
      if (this.#running.has(name) || !this.#isDue(job)) continue;
      const guest = this.#options.guest(job.spec.guest);
      if (guest?.spec.nodeName !== this.#options.node) continue;
      // Bound here and not started here yet: the newest data is where it ran last, and may be rolled back by what is sent from here.
      if (guest.status?.node !== this.#options.node) continue;
      // It has no disks before its first start.
      if ((guest.status.volumes ?? []).length === 0) continue;
      const release = this.#options.claim(job.spec.guest);
      if (release === undefined) continue;
      const run = this.#run(job, guest, signal)
        .catch((error: unknown) =>
          this.#options.log.error({ job: name, err: classify(error) }, "a replication run could not be recorded"),
        )
        .finally(() => {
          release();
          this.#running.delete(name);
        });
      this.#running.set(name, run);
    }
  }

  /** Resolves when no run is under way; to be called after the signal aborted. */
  async idle(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  /** One run outside of the schedule: the last difference before a guest leaves this node. */
  async runNow(
    request: Omit<ReplicationRequest, "source" | "nodes" | "jobs">,
    guest: Guest,
    parts: Omit<ReplicationParts, "record">,
    signal: AbortSignal,
  ): Promise<void> {
    const result = await replicate(
      { ...request, ...this.#surroundings(guest) },
      { ...parts, record: async () => undefined, clock: this.#options.clock },
      signal,
    );
    if (result.outcome === "Failed") throw new QuorateError(result.class, result.reason, result.message);
  }

  /** What a run has to know beside its job: for whom snapshots are kept. */
  #surroundings(guest: Guest): Pick<ReplicationRequest, "source" | "nodes" | "jobs"> {
    const jobs = this.#options.jobs().filter((job) => job.spec.guest === guest.metadata.name);
    const ids = jobs.flatMap((job) => job.status?.jobId ?? []);
    return {
      source: this.#options.node,
      nodes: this.#options.nodes(),
      // A job that has no id yet may still be given one that was there before: then nothing is forgotten.
      ...(ids.length === jobs.length ? { jobs: ids } : {}),
    };
  }

  #isDue(job: ReplicationJob): boolean {
    const { status, spec } = job;
    if (
      status?.source !== this.#options.node ||
      status.jobId === undefined ||
      job.metadata.deletionTimestamp !== undefined
    )
      return false;
    if (targetOf(job) === this.#options.node) return false;
    if (spec.runNow !== undefined && spec.runNow !== status.observedRunNow) return true;
    if (spec.suspend || status.nextSync === undefined) return false;
    const next = Date.parse(status.nextSync);
    // A next time that was set before the last try is the one that try was for.
    return next <= this.#options.clock.wallMs() && (status.lastTry === undefined || next > Date.parse(status.lastTry));
  }

  async #run(job: ReplicationJob, guest: Guest, signal: AbortSignal): Promise<void> {
    const { clock, log, namespace } = this.#options;
    const name = job.metadata.name;
    const jobId = job.status?.jobId ?? "";
    const started = clock.wallMs();
    const base: Owned = {
      ...ownedBefore(job),
      state: "Running",
      lastTry: time(started),
      ...(job.spec.runNow === undefined ? {} : { observedRunNow: job.spec.runNow }),
    };
    await this.#write(job, base);
    let result: ReplicationResult;
    try {
      const parts = await this.#options.parts(job, guest);
      const { last: source } = job.spec.retention.source;
      const { last: target } = job.spec.retention.target;
      const request: ReplicationRequest = {
        job: jobId,
        target: targetOf(job),
        volumes: this.#options.volumes(guest),
        ...(job.spec.rateMBps === undefined ? {} : { bytesPerSecond: job.spec.rateMBps * 1e6 }),
        retention: { source: Math.max(1, source), target: Math.max(1, target) },
        ...this.#surroundings(guest),
      };
      result = await replicate(
        request,
        {
          ...parts,
          clock,
          record: async (success) => {
            const finished = clock.wallMs();
            await this.#write(job, {
              ...withoutProgress(base),
              state: "Idle",
              lastSync: time(started),
              ageOfDataSeconds: Math.max(0, Math.round((finished - started) / 1000)),
              durationSeconds: Math.round(success.durationSeconds),
              failCount: 0,
              snapshot: {
                name: success.snapshot,
                guid: success.volumes[0]?.guid ?? "",
                time: time(success.createdAt * 1000),
              },
              ...(success.volumes[0] === undefined ? {} : { baseGuid: success.volumes[0].guid }),
              lastRun: {
                startedAt: time(started),
                finishedAt: time(finished),
                outcome: "Succeeded",
                bytes: success.bytes,
                full: success.volumes.some((volume) => volume.kind === "full"),
              },
              conditions: conditions(job, true, "Synced", `copied to ${targetOf(job)}`, time(finished)),
            });
          },
          onProgress: (progress: Progress) => {
            void this.#write(job, {
              ...base,
              progress: {
                bytes: progress.bytes,
                ...(progress.totalBytes === undefined ? {} : { total: progress.totalBytes }),
                bytesPerSecond: Math.round(progress.bytesPerSecond),
              },
            }).catch((error: unknown) =>
              log.debug({ job: name, reason: classify(error).reason }, "progress not written"),
            );
          },
        },
        signal,
      );
    } catch (error) {
      const failure = classify(error);
      result = {
        outcome: "Failed",
        reason: failure.reason,
        class: failure.class,
        message: failure.message,
        log: [`failed: ${failure.reason}: ${failure.message}`],
      };
    }
    if (result.outcome === "Succeeded") {
      log.info({ job: name, namespace, bytes: result.bytes, snapshot: result.snapshot }, "replicated");
      return;
    }
    log.warn({ job: name, namespace, reason: result.reason }, result.message);
    const finished = time(clock.wallMs());
    await this.#write(job, {
      ...withoutProgress(base),
      state: "Failed",
      failCount: (job.status?.failCount ?? 0) + 1,
      lastRun: {
        startedAt: time(started),
        finishedAt: finished,
        outcome: "Failed",
        reason: result.reason,
        message: result.message.slice(0, 1000),
      },
      log: result.log.slice(-20).map((line) => line.slice(0, 500)),
      conditions: conditions(job, false, result.reason, result.message.slice(0, 1000), finished),
    });
  }

  async #write(job: ReplicationJob, status: Owned): Promise<void> {
    const { client, node, namespace } = this.#options;
    const metadata = {
      name: job.metadata.name,
      namespace,
      ...(job.metadata.uid === undefined ? {} : { uid: job.metadata.uid }),
    };
    await client.applyStatus(
      REPLICATION_JOBS,
      { metadata, status },
      { fieldManager: `quorate-agent-${node}`, force: true },
    );
  }
}

/** Where a run goes: a job turns round when its guest runs on the node that `spec.target` names. */
export function targetOf(job: ReplicationJob): string {
  return job.status?.target ?? job.spec.target;
}

/** What earlier runs wrote stays until this one ends. */
function ownedBefore(job: ReplicationJob): Owned {
  const { status } = job;
  if (status === undefined) return {};
  const { observedRunNow, lastSync, ageOfDataSeconds, durationSeconds, failCount, lastRun, snapshot, baseGuid, log } =
    status;
  const kept = {
    observedRunNow,
    lastSync,
    ageOfDataSeconds,
    durationSeconds,
    failCount,
    lastRun,
    snapshot,
    baseGuid,
    log,
  };
  const ours =
    status.conditions?.filter((condition) => condition.type === "Failed" || condition.type === "Fresh") ?? [];
  return {
    ...Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined)),
    ...(ours.length === 0 ? {} : { conditions: ours }),
  };
}

function withoutProgress(owned: Owned): Owned {
  const { progress: _progress, ...rest } = owned;
  return rest;
}

function conditions(
  job: ReplicationJob,
  good: boolean,
  reason: string,
  message: string,
  wall: string,
): NonNullable<Owned["conditions"]> {
  const make = (type: string, holds: boolean) => {
    const status = holds ? ("True" as const) : ("False" as const);
    const before = job.status?.conditions?.find((condition) => condition.type === type);
    return {
      type,
      status,
      observedGeneration: job.metadata.generation ?? 0,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : wall,
      reason,
      message,
    };
  };
  return [make("Failed", !good), make("Fresh", good)];
}

/** RFC 3339 in whole seconds, as the API's time fields want it. */
function time(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}
