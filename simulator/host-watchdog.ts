/**
 * The watchdog of a simulated host and the keeper that pets it: fed as long as the keeper runs and corosync proves quorum; else it
 * fires, unless that returns in time.
 */
import type { Timings } from "../controllers/ha/index.ts";
import type { EventQueue } from "./event-queue.ts";

export interface WatchdogParts {
  readonly queue: EventQueue;
  readonly timings: Timings;
  /** The host runs: it has power and does not stand still. */
  readonly runs: () => boolean;
  readonly quorate: () => boolean;
  readonly fires: () => void;
}

export class HostWatchdog {
  armed = false;
  expiring = false;
  /** The device does not fire. */
  broken = false;
  keeper: "runs" | "dead" | "frozen" = "runs";
  #deadline: number | undefined;
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
    const { queue, timings, runs, quorate, fires } = this.#parts;
    if (!this.armed) return;
    const pets = this.keeper === "runs" && runs() && !this.expiring;
    if (pets && quorate()) {
      this.#deadline = undefined;
      return;
    }
    if (this.#deadline !== undefined) return;
    // A keeper that only lost its proof may have petted until the last one was too old.
    const lastPet = queue.now + (pets ? timings.quorumProofAge.milliseconds : 0);
    const deadline = lastPet + timings.watchdog.milliseconds;
    this.#deadline = deadline;
    queue.at(deadline, () => {
      if (this.#deadline === deadline && !this.broken) fires();
    });
  }
}
