import type { Clock } from "../../clock.ts";
import { type Guest, REPLICATION_JOBS, type ReplicationJob } from "../../crds/index.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import {
  type Progress,
  type ReplicationParts,
  type ReplicationRequest,
  type ReplicationResult,
  type Retention,
  replicate,
} from "../replication/index.ts";
import { jobVmid, type StorageDriver, type VolumeRef } from "../storage/index.ts";
import type { TransferClient } from "../transfer/index.ts";
import {
  condition,
  correction,
  failed,
  nodesOf,
  type Owned,
  ownedBefore,
  rfc3339,
  running,
  succeeded,
  targetOf,
  tellsOfAnother,
  withLog,
} from "./job-status.ts";
import { COPIES_REMOVED, removeCopies } from "./removal.ts";

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
  readonly storage: (name: string) => StorageDriver | undefined;
  /** Everything a run needs for this target. @throws QuorateError when the target can't be asked now. */
  readonly parts: (
    target: string,
    guest: Guest,
  ) => Promise<
    Omit<ReplicationParts, "record" | "onProgress" | "clock" | "target"> & {
      readonly target: ReplicationParts["target"] & Pick<TransferClient, "destroyReplica">;
    }
  >;
  /** Held while a run or a move works on a guest's volumes; undefined when somebody else holds it. */
  readonly claim: (guest: string) => (() => void) | undefined;
}

const REMOVE_AGAIN_MS = 30_000;

/** Runs the replication jobs whose source this node is, when the controller's schedule or a person says so. */
export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #running = new Map<string, { readonly done: Promise<void>; readonly abort: AbortController }>();
  /** When to try again to remove the copies of a deleted job, on the clock's elapsedMs. */
  readonly #removeAt = new Map<string, number>();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Starts what is due. Called about once a second, and only while this host is quorate. */
  tick(signal: AbortSignal): void {
    for (const job of this.#options.jobs()) {
      const under = this.#running.get(job.metadata.name);
      if (job.metadata.deletionTimestamp !== undefined) {
        if (under === undefined) this.#remove(job);
        else under.abort.abort();
        continue;
      }
      if (under !== undefined) continue;
      if (this.#isOurs(job) && tellsOfAnother(job)) this.#begin(job, () => this.#correct(job));
      else if (this.#isDue(job)) this.#start(job, signal);
    }
  }

  #start(job: ReplicationJob, signal: AbortSignal): void {
    const guest = this.#options.guest(job.spec.guest);
    if (guest?.spec.nodeName !== this.#options.node) return;
    // Bound here and not started here yet: the newest data is where it ran last, and may be rolled back by what is sent from here.
    if (guest.status?.node !== this.#options.node) return;
    // It has no disks before its first start.
    if ((guest.status.volumes ?? []).length === 0) return;
    const release = this.#options.claim(job.spec.guest);
    if (release === undefined) return;
    this.#begin(job, (stop) => this.#run(job, guest, AbortSignal.any([signal, stop])).finally(release));
  }

  /**
   * Answers the deletion of a job: its copies go, unless they are to be kept. Only where the guest lives and ran last, so that
   * no copy goes that somebody could need; otherwise nothing is answered, and the copies stay.
   */
  #remove(job: ReplicationJob): void {
    const { clock, node, jobs } = this.#options;
    for (const name of this.#removeAt.keys())
      if (!jobs().some(({ metadata }) => metadata.name === name)) this.#removeAt.delete(name);
    const { status, spec, metadata } = job;
    if (status?.source !== node || status.jobId === undefined || spec.removalPolicy === "Keep") return;
    if (status.lastTry === undefined) return;
    const answer = status.conditions?.find(({ type }) => type === COPIES_REMOVED);
    if (answer?.status === "True" || clock.elapsedMs() < (this.#removeAt.get(metadata.name) ?? 0)) return;
    const guest = this.#options.guest(spec.guest);
    if (guest?.spec.nodeName !== node || guest.status?.node !== node) return;
    if (jobVmid(status.jobId) !== guest.spec.vmid) return;
    this.#begin(job, () => this.#removeCopies(job, guest, answer === undefined));
  }

  async #removeCopies(job: ReplicationJob, guest: Guest, unanswered: boolean): Promise<void> {
    const { clock, log, namespace, node, volumes, storage, parts, nodes, claim } = this.#options;
    const { name } = job.metadata;
    const answer = (holds: boolean, reason: string, message: string) => {
      const before = ownedBefore(job);
      const found = condition(job, COPIES_REMOVED, holds, reason, message, rfc3339(clock.wallMs()));
      return this.#write(job, { ...before, conditions: [...(before.conditions ?? []), found] });
    };
    if (unanswered) await answer(false, "Removing", "the copies are being removed");
    const release = claim(job.spec.guest);
    if (release === undefined) return;
    try {
      const left = await removeCopies({
        job: job.status?.jobId ?? "",
        source: node,
        targets: [...new Set([targetOf(job), ...(job.status?.copies ?? []).map((copy) => copy.node)])],
        mayHave: nodesOf(this.#options.jobs().filter((each) => each !== job && each.spec.guest === job.spec.guest)),
        nodes: nodes(),
        volumes: volumes(guest),
        storage,
        client: async (target) => (await parts(target, guest)).target,
      });
      log.info({ job: name, namespace, left }, "the copies of a deleted job are removed");
      await answer(true, "Removed", left.length === 0 ? "the copies are gone" : `left alone: ${left.join("; ")}`);
    } catch (error) {
      const { reason, message } = classify(error);
      log.warn({ job: name, namespace, reason }, `copies of a deleted job stay for now: ${message}`);
      this.#removeAt.set(name, clock.elapsedMs() + REMOVE_AGAIN_MS);
      await answer(false, reason, `${message}; it is tried again. To let them stay, set spec.removalPolicy to Keep`);
    } finally {
      release();
    }
  }

  /** Ends the guest's runs but those to the target, which bring what is wanted there. */
  breakOff(guest: string, target: string): void {
    for (const job of this.#options.jobs())
      if (job.spec.guest === guest && targetOf(job) !== target) this.#running.get(job.metadata.name)?.abort.abort();
  }

  /** One thing at a time for a job. */
  #begin(job: ReplicationJob, work: (stop: AbortSignal) => Promise<void>): void {
    const abort = new AbortController();
    const { name } = job.metadata;
    const done = work(abort.signal)
      .catch((error: unknown) =>
        this.#options.log.error({ job: name, err: classify(error) }, "the status of a replication job was not written"),
      )
      .finally(() => this.#running.delete(name));
    this.#running.set(name, { done, abort });
  }

  /** Resolves when no run is under way; to be called after the signal aborted. */
  async idle(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ done }) => done));
  }

  /**
   * One run outside of the schedule: the last difference before a guest leaves this node. It keeps as much as the job says; as
   * one of no job it leaves all alone that jobs made.
   */
  async runNow(
    request: Omit<ReplicationRequest, "source" | "guest" | "nodes" | "mayHave" | "jobs" | "retention">,
    guest: Guest,
    parts: Omit<ReplicationParts, "record">,
    signal: AbortSignal,
  ): Promise<void> {
    const job = this.#options
      .jobs()
      .find(({ spec, status }) => spec.guest === guest.metadata.name && status?.jobId === request.job);
    const { jobs, ...surroundings } = this.#surroundings(guest);
    const ofJob = job === undefined ? {} : { retention: retentionOf(job), ...(jobs === undefined ? {} : { jobs }) };
    const result = await replicate(
      { ...request, ...surroundings, ...ofJob },
      { ...parts, record: async () => undefined, clock: this.#options.clock },
      signal,
    );
    if (result.outcome === "Failed") throw new QuorateError(result.class, result.reason, result.message);
  }

  /** What a run has to know beside its job: for whom snapshots are kept. */
  #surroundings(guest: Guest): Pick<ReplicationRequest, "source" | "guest" | "nodes" | "mayHave" | "jobs"> {
    const jobs = this.#options.jobs().filter((job) => job.spec.guest === guest.metadata.name);
    const ids = jobs.flatMap((job) => job.status?.jobId ?? []);
    return {
      source: this.#options.node,
      ...(guest.metadata.uid === undefined ? {} : { guest: guest.metadata.uid }),
      nodes: this.#options.nodes(),
      mayHave: nodesOf(jobs),
      // A job that has no id yet may still be given one that was there before: then nothing is forgotten.
      ...(ids.length === jobs.length ? { jobs: ids } : {}),
    };
  }

  /** This node sends for it. */
  #isOurs({ status, metadata }: ReplicationJob): boolean {
    return (
      status?.source === this.#options.node && status.jobId !== undefined && metadata.deletionTimestamp === undefined
    );
  }

  #isDue(job: ReplicationJob): boolean {
    const { status, spec } = job;
    if (status === undefined || !this.#isOurs(job)) return false;
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
    const startedMs = clock.wallMs();
    const base = running(job, startedMs);
    await this.#write(job, base);
    let written = base;
    let result: ReplicationResult;
    let progress: Promise<void> | undefined;
    let isOver = false;
    /** After the last word of progress, and the end of such: a late one would take the outcome's place. */
    const writeOutcome = async (status: Owned) => {
      isOver = true;
      await progress;
      await this.#write(job, status);
    };
    try {
      const parts = await this.#options.parts(targetOf(job), guest);
      const request: ReplicationRequest = {
        job: job.status?.jobId ?? "",
        target: targetOf(job),
        volumes: this.#options.volumes(guest),
        ...(job.spec.rateMBps === undefined ? {} : { bytesPerSecond: job.spec.rateMBps * 1e6 }),
        retention: retentionOf(job),
        ...this.#surroundings(guest),
      };
      result = await replicate(
        request,
        {
          ...parts,
          clock,
          record: async (success) => {
            written = succeeded(job, base, { startedMs, finishedMs: clock.wallMs() }, success);
            await writeOutcome(written);
          },
          onProgress: ({ bytes, totalBytes, bytesPerSecond }: Progress) => {
            if (isOver || progress !== undefined) return;
            const total = totalBytes === undefined ? {} : { total: totalBytes };
            const status = { ...base, progress: { bytes, ...total, bytesPerSecond: Math.round(bytesPerSecond) } };
            progress = this.#write(job, status)
              .catch((error: unknown) =>
                log.debug({ job: name, reason: classify(error).reason }, "progress not written"),
              )
              .finally(() => {
                progress = undefined;
              });
          },
        },
        signal,
      );
    } catch (error) {
      const { reason, class: errorClass, message } = classify(error);
      const line = `${new Date(clock.wallMs()).toISOString()} failed: ${reason}: ${message}`;
      result = { outcome: "Failed", reason, class: errorClass, message, log: [line] };
    }
    if (result.outcome === "Succeeded") {
      log.info({ job: name, namespace, bytes: result.bytes, snapshot: result.snapshot }, "replicated");
    } else {
      log.warn({ job: name, namespace, reason: result.reason }, result.message);
      written = failed(job, base, { startedMs, finishedMs: clock.wallMs() }, result);
    }
    await writeOutcome(withLog(written, job, result.log));
  }

  async #correct(job: ReplicationJob): Promise<void> {
    const { client, node, namespace } = this.#options;
    const { name, uid, resourceVersion } = job.metadata;
    await client.mergePatch(
      REPLICATION_JOBS,
      { namespace, name },
      // Decided on this revision: on a later one, the job may have turned again.
      { metadata: { uid, resourceVersion }, status: correction(job) },
      { fieldManager: `quorate-agent-${node}`, subresource: "status" },
    );
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

function retentionOf({ spec: { retention } }: ReplicationJob): Retention {
  return { source: Math.max(1, retention.source.last), target: Math.max(1, retention.target.last) };
}
