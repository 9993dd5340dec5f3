import { randomBytes } from "node:crypto";
import { type Clock, systemClock } from "../clock.ts";
import { classify, QuorateError } from "../errors.ts";
import { type Logger, processLog } from "../log.ts";
import { ConflictError } from "./api-errors.ts";
import { jittered } from "./backoff.ts";
import type { KubeApi } from "./client.ts";
import { LEASES, type Lease } from "./core-types.ts";
import { HeldLease, LeaseLostError } from "./leases.ts";
import { counter, gauge } from "./metrics.ts";
import { Rival } from "./rival.ts";
import { WatchCache } from "./watch-cache.ts";

export interface LeaderElectionOptions {
  client: Pick<KubeApi, "get" | "create" | "replace" | "list" | "watch" | "readText">;
  namespace: string;
  /** Of the Lease. */
  name: string;
  /** For humans, the pod's name; a random part is added, so that no two processes are ever the same. */
  identity: string;
  /** A candidate takes the Lease when it saw no change for this long; 10 s. Whole seconds. */
  leaseMs?: number;
  /** The leader stops when it could not renew for this long; 6 s. What is left of `leaseMs` is for winding down. */
  renewDeadlineMs?: number;
  /** The leader renews this often; 1 s. */
  renewMs?: number;
  clock?: Clock;
  log?: Logger;
}

const leading = gauge("quorate_leader", "1 while this process leads.", ["lease"]);
const changes = counter("quorate_leader_changes_total", "Times this process began or ceased to lead.", ["lease", "to"]);

/**
 * How far two clocks may drift apart in the length of a lease: NTP slews by at most 0.05 %, a bad crystal drifts less; a
 * tenth is generous.
 */
const CLOCK_ERROR = 0.1;

/**
 * Leader election on a Lease. At most one leads: the leader's signal aborts `renewDeadlineMs` after the last renewal it is
 * sure of was sent, on a clock that counts suspend; a candidate waits `leaseMs` from when it saw that renewal, and then
 * swaps the very revision it saw. No time written by another host is used.
 *
 * Whoever deletes the Lease under its holder breaks this for as long as the holder takes to notice (`renewMs`), if a
 * process joins in that moment which never saw the Lease.
 *
 * A process that was frozen wakes up after its time: code that must not act then asks `isLeading()` right before.
 */
export class LeaderElection {
  /** As it stands in the Lease. */
  readonly identity: string;
  readonly #options: LeaderElectionOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #leaseMs: number;
  readonly #deadlineMs: number;
  readonly #renewMs: number;
  readonly #stopping = new AbortController();
  readonly #held: HeldLease;
  #term: AbortController | undefined;
  #finished: Promise<void> | undefined;

  /** @throws QuorateError class user when the times do not leave a leader room to stop in. */
  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? processLog("kube")).child({ lease: `${options.namespace}/${options.name}` });
    this.#leaseMs = options.leaseMs ?? 10_000;
    this.#deadlineMs = options.renewDeadlineMs ?? 6_000;
    this.#renewMs = options.renewMs ?? 1_000;
    if (
      this.#renewMs * 2 > this.#deadlineMs ||
      this.#deadlineMs * (1 + CLOCK_ERROR) >= this.#leaseMs * (1 - CLOCK_ERROR)
    ) {
      throw new QuorateError(
        "user",
        "ElectionTimings",
        `leader election: renew every ${this.#renewMs} ms, give up after ${this.#deadlineMs} ms, lease ${this.#leaseMs} ms: ` +
          "needs 2 x renew <= give up, and give up at least a fifth shorter than the lease",
      );
    }
    this.identity = `${options.identity}_${randomBytes(4).toString("hex")}`;
    this.#held = new HeldLease({
      client: options.client,
      key: { namespace: options.namespace, name: options.name },
      holder: this.identity,
      durationSeconds: Math.ceil(this.#leaseMs / 1000),
      clock: this.#clock,
    });
    leading.set({ lease: options.name }, 0);
  }

  /** Right now, on this process's clock. */
  isLeading(): boolean {
    if (this.#term === undefined || this.#term.signal.aborted) return false;
    if (this.#clock.elapsedMs() < this.#endMs()) return true;
    this.#end("the Lease was not renewed in time");
    return false;
  }

  /** Of the present term: grows whenever another process led in between. */
  get epoch(): number | undefined {
    return this.#held.epoch;
  }

  /**
   * Waits for leadership, then runs `onStartedLeading`, which should end soon after its signal aborts; then again from the
   * start, until `stop()`. Rejects with what `onStartedLeading` throws (the Lease is released first). When
   * `onStartedLeading` returns while it leads, the Lease is released and `run` resolves.
   */
  run(onStartedLeading: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#finished ??= this.#run(onStartedLeading);
    return this.#finished;
  }

  /** Stops leading, waits for `onStartedLeading` to end, and releases the Lease: the next leader starts at once. */
  async stop(): Promise<void> {
    this.#stopping.abort(new DOMException("the election stops", "AbortError"));
    this.#end("stopped");
    await this.#finished?.catch(() => {});
  }

  async #run(onStartedLeading: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const stop = this.#stopping.signal;
    while (!stop.aborted) {
      if (!(await this.#acquired(stop))) return;
      if (stop.aborted) {
        await this.#release();
        return;
      }
      const term = this.#begin();
      const renewing = this.#keepRenewing(term);
      try {
        await onStartedLeading(term.signal);
        if (!term.signal.aborted) return;
      } catch (error) {
        if (!term.signal.aborted) throw error;
        this.#log.debug({ err: classify(error) }, "the work of the term ended with an error after its end");
      } finally {
        this.#end("the work is done");
        await renewing;
        await this.#release();
      }
    }
  }

  /** False when stopped before. */
  async #acquired(stop: AbortSignal): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const rival = new Rival(this.#clock, this.identity, this.#leaseMs);
    let wake = Promise.withResolvers<void>();
    const cache = new WatchCache<Lease>({
      client,
      type: LEASES,
      namespace,
      fieldSelector: `metadata.name=${name}`,
      name: `election-${name}`,
      onChange: (key) => {
        rival.observe(cache.get(key));
        wake.resolve();
      },
      clock: this.#clock,
      log: this.#log,
    });
    const onStop = () => wake.resolve();
    stop.addEventListener("abort", onStop, { once: true });
    try {
      // Its first list may hang for as long as a list may take (30 s); what `#take` reads itself is enough to go on.
      await this.#sleepOr(this.#deadlineMs / 3, Promise.race([cache.start().catch(() => {}), wake.promise]));
      while (!stop.aborted) {
        wake = Promise.withResolvers<void>();
        const leftMs = rival.leftMs();
        if (leftMs > 0) await this.#sleepOr(leftMs, wake.promise);
        else if (await this.#take(rival)) return true;
        else await this.#clock.sleep(jittered(this.#renewMs), stop).catch(() => {});
      }
      return false;
    } finally {
      stop.removeEventListener("abort", onStop);
      await cache.stop();
    }
  }

  /** Not aborted by `stop()`: a Lease that was taken must be known to be taken, so that it is released. */
  async #take(rival: Rival): Promise<boolean> {
    const { client, namespace, name } = this.#options;
    const call = { timeoutMs: this.#deadlineMs / 3 };
    const { lease } = rival;
    try {
      const mayTake = () => lease !== undefined;
      const seen = lease === undefined ? {} : { seen: lease };
      if ((await this.#held.acquire(undefined, mayTake, { ...call, ...seen })) !== undefined) return true;
    } catch (error) {
      if (!(error instanceof ConflictError))
        this.#log.warn({ reason: classify(error).reason }, classify(error).message);
    }
    // Not as we saw it: the watch lags, or another was faster.
    rival.observe(await client.get(LEASES, { namespace, name }, call).catch(() => lease));
    return false;
  }

  async #sleepOr(ms: number, wake: Promise<void>): Promise<void> {
    const timer = new AbortController();
    await Promise.race([this.#clock.sleep(ms, timer.signal).catch(() => {}), wake]);
    timer.abort();
  }

  #begin(): AbortController {
    const term = new AbortController();
    this.#term = term;
    leading.set({ lease: this.#options.name }, 1);
    changes.inc({ lease: this.#options.name, to: "leader" });
    this.#log.info({ epoch: this.epoch, identity: this.identity }, "leading");
    return term;
  }

  #end(why: string): void {
    if (this.#term === undefined || this.#term.signal.aborted) return;
    this.#term.abort(new QuorateError("transient", "NotLeading", `no longer leading: ${why}`));
    leading.set({ lease: this.#options.name }, 0);
    changes.inc({ lease: this.#options.name, to: "follower" });
    this.#log.info({ why }, "no longer leading");
  }

  #endMs(): number {
    return (this.#held.renewedMs ?? Number.NEGATIVE_INFINITY) + this.#deadlineMs;
  }

  /** Until the term ends, for whatever reason; ends it itself when the Lease is lost or runs out. */
  async #keepRenewing(term: AbortController): Promise<void> {
    const watching = this.#watchDeadline(term);
    while (!term.signal.aborted) {
      await this.#clock.sleep(this.#renewMs, term.signal).catch(() => {});
      if (!this.isLeading()) break;
      try {
        await this.#held.renew(undefined, { timeoutMs: this.#deadlineMs / 3, signal: term.signal });
      } catch (error) {
        if (term.signal.aborted) break;
        if (error instanceof LeaseLostError) this.#end(error.message);
        else this.#log.warn({ reason: classify(error).reason }, classify(error).message);
      }
    }
    await watching;
  }

  /** Timers do not count suspend, so the clock that does is looked at often. */
  async #watchDeadline(term: AbortController): Promise<void> {
    while (!term.signal.aborted && this.isLeading()) {
      const leftMs = this.#endMs() - this.#clock.elapsedMs();
      await this.#clock.sleep(Math.max(1, Math.min(250, leftMs)), term.signal).catch(() => {});
    }
  }

  async #release(): Promise<void> {
    try {
      await this.#held.release({ timeoutMs: this.#deadlineMs / 3 });
    } catch (error) {
      this.#log.warn(
        { reason: classify(error).reason },
        `${classify(error).message}; the next leader waits for the Lease to run out`,
      );
    }
  }
}
