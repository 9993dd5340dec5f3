import { type Clock, systemClock } from "../../clock.ts";
import { classify, type ErrorClass, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import {
  ANY_NODE,
  type CopyMark,
  type JobId,
  type ReplicationStorage,
  type Snapshot,
  type StorageDriver,
  snapshotJob,
  snapshotName,
  type VolumeRef,
  type VolumeState,
  volumeName,
} from "../storage/index.ts";
import type { TransferClient } from "../transfer/index.ts";
import { leftovers, type Others, planCleanup, planVolume, type Retention, type VolumePlan } from "./planner.ts";
import { type Progress, ProgressMeter } from "./progress.ts";
import { RunLog } from "./run-log.ts";
import { Source } from "./source.ts";

export interface ReplicationRequest {
  readonly job: JobId;
  /** This node. */
  readonly source: string;
  readonly target: string;
  readonly volumes: readonly VolumeRef[];
  /** The uid of the Guest object whose volumes these are: the copies say it. */
  readonly guest?: string;
  /** Bytes in a second, for the whole run; absent: as fast as it goes. */
  readonly bytesPerSecond?: number;
  readonly retention?: Retention;
  /** The nodes of the cluster: nothing is kept for one that left. Absent: not known, so nothing is forgotten. */
  readonly nodes?: readonly string[];
  /** The nodes that may have a copy of this guest. Absent: not known, so any may. */
  readonly mayHave?: readonly string[];
  /** The jobs of the guest: what others left behind is tidied up. Absent: not known, or not this run's task. */
  readonly jobs?: readonly JobId[];
}

/** `Freeze`: file systems of the guest where its agent can; `Pause`: the guest must not write at all. */
export type QuiesceLevel = "Freeze" | "Pause";

export interface ReplicationParts {
  readonly host: Host;
  readonly storage: (name: string) => StorageDriver | undefined;
  readonly target: Pick<TransferClient, "listSnapshots" | "send" | "destroySnapshots" | "rollBack" | "branchOff">;
  /** Quiesces the guest if it runs and returns what lets it go on, which is always called, also when the snapshot fails. */
  readonly quiesce: (level: QuiesceLevel) => Promise<() => Promise<void>>;
  /** Makes the success known (status). Nothing older is removed before it resolved. */
  readonly record: (success: ReplicationSuccess) => Promise<void>;
  /** Called every two seconds at most. */
  readonly onProgress?: (progress: Progress) => void;
  readonly clock?: Clock;
}

export interface ReplicationSuccess {
  /** Its name is the same on every volume of the run. */
  readonly snapshot: string;
  /** Seconds since the epoch, for people. */
  readonly createdAt: number;
  readonly volumes: readonly {
    readonly volume: string;
    readonly kind: "full" | "incremental";
    readonly guid: string;
    readonly bytes: number;
  }[];
  readonly bytes: number;
  readonly durationSeconds: number;
}

export type ReplicationResult =
  | ({ readonly outcome: "Succeeded"; readonly log: readonly string[] } & ReplicationSuccess)
  | {
      readonly outcome: "Failed";
      readonly reason: string;
      readonly class: ErrorClass;
      readonly message: string;
      readonly log: readonly string[];
    };

/**
 * One run of a job, on the node that owns the guest: the caller makes sure of that, and that no second run of this job
 * is under way. Quiesce, snapshot all volumes, let go, send each, check, record, and only then remove the old base.
 *
 * It may be killed anywhere. Nothing is remembered between runs but what the storages hold: the next run looks at both
 * sides and goes on from the newest snapshot they share.
 */
export async function replicate(
  request: ReplicationRequest,
  parts: ReplicationParts,
  signal?: AbortSignal,
): Promise<ReplicationResult> {
  const log = new RunLog(parts.clock ?? systemClock);
  try {
    const success = await new Run(request, parts, log, signal).execute();
    return { outcome: "Succeeded", ...success, log: log.lines };
  } catch (error) {
    const aborted = new QuorateError("transient", "Aborted", `job ${request.job}: the run was aborted`);
    const { reason, class: errorClass, message } = signal?.aborted === true ? aborted : classify(error);
    log.add(`failed: ${reason}: ${message}`);
    return { outcome: "Failed", reason, class: errorClass, message, log: log.lines };
  }
}

interface VolumeWork {
  readonly ref: VolumeRef;
  readonly storage: ReplicationStorage;
  readonly source: VolumeState;
  readonly target: VolumeState;
  readonly plan: Exclude<VolumePlan, { kind: "conflict" }>;
}

class Run {
  readonly #request: ReplicationRequest;
  readonly #parts: ReplicationParts;
  readonly #log: RunLog;
  readonly #signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #source: Source;
  readonly #others: Others;
  readonly #retention: Retention;

  constructor(request: ReplicationRequest, parts: ReplicationParts, log: RunLog, signal: AbortSignal | undefined) {
    this.#request = request;
    this.#parts = parts;
    this.#log = log;
    this.#signal = signal;
    this.#clock = parts.clock ?? systemClock;
    this.#source = new Source(request.volumes, parts.storage);
    const { source, target, nodes, mayHave, retention = { source: 1, target: 1 } } = request;
    this.#retention = retention;
    this.#others = {
      counts: (node) => node !== source && node !== target && (nodes === undefined || nodes.includes(node)),
      ...(mayHave === undefined ? {} : { mayHave }),
    };
  }

  async execute(): Promise<ReplicationSuccess> {
    const { job, source, target } = this.#request;
    this.#log.add(`job ${job} from ${source} to ${target}`);
    const startedMs = this.#clock.elapsedMs();
    const works = await this.#plan();
    await this.#prepare(works);
    const name = await this.#snapshot(works);
    const sent = await this.#send(works, name);
    await this.#verify(sent);
    for (const { work, snapshot } of sent) await work.storage.mark(work.ref, [{ node: target, guid: snapshot.guid }]);
    const bytes = sent.reduce((sum, volume) => sum + volume.bytes, 0);
    const success: ReplicationSuccess = {
      snapshot: name,
      createdAt: sent[0]?.snapshot.createdAt ?? 0,
      volumes: sent.map(({ work, snapshot, bytes }) => ({
        volume: work.ref.volume,
        kind: work.plan.kind,
        guid: snapshot.guid,
        bytes,
      })),
      bytes,
      durationSeconds: (this.#clock.elapsedMs() - startedMs) / 1000,
    };
    await this.#parts.record(success);
    this.#log.add(`${name} is on ${target}: ${bytes} bytes in ${success.durationSeconds} s`);
    // The data is safe from here on: what cannot be tidied up now is tidied up by the next run.
    await this.#tidy(works).catch((error: unknown) =>
      this.#log.add(`old snapshots of job ${job} remain: ${classify(error).message}`),
    );
    return success;
  }

  /** Looks at both sides and refuses before anything is touched and before the guest is disturbed. */
  async #plan(): Promise<VolumeWork[]> {
    const { job, volumes, target } = this.#request;
    if (volumes.length === 0)
      throw new QuorateError("user", "NothingToReplicate", `job ${job}: the guest has no volume to replicate`);
    const [here, there] = await Promise.all([this.#source.inspect(), this.#parts.target.listSnapshots(job, volumes)]);
    const works: VolumeWork[] = [];
    const conflicts: Extract<VolumePlan, { kind: "conflict" }>[] = [];
    volumes.forEach((ref, i) => {
      const [source, copy] = [here[i], there[i]];
      if (source === undefined || copy === undefined)
        throw new QuorateError("bug", "InternalError", `no state of ${volumeName(ref)}`);
      const plan = planVolume(job, source, copy, this.#others);
      if (plan.kind === "conflict") conflicts.push(plan);
      else works.push({ ref, storage: this.#source.replication(ref), source, target: copy, plan });
    });
    const [first] = conflicts;
    if (first !== undefined) {
      throw new QuorateError(
        "user",
        first.reason,
        `to ${target}: ${conflicts.map(({ message }) => message).join("\n")}`,
      );
    }
    for (const { ref, plan } of works) {
      this.#log.add(
        `${ref.volume}: ${plan.kind === "full" ? "the whole volume" : `what came after ${plan.base.name}`} goes to ${target}`,
      );
    }
    return works;
  }

  /** Makes sure of the bases and removes what earlier runs left behind. */
  async #prepare(works: readonly VolumeWork[]): Promise<void> {
    const { job } = this.#request;
    for (const { ref, storage, source, target, plan } of works) {
      if (plan.kind === "incremental") await storage.hold(ref, job, [plan.base.name]);
      const left = leftovers(job, source, target, this.#retention, this.#others);
      if (left.length > 0) {
        this.#log.add(`${ref.volume}: removing ${left.map(({ name }) => name).join(", ")}, which never arrived`);
        await storage.destroySnapshots(ref, job, left);
      }
      if (plan.kind === "incremental" && plan.beyond === "RollBack") {
        this.#log.add(`${ref.volume}: taking the target back to ${plan.base.name} after a broken run`);
        await this.#parts.target.rollBack(job, ref, plan.base);
      }
      if (plan.kind === "incremental" && plan.beyond === "Branch") {
        const kept = await this.#parts.target.branchOff(job, ref, plan.base);
        this.#log.add(
          `${ref.volume}: the copy on ${this.#request.target} had data from before the guest was recovered here; it goes on from ${plan.base.name}, and that data is kept there as ${kept}`,
        );
      }
    }
  }

  async #snapshot(works: readonly VolumeWork[]): Promise<string> {
    const { job } = this.#request;
    const taken = new Set(
      works.flatMap(({ source, target }) => [...source.snapshots, ...target.snapshots].map(({ name }) => name)),
    );
    const name = snapshotName(job, this.#clock.wallMs(), taken);
    const groups = [...Map.groupBy(works, ({ storage }) => storage)];
    const atOnce = works.length === 1 || (groups.length === 1 && (await groups[0]?.[0].atomicSnapshots()) === true);
    this.#signal?.throwIfAborted();
    const startedMs = this.#clock.elapsedMs();
    const letGo = await this.#parts.quiesce(atOnce ? "Freeze" : "Pause");
    try {
      for (const [storage, group] of groups)
        await storage.snapshot(
          group.map(({ ref }) => ref),
          name,
          job,
        );
    } finally {
      await letGo();
    }
    this.#log.add(
      `snapshot ${name} of ${works.length} volume(s); the guest was held for ${this.#clock.elapsedMs() - startedMs} ms`,
    );
    for (const { ref, storage } of works) await storage.hold(ref, job, [name]);
    return name;
  }

  async #send(
    works: readonly VolumeWork[],
    name: string,
  ): Promise<{ work: VolumeWork; snapshot: Snapshot; bytes: number }[]> {
    const { job, target, bytesPerSecond } = this.#request;
    const now = await this.#source.inspect();
    const sent: { work: VolumeWork; snapshot: Snapshot; bytes: number }[] = [];
    for (const [i, work] of works.entries()) {
      const { ref, storage, plan } = work;
      const snapshot = now[i]?.snapshots.find((candidate) => candidate.name === name);
      if (snapshot === undefined)
        throw new QuorateError(
          "transient",
          "SnapshotGone",
          `${volumeName(ref)}@${name} was removed before it was sent`,
        );
      let base = plan.kind === "incremental" ? plan.base : undefined;
      const steps = [...plan.via, snapshot];
      // From the first stream on the target may have a copy, whatever becomes of this run.
      if (base === undefined) await storage.mark(ref, [{ node: target, guid: steps[0]?.guid ?? snapshot.guid }]);
      const meter = new ProgressMeter(
        ref.volume,
        this.#clock,
        base === undefined ? now[i]?.referencedBytes : undefined,
        this.#parts.onProgress,
      );
      let bytes = 0;
      for (const step of steps) {
        // Should the answer be lost, this is not known to have arrived, and is not to be tidied away as if it had not.
        if (step === snapshot) await storage.mark(ref, [{ node: target, guid: step.guid, also: true }]);
        const { command, args } = storage.sendCommand(ref, step.name, base?.name);
        bytes += await this.#parts.target.send({
          job,
          volume: ref,
          ...(this.#request.guest === undefined ? {} : { guest: this.#request.guest }),
          toGuid: step.guid,
          ...(base === undefined ? {} : { fromGuid: base.guid }),
          ...(step === snapshot ? { marks: this.#marksFor(now[i], snapshot) } : {}),
          produce: () => this.#parts.host.spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] }),
          failure: (error) => storage.failure(error),
          onBytes: (count) => meter.add(count),
          ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
          ...(this.#signal === undefined ? {} : { signal: this.#signal }),
        });
        base = step;
      }
      const along = plan.via.map((via) => via.name).join(", ");
      this.#log.add(`${ref.volume}: ${bytes} bytes sent${along === "" ? "" : `, ${along} with it`}`);
      sent.push({ work, snapshot, bytes });
    }
    return sent;
  }

  /** What the target is to know of the others: where each of them goes on from, and this node from the new snapshot. */
  #marksFor(source: VolumeState | undefined, snapshot: Snapshot): CopyMark[] {
    const told = new Set<string>();
    const others: CopyMark[] = [];
    for (const { guid, newestOn = [] } of source?.snapshots ?? []) {
      for (const node of newestOn) {
        if (node !== ANY_NODE && !this.#others.counts(node)) continue;
        others.push({ node, guid, ...(told.has(node) ? { also: true } : {}) });
        told.add(node);
      }
    }
    return [...others, { node: this.#request.source, guid: snapshot.guid }];
  }

  /** The target's own list says so: an acknowledgement alone is not believed. */
  async #verify(sent: readonly { work: VolumeWork; snapshot: Snapshot }[]): Promise<void> {
    const { job, volumes, target } = this.#request;
    const there = await this.#parts.target.listSnapshots(job, volumes);
    for (const [i, { work, snapshot }] of sent.entries()) {
      if (there[i]?.snapshots.some(({ guid }) => guid === snapshot.guid)) continue;
      const message = `${volumeName(work.ref)} on ${target} has no ${snapshot.name} (GUID ${snapshot.guid}) after it was sent`;
      throw new QuorateError("transient", "NotVerified", message);
    }
  }

  async #tidy(works: readonly VolumeWork[]): Promise<void> {
    const { job, volumes, jobs } = this.#request;
    const [here, there] = await Promise.all([this.#source.inspect(), this.#parts.target.listSnapshots(job, volumes)]);
    for (const [i, { ref, storage, plan }] of works.entries()) {
      const [source, copy] = [here[i], there[i]];
      if (source === undefined || copy === undefined) continue;
      // Held as the base of this run, or of one that failed: what another job made keeps its own hold alone.
      const base = plan.kind === "incremental" ? plan.base.guid : undefined;
      const borrowed = source.snapshots.filter(
        ({ name, guid, holds }) =>
          (guid === base || holds > 1) && snapshotJob(name) !== undefined && snapshotJob(name) !== job,
      );
      if (borrowed.length > 0)
        await storage.release(
          ref,
          job,
          borrowed.map(({ name }) => name),
        );
      const old = planCleanup(job, source, copy, this.#retention, this.#others, jobs);
      // The target first: the base on the source is the last to go.
      const kept =
        old.target.length === 0 ? [] : (await this.#parts.target.destroySnapshots(job, ref, old.target)).kept;
      if (old.source.length > 0) kept.push(...(await storage.destroySnapshots(ref, job, old.source)).kept);
      if (kept.length > 0)
        this.#log.add(
          `${ref.volume}: ${kept.join(", ")} stays: somebody else holds it, or a kept branch depends on it`,
        );
    }
  }
}
