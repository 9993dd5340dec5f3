/**
 * The watchdog of a simulated host and the keeper that pets it: fed as long as the keeper runs and corosync proves quorum; else it
 * fires, unless that returns in time. What is a proof is for the keeper's own rule to say.
 */
import { type DoubtLimits, type History, judge } from "../agent/keeper/index.ts";
import type { Timings } from "../controllers/ha/index.ts";
import type { EventQueue } from "./event-queue.ts";

export interface WatchdogParts {
  readonly queue: EventQueue;
  readonly timings: Timings;
  /** The host runs: it has power and does not stand still. */
  readonly runs: () => boolean;
  /** What the host's corosync answers now. */
  readonly corosync: () => { readonly quorate: boolean; readonly ringId: string };
  readonly doubt: DoubtLimits;
  /** By a planted defect the keeper takes something else for a proof. */
  readonly proves: (proven: boolean) => boolean;
  readonly fires: () => void;
}

export class HostWatchdog {
  armed = false;
  expiring = false;
  /** The device does not fire. */
  broken = false;
  keeper: "runs" | "dead" | "frozen" = "runs";
  #deadline: number | undefined;
  /** The keeper asked corosync when something last changed, and has ever since. */
  #asks = false;
  #history: History | undefined;
  readonly #parts: WatchdogParts;

  constructor(parts: WatchdogParts) {
    this.#parts = parts;
  }

  /** The host lost power, and the device with it. */
  reset(): void {
    this.armed = false;
    this.expiring = false;
    this.keeper = "runs";
    this.#deadline = undefined;
    this.#asks = false;
    this.#history = undefined;
  }

  /** @returns false when the keeper cannot, or will not without a proof. */
  arm(): boolean {
    const asks = this.keeper === "runs" && this.#parts.runs();
    if (!asks || this.expiring || !this.#parts.proves(this.#ask(asks))) return false;
    this.armed = true;
    this.check();
    return true;
  }

  /** Magic close. */
  close(): void {
    this.armed = false;
    this.#deadline = undefined;
  }

  expire(): void {
    this.expiring = true;
    this.#deadline = undefined;
    this.check();
  }

  /** Something it depends on has changed. */
  check(): void {
    const { queue, timings, runs, fires } = this.#parts;
    const asks = this.keeper === "runs" && runs();
    const proven = this.#parts.proves(this.#ask(asks));
    if (!this.armed) return;
    if (asks && proven && !this.expiring) {
      this.#deadline = undefined;
      return;
    }
    if (this.#deadline !== undefined) return;
    // A keeper that only lost its proof may have petted until the last one was too old.
    const lastPet = queue.now + (asks && !this.expiring ? timings.quorumProofAge.milliseconds : 0);
    const deadline = lastPet + timings.watchdog.milliseconds;
    this.#deadline = deadline;
    queue.at(deadline, () => {
      if (this.#deadline === deadline && !this.broken) fires();
    });
  }

  /** It asks again and again: up to now if it did before, so that only a silence that it ends now is one. */
  #ask(asks: boolean): boolean {
    const { queue, corosync, doubt } = this.#parts;
    const { now } = queue;
    if (this.#asks && this.#history !== undefined) this.#history = { ...this.#history, askedAtMs: now };
    this.#asks = asks;
    if (!asks) return false;
    const verdict = judge(this.#history, { ...corosync(), askedAtMs: now, answeredAtMs: now }, doubt);
    if (verdict.history.doubtedSinceMs === now) queue.after(doubt.settleMilliseconds, () => this.check());
    this.#history = verdict.history;
    return verdict.proves;
  }
}
