import type { Clock } from "../../clock.ts";
import { CRM_HOLDER, nodeLeaseName } from "../../crds/index.ts";
import { classify, QuorateError } from "../../errors.ts";
import {
  ConflictError,
  createLease,
  type KubeApi,
  LEASES,
  type Lease,
  leaseEpoch,
  leaseHolder,
  releaseLease,
  renewLease,
  takeLease,
} from "../../kube/index.ts";

/** What a beat tells everybody: the membership this host's corosync sees, and what the LRM is doing. */
export interface Beat {
  readonly annotations: Record<string, string>;
  /**
   * Only while nobody holds the lock: a host that is not quorate is silent about a lock that it (or its earlier boot) holds, so
   * that the others' word about it counts. A host that is yet to join has none, and may say that it is there.
   */
  readonly onlyIfFree?: boolean;
}

export interface NodeLeaseOptions {
  readonly client: Pick<KubeApi, "get" | "create" | "replace">;
  readonly namespace: string;
  readonly node: string;
  /** Of this boot of the host: an agent that restarts is the same holder, a host that restarted is not. */
  readonly bootId: string;
  readonly leaseSeconds: number;
  /** How long a renewal is good for acting, measured from before it was sent. At most the fencing rule's L. */
  readonly renewalGoodMs: number;
  readonly clock: Clock;
}

/** Who holds the node's Lease, as last read or written here. */
export interface LeaseSight {
  readonly holder: "self" | "crm" | "other" | "none";
  readonly epoch: number;
  /** `elapsedMs` just before the last successful write of this agent was sent. */
  readonly renewedAt?: number;
  /** The same of the last read or write: this is so at the earliest since then. */
  readonly readAt?: number;
}

/**
 * The node's Lease in the hands of its agent: heartbeat and membership report at every beat, lock while the LRM holds it.
 * A beat never changes the holder; every write is a compare-and-swap on the revision last seen here. One call at a time.
 */
export class NodeLease {
  readonly #options: NodeLeaseOptions;
  readonly #holder: string;
  #lease: Lease | undefined;
  #renewedAt: number | undefined;
  #readAt: number | undefined;
  /** The epoch under which it was held here when it was last seen. */
  #heldEpoch: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: NodeLeaseOptions) {
    this.#options = options;
    this.#holder = `${options.node}/${options.bootId}`;
  }

  get sight(): LeaseSight {
    const lease = this.#lease;
    const seen = {
      ...(this.#renewedAt === undefined ? {} : { renewedAt: this.#renewedAt }),
      ...(this.#readAt === undefined ? {} : { readAt: this.#readAt }),
    };
    if (lease === undefined) return { holder: "none", epoch: 0, ...seen };
    const name = leaseHolder(lease);
    const holder =
      name === this.#holder
        ? "self"
        : name === CRM_HOLDER
          ? "crm"
          : name === ""
            ? "none"
            : this.#isEarlierBoot(name)
              ? "none"
              : "other";
    return { holder, epoch: leaseEpoch(lease), ...seen };
  }

  /**
   * Says "alive" and reports. Creates the Lease, held by nobody, when there is none; where somebody deleted it while it was held here,
   * it is held as before: had the CRM taken it in between, it would have found it unchanged for longer than this renewal is old.
   * One that the CRM holds is only read: it gives it back itself.
   */
  beat(beat: Beat, signal?: AbortSignal): Promise<void> {
    return this.#write(async (lease, call) => {
      if (lease === undefined) {
        const claim = {
          holder: this.#holder,
          durationSeconds: this.#options.leaseSeconds,
          annotations: beat.annotations,
        };
        if (this.#heldEpoch !== undefined && this.#isRenewalFresh())
          return createLease(this.#options.client, this.#key, { ...claim, epoch: this.#heldEpoch }, call);
        const created = await createLease(this.#options.client, this.#key, claim, call);
        return releaseLease(this.#options.client, created, call);
      }
      const name = leaseHolder(lease);
      if (name === CRM_HOLDER || (beat.onlyIfFree === true && name !== "")) return lease;
      if (name !== "" && name !== this.#holder && !this.#isEarlierBoot(name)) {
        throw new QuorateError(
          "user",
          "LeaseHeldByStranger",
          `Lease "${this.#key.name}" is held by "${name}", which is not this host: two hosts must not have one name; stop the agent on one of them`,
        );
      }
      return renewLease(this.#options.client, lease, { annotations: beat.annotations }, call);
    }, signal);
  }

  /**
   * Makes this boot of this host the holder, with a new epoch. Only from nobody or from an earlier boot of the same host,
   * whose guests are gone with it; never from the CRM, which gives the Lease back itself.
   * @returns whether it is held now.
   */
  async acquire(beat: Beat, signal?: AbortSignal): Promise<boolean> {
    await this.#write(async (lease, call) => {
      const claim = {
        holder: this.#holder,
        durationSeconds: this.#options.leaseSeconds,
        annotations: beat.annotations,
      };
      if (lease === undefined) return createLease(this.#options.client, this.#key, claim, call);
      const name = leaseHolder(lease);
      if (name === this.#holder)
        return renewLease(this.#options.client, lease, { annotations: beat.annotations }, call);
      if (name !== "" && !this.#isEarlierBoot(name)) return lease;
      return takeLease(this.#options.client, lease, claim, call);
    }, signal);
    return this.sight.holder === "self";
  }

  /** Gives the lock up and stays as a heartbeat. Nothing happens when it is not held here. */
  release(beat: Beat, signal?: AbortSignal): Promise<void> {
    return this.#write(async (lease, call) => {
      if (lease === undefined || leaseHolder(lease) !== this.#holder) return lease;
      const released = await releaseLease(this.#options.client, lease, call);
      return renewLease(this.#options.client, released, { annotations: beat.annotations }, call);
    }, signal);
  }

  /** Looks who holds it, and writes nothing. */
  async read(signal?: AbortSignal): Promise<void> {
    await this.#exclusive(() => this.#get(signal));
  }

  async #get(signal: AbortSignal | undefined): Promise<void> {
    const sentAt = this.#options.clock.elapsedMs();
    this.#saw(await this.#options.client.get(LEASES, this.#key, signal === undefined ? {} : { signal }), sentAt);
  }

  #saw(lease: Lease | undefined, sentAt: number): void {
    this.#lease = lease;
    this.#readAt = sentAt;
    if (lease !== undefined) this.#heldEpoch = leaseHolder(lease) === this.#holder ? leaseEpoch(lease) : undefined;
  }

  #isRenewalFresh(): boolean {
    const { clock, renewalGoodMs } = this.#options;
    return this.#renewedAt !== undefined && clock.elapsedMs() - this.#renewedAt <= renewalGoodMs;
  }

  get #key(): { namespace: string; name: string } {
    return { namespace: this.#options.namespace, name: nodeLeaseName(this.#options.node) };
  }

  #isEarlierBoot(holder: string): boolean {
    return holder.startsWith(`${this.#options.node}/`) && holder !== this.#holder;
  }

  async #write(
    change: (lease: Lease | undefined, call: { clock: Clock; signal?: AbortSignal }) => Promise<Lease | undefined>,
    signal?: AbortSignal,
  ): Promise<void> {
    const call = { clock: this.#options.clock, ...(signal === undefined ? {} : { signal }) };
    await this.#exclusive(async () => {
      // Twice: the first revision in hand may be outdated by a write whose answer was lost, or by the CRM.
      for (let attempt = 1; ; attempt += 1) {
        const sentAt = this.#options.clock.elapsedMs();
        try {
          if (this.#lease === undefined || leaseHolder(this.#lease) === CRM_HOLDER) await this.#get(signal);
          const before = this.#lease;
          const after = await change(before, call);
          if (after === before) return;
          this.#saw(after, sentAt);
          this.#renewedAt = sentAt;
          return;
        } catch (error) {
          const outdated = error instanceof ConflictError || classify(error).reason === "NotFound";
          if (!outdated || attempt === 3) throw error;
          await this.#get(signal);
        }
      }
    });
  }

  async #exclusive(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work, work);
    this.#turn = turn.catch(() => undefined);
    await turn;
  }
}
