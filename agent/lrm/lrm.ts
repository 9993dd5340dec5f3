import type { Clock } from "../../clock.ts";
import { CLOSING_MS, CLOSING_RENEWAL_MS, MEMBERSHIP_ANNOTATION, MODE_ANNOTATION } from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import type { Happening } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import {
  initialLrmState,
  type LrmEffect,
  type LrmEvent,
  type LrmParameters,
  type LrmState,
  type LrmView,
  lrmStep,
  type Outcome,
  type ReportedMode,
} from "../ha/index.ts";
import type { NodeLease } from "./node-lease.ts";
import type { WorkTable } from "./work.ts";

/** What a step of the LRM looks at, beside its Lease and its work. Everything is read at one moment. */
export interface LrmSurroundings {
  /** Corosync of this host is quorate, by an answer that is fresh. */
  readonly quorate: boolean;
  /** The membership report for the Lease. */
  readonly membership: string;
  /** The caches hear from the API server. */
  readonly storeReadable: boolean;
  readonly watchdog: LrmView["watchdog"];
  readonly services: LrmView["services"];
  /** HA guests that run here although their service is neither here nor on its way here. */
  readonly strays: readonly string[];
  readonly disarmed: boolean;
  readonly maintenance: boolean;
  readonly shutdown?: LrmView["shutdown"];
}

export interface LrmOptions {
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly lease: NodeLease;
  readonly work: WorkTable;
  readonly look: () => Promise<LrmSurroundings>;
  readonly keeper: { arm(): Promise<unknown>; disarm(): Promise<unknown>; expire(why: string): Promise<unknown> };
  /** Writes HAResource.status.result. */
  readonly report: (service: string, result: ServiceResult) => Promise<void>;
  readonly onMode: (mode: ReportedMode, epoch: number | undefined) => void;
  readonly onEvent: (event: LrmEvent, type: Happening["type"]) => void;
  readonly parameters: LrmParameters;
  readonly renewIntervalMs: number;
  /** How long a renewal is good for acting, measured from before it was sent. At most the fencing rule's L. */
  readonly leaseMs: number;
  /** M of the timings in force; undefined: not known yet. */
  readonly fenceDelayMs: () => number | undefined;
  /** Results that earlier runs of this agent have written: service -> uid and outcome. */
  readonly knownResults: LrmState["done"];
}

export interface ServiceResult {
  readonly uid: string;
  readonly outcome: Outcome;
  readonly message?: string;
}

const ROUND_MS = 1_000;
/** The last things are tried for this long; then the host goes down without them. */
const OWED_MS = 15_000;
/** Steps within one round: acquire, arm and start follow each other at once. */
const STEPS_A_ROUND = 8;

/**
 * The shell around `lrmStep`: looks, steps, does what the step says, and steps again at once while that changed anything. A
 * failed effect is no disaster: the next round sees the world as it is and asks again.
 */
export class Lrm {
  readonly #options: LrmOptions;
  #state: LrmState;
  #wake: (() => void) | undefined;
  #poked = false;
  #lastRound = Number.NEGATIVE_INFINITY;
  #lastBeat = Number.NEGATIVE_INFINITY;
  #lastReport = "";
  #membership = "";
  #membershipSince = Number.NEGATIVE_INFINITY;
  readonly #unreported = new Map<string, ServiceResult>();
  #mode: ReportedMode = "Idle";
  #exitedAt: number | undefined;
  /** What of the last things could not be done yet: the step says them only once, when no guest is left. */
  readonly #owed = new Set<"disarmWatchdog" | "releaseLease">();

  constructor(options: LrmOptions) {
    this.#options = options;
    this.#state = initialLrmState(options.knownResults);
  }

  get state(): LrmState {
    return this.#state;
  }

  /** The ordered stop is done: nothing under HA needs this agent any more. */
  get exited(): boolean {
    if (this.#exitedAt === undefined) return false;
    return this.#owed.size === 0 || this.#options.clock.elapsedMs() - this.#exitedAt > OWED_MS;
  }

  /** Something changed: look at once. */
  poke(): void {
    this.#poked = true;
    this.#wake?.();
  }

  /** Runs until the signal aborts. Guests run on afterwards. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#poked = false;
      try {
        await this.#round(signal);
      } catch (error) {
        if (signal.aborted) break;
        const failure = classify(error);
        this.#options.log.error(
          { reason: failure.reason, err: failure.class === "bug" ? failure : undefined },
          failure.message,
        );
      }
      if (!this.#poked && !signal.aborted) await this.#rest(signal);
    }
  }

  async #rest(signal: AbortSignal): Promise<void> {
    const nap = new AbortController();
    this.#wake = () => nap.abort();
    const untilClosing = -this.#closingFor(this.#options.clock.elapsedMs());
    const pauseMs = this.#isClosing()
      ? CLOSING_RENEWAL_MS
      : untilClosing > 0
        ? Math.min(ROUND_MS, untilClosing)
        : ROUND_MS;
    await this.#options.clock.sleep(pauseMs, AbortSignal.any([signal, nap.signal])).catch(() => undefined);
    this.#wake = undefined;
  }

  async #round(signal: AbortSignal): Promise<void> {
    for (let step = 0; step < STEPS_A_ROUND && !signal.aborted; step += 1) {
      const now = this.#options.clock.elapsedMs();
      const sameRound = now - this.#lastRound < ROUND_MS;
      if (!sameRound) this.#lastRound = now;
      const around = await this.#options.look();
      const view: LrmView = {
        node: this.#options.node,
        quorate: around.quorate,
        storeReadable: around.storeReadable && this.#sightIsFresh(now),
        lease: { holder: this.#options.lease.sight.holder, epoch: this.#options.lease.sight.epoch },
        watchdog: around.watchdog,
        services: around.services,
        strays: around.strays,
        work: this.#options.work.view,
        disarmed: around.disarmed,
        maintenance: around.maintenance,
        ...(around.shutdown === undefined ? {} : { shutdown: around.shutdown }),
        reportedMode: this.#mode,
        sameRound,
      };
      const result = lrmStep(this.#state, view, now, this.#options.parameters);
      this.#state = result.state;
      for (const event of result.events) {
        if (event.class !== "role")
          this.#options.onEvent(event, event.level === "info" || event.level === "notice" ? "Normal" : "Warning");
        this.#options.log.info({ kind: event.kind, subject: event.subject, ...event.data }, event.message);
      }
      let again = false;
      for (const effect of result.effects) again = (await this.#apply(effect, around, signal)) || again;
      if (this.#exitedAt !== undefined) await this.#payOwed(around, signal);
      await this.#beatIfDue(signal);
      await this.#reportResults();
      if (!again) return;
    }
  }

  /**
   * A renewal that is too old is no licence to begin anything. Before the first one there is none to trust. Of a Lease that is somebody
   * else's, what was read counts: this host cannot renew it, and has to know that it was taken.
   */
  #sightIsFresh(now: number): boolean {
    const { holder, renewedAt, readAt } = this.#options.lease.sight;
    const at = holder === "crm" || holder === "other" ? readAt : renewedAt;
    return at === undefined || now - at <= this.#options.leaseMs;
  }

  async #apply(effect: LrmEffect, around: LrmSurroundings, signal: AbortSignal): Promise<boolean> {
    const { lease, work, keeper, log } = this.#options;
    switch (effect.type) {
      case "acquireLease":
        return this.#attempt("acquire the node's Lease", () => lease.acquire(this.#beat(around), signal));
      case "releaseLease":
        if (effect.cause === "shutdown") this.#owed.add(effect.type);
        return this.#release(around, signal);
      case "renewLease":
        return false;
      case "armWatchdog":
        return this.#attempt("arm the watchdog", async () => {
          await keeper.arm();
          return true;
        });
      case "disarmWatchdog":
        if (effect.cause === "shutdown") this.#owed.add(effect.type);
        return this.#disarm();
      case "expireWatchdog":
        log.fatal(
          { why: effect.why },
          "the node's Lease is lost while guests may run: the watchdog is left to reset this host",
        );
        return this.#attempt("order the watchdog to expire", async () => {
          await keeper.expire(effect.why);
          return false;
        });
      case "start":
        work.begin(effect.service, effect.uid, { action: "start" });
        return false;
      case "stop":
        work.begin(effect.service, effect.uid, {
          action: "stop",
          ...(effect.timeoutSeconds === undefined ? {} : { timeoutSeconds: effect.timeoutSeconds }),
        });
        return false;
      case "move":
        work.begin(effect.service, effect.uid, { action: "move", target: effect.target, mode: effect.mode });
        return false;
      case "report":
        this.#unreported.set(effect.service, {
          uid: effect.uid,
          outcome: effect.outcome,
          ...(effect.message === undefined ? {} : { message: effect.message }),
        });
        return false;
      case "forgetWork":
        work.forget(effect.service);
        return false;
      case "setMode":
        this.#mode = effect.mode;
        this.#options.onMode(effect.mode, this.#state.epoch);
        return false;
      case "exit":
        this.#exitedAt ??= this.#options.clock.elapsedMs();
        return false;
    }
  }

  async #payOwed(around: LrmSurroundings, signal: AbortSignal): Promise<void> {
    if (this.#owed.has("disarmWatchdog")) await this.#disarm();
    if (this.#owed.has("releaseLease")) await this.#release(around, signal);
  }

  async #disarm(): Promise<boolean> {
    return this.#attempt("disarm the watchdog", async () => {
      await this.#options.keeper.disarm();
      this.#owed.delete("disarmWatchdog");
      return true;
    });
  }

  async #release(around: LrmSurroundings, signal: AbortSignal): Promise<boolean> {
    return this.#attempt("release the node's Lease", async () => {
      await this.#options.lease.release(this.#beat(around), signal);
      this.#owed.delete("releaseLease");
      return true;
    });
  }

  async #attempt(what: string, effort: () => Promise<boolean>): Promise<boolean> {
    try {
      return await effort();
    } catch (error) {
      const failure = classify(error);
      this.#options.log.warn({ reason: failure.reason }, `could not ${what}: ${failure.message}`);
      return false;
    }
  }

  /** A result that can't be written now is written later: the step says it only once. */
  async #reportResults(): Promise<void> {
    for (const [service, result] of this.#unreported) {
      await this.#attempt(`report the result of "${service}"`, async () => {
        await this.#options.report(service, result);
        if (this.#unreported.get(service) === result) this.#unreported.delete(service);
        return false;
      });
    }
  }

  /** A proof that somebody is gone, who left when this host's membership changed, could end now: with words of this host. */
  #isClosing(): boolean {
    const since = this.#closingFor(this.#options.clock.elapsedMs());
    return since >= 0 && since < CLOSING_MS;
  }

  /** Milliseconds since such a proof could end; negative before. */
  #closingFor(now: number): number {
    const delay = this.#options.fenceDelayMs();
    return delay === undefined ? Number.NaN : now - this.#membershipSince - delay;
  }

  #beat(around: LrmSurroundings): { annotations: Record<string, string> } {
    return { annotations: { [MEMBERSHIP_ANNOTATION]: around.membership, [MODE_ANNOTATION]: this.#mode } };
  }

  /** The heartbeat. It tells of the moment before it is sent: what was done since the round's look may have taken long. */
  async #beatIfDue(signal: AbortSignal): Promise<void> {
    const around = await this.#options.look();
    const now = this.#options.clock.elapsedMs();
    if (around.membership !== this.#membership) this.#membershipSince = now;
    this.#membership = around.membership;
    const report = `${around.membership}\n${this.#mode}`;
    const interval = this.#isClosing() ? CLOSING_RENEWAL_MS : this.#options.renewIntervalMs;
    if (report === this.#lastReport && now - this.#lastBeat < interval) return;
    await this.#attempt("renew the node's Lease", async () => {
      await this.#options.lease.beat({ ...this.#beat(around), onlyIfFree: !around.quorate }, signal);
      this.#lastBeat = now;
      this.#lastReport = report;
      return false;
    });
  }
}
