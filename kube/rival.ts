import type { Clock } from "../clock.ts";
import type { Lease } from "./core-types.ts";
import { leaseHolder } from "./leases.ts";

/** The Lease in another's hands, and how long it has not changed, on our own clock. */
export class Rival {
  readonly #clock: Clock;
  readonly #self: string;
  readonly #leaseMs: number;
  #lease: Lease | undefined;
  #holder = "";
  #holderLeaseMs = 0;
  #sinceMs = 0;

  constructor(clock: Clock, self: string, leaseMs: number) {
    this.#clock = clock;
    this.#self = self;
    this.#leaseMs = leaseMs;
  }

  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** What was read directly may be newer than what the watch then brings. */
  observe(lease: Lease | undefined): void {
    if (lease === undefined && this.#lease === undefined) return;
    if (lease !== undefined && this.#lease !== undefined && revision(lease) <= revision(this.#lease)) return;
    this.#lease = lease;
    this.#sinceMs = this.#clock.elapsedMs();
    // Deleted under its holder: that one may lead on until it tries to renew.
    if (lease === undefined) return;
    this.#holder = leaseHolder(lease);
    this.#holderLeaseMs = (lease.spec?.leaseDurationSeconds ?? 0) * 1000;
  }

  /** Until it may be taken: as long as we were told, or as it was told when it got the Lease, whichever is longer. */
  leftMs(): number {
    if (this.#holder === "" || this.#holder === this.#self) return 0;
    return Math.max(0, this.#sinceMs + Math.max(this.#leaseMs, this.#holderLeaseMs) - this.#clock.elapsedMs());
  }
}

function revision(lease: Lease): bigint {
  return BigInt(lease.metadata.resourceVersion ?? "0");
}
