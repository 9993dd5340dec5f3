import { type Clock, systemClock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import { ConflictError } from "./api-errors.ts";
import type { CallOptions, KubeApi } from "./client.ts";
import { LEASES, type Lease } from "./core-types.ts";
import { microTime } from "./micro-time.ts";
import { formatKey, type ObjectKey, type OwnerReference } from "./resource.ts";

type LeaseApi = Pick<KubeApi, "get" | "create" | "replace">;

/** Who holds the Lease; "" when nobody does. */
export function leaseHolder(lease: Lease): string {
  return lease.spec?.holderIdentity ?? "";
}

/** Grows by one whenever the Lease passes to another holder, so an older number in hand means: no longer yours. */
export function leaseEpoch(lease: Lease): number {
  return lease.spec?.leaseTransitions ?? 0;
}

export interface LeaseClaim {
  holder: string;
  /** Whole seconds, at least 1: what others are told. */
  durationSeconds: number;
  /** Merged into those of the Lease. */
  annotations?: Record<string, string>;
  /** Only for its creation. */
  labels?: Record<string, string>;
  ownerReferences?: OwnerReference[];
}

/**
 * @param claim `epoch`: of this first hold; later than any known one, should the Lease have existed before. Default 1.
 * @throws ConflictError (AlreadyExists) when another was faster
 */
export async function createLease(
  client: LeaseApi,
  key: Required<ObjectKey>,
  claim: LeaseClaim & { epoch?: number },
  options: CallOptions & { clock?: Clock } = {},
): Promise<Lease> {
  const now = microTime((options.clock ?? systemClock).wallMs());
  const metadata = {
    name: key.name,
    namespace: key.namespace,
    ...(claim.annotations === undefined ? {} : { annotations: claim.annotations }),
    ...(claim.labels === undefined ? {} : { labels: claim.labels }),
    ...(claim.ownerReferences === undefined ? {} : { ownerReferences: claim.ownerReferences }),
  };
  const spec = {
    holderIdentity: claim.holder,
    leaseDurationSeconds: claim.durationSeconds,
    acquireTime: now,
    renewTime: now,
    leaseTransitions: claim.epoch ?? 1,
  };
  return client.create(LEASES, { metadata, spec }, options);
}

/**
 * Says "still here" for the holder. `lease` is the one last seen; the write happens only if it is still that one.
 * @throws ConflictError when it is not: read it and see who holds it.
 */
export async function renewLease(
  client: LeaseApi,
  lease: Lease,
  change: Pick<Partial<LeaseClaim>, "annotations" | "durationSeconds"> = {},
  options: CallOptions & { clock?: Clock } = {},
): Promise<Lease> {
  const renewTime = microTime((options.clock ?? systemClock).wallMs());
  const duration = change.durationSeconds === undefined ? {} : { leaseDurationSeconds: change.durationSeconds };
  const spec = { ...lease.spec, ...duration, renewTime };
  return client.replace(LEASES, { ...withAnnotations(lease, change.annotations), spec }, options);
}

/**
 * Passes the Lease to another holder and begins a new epoch, if `lease` is still the current one. Whether it may be
 * taken is for the caller to know: for the Lease of a node, only the fencing rule allows it.
 * @throws ConflictError when someone changed it in between; begin the decision anew.
 */
export async function takeLease(
  client: LeaseApi,
  lease: Lease,
  claim: LeaseClaim,
  options: CallOptions & { clock?: Clock } = {},
): Promise<Lease> {
  const now = microTime((options.clock ?? systemClock).wallMs());
  const spec = {
    ...lease.spec,
    holderIdentity: claim.holder,
    leaseDurationSeconds: claim.durationSeconds,
    acquireTime: now,
    renewTime: now,
    leaseTransitions: leaseEpoch(lease) + 1,
  };
  return client.replace(LEASES, { ...withAnnotations(lease, claim.annotations), spec }, options);
}

/** Gives the Lease up; its epoch stays. @throws ConflictError when it is no longer ours to give. */
export async function releaseLease(
  client: LeaseApi,
  lease: Lease,
  options: CallOptions & { clock?: Clock } = {},
): Promise<Lease> {
  const now = microTime((options.clock ?? systemClock).wallMs());
  const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: now };
  return client.replace(LEASES, { ...lease, spec }, options);
}

/** Another holds the Lease, or holds it again with a later epoch. What was done under it must end. */
export class LeaseLostError extends QuorateError {
  readonly holder: string;
  readonly epoch: number;

  constructor(key: ObjectKey, holder: string, epoch: number) {
    const now = holder === "" ? "nobody holds it" : `"${holder}" holds it`;
    super("environment", "LeaseLost", `Lease ${formatKey(key)} is lost: ${now}, epoch ${epoch}`);
    this.name = "LeaseLostError";
    this.holder = holder;
    this.epoch = epoch;
  }
}

export interface HeldLeaseOptions {
  client: LeaseApi;
  key: Required<ObjectKey>;
  /** Unique for this run of this process (or host boot), so that two can never believe they are one. */
  holder: string;
  durationSeconds: number;
  /** Only for its creation. */
  labels?: Record<string, string>;
  ownerReferences?: OwnerReference[];
  clock?: Clock;
}

/**
 * One process's hold on one Lease, with the care that an unreliable network needs: a renewal whose answer was lost is
 * recognised as ours, and how long the hold is certain is measured from before the last request that succeeded.
 */
export class HeldLease {
  readonly #options: HeldLeaseOptions;
  readonly #clock: Clock;
  #lease: Lease | undefined;
  #renewedMs: number | undefined;
  #lastEpoch = 0;

  constructor(options: HeldLeaseOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** The Lease as last written by us; undefined when it is not held. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  get epoch(): number | undefined {
    return this.#lease === undefined ? undefined : leaseEpoch(this.#lease);
  }

  /**
   * `elapsedMs` just before the last successful request was sent. Others saw that renewal later than this, so whoever
   * waits a time `t` from then does not act before `renewedMs + t`.
   */
  get renewedMs(): number | undefined {
    return this.#renewedMs;
  }

  /**
   * Takes the Lease if it is absent, free, ours already, or `mayTake` says so; undefined otherwise.
   * @param mayTake sees the current Lease, held by another
   * @throws ConflictError when another was faster
   */
  async acquire(
    annotations: Record<string, string> | undefined,
    mayTake: (current: Lease) => boolean,
    options: CallOptions & { seen?: Lease } = {},
  ): Promise<Lease | undefined> {
    const { client, key, holder } = this.#options;
    const call = { ...options, clock: this.#clock };
    const sentMs = this.#clock.elapsedMs();
    const current = options.seen ?? (await client.get(LEASES, key, options));
    if (current === undefined) {
      const claim = { ...this.#claim(annotations), epoch: this.#lastEpoch + 1 };
      return this.#holds(await createLease(client, key, claim, call), sentMs);
    }
    const owner = leaseHolder(current);
    if (owner === holder) return this.#holds(await renewLease(client, current, this.#claim(annotations), call), sentMs);
    if (owner !== "" && !mayTake(current)) return undefined;
    return this.#holds(await takeLease(client, current, this.#claim(annotations), call), sentMs);
  }

  /**
   * Merges `annotations` into those of the Lease.
   * @throws LeaseLostError when another holds it, or nobody (then it is no longer held here); any other error: not known,
   * it is still held as far as `renewedMs` carries.
   */
  async renew(annotations: Record<string, string> | undefined, options: CallOptions = {}): Promise<Lease> {
    const { client, key, holder } = this.#options;
    const held = this.#lease;
    if (held === undefined)
      throw new QuorateError("bug", "LeaseNotHeld", `renew Lease ${formatKey(key)}: it is not held`);
    const call = { ...options, clock: this.#clock };
    const sentMs = this.#clock.elapsedMs();
    try {
      return this.#holds(await renewLease(client, held, this.#claim(annotations), call), sentMs);
    } catch (error) {
      if (!(error instanceof ConflictError) && !isGoneObject(error)) throw error;
    }
    // Changed since we wrote it: by another, or by a renewal of ours whose answer never came.
    const againMs = this.#clock.elapsedMs();
    const current = await client.get(LEASES, key, options);
    if (current === undefined || leaseHolder(current) !== holder || leaseEpoch(current) !== leaseEpoch(held)) {
      this.#lease = undefined;
      this.#renewedMs = undefined;
      throw new LeaseLostError(
        key,
        current === undefined ? "" : leaseHolder(current),
        current === undefined ? 0 : leaseEpoch(current),
      );
    }
    return this.#holds(await renewLease(client, current, this.#claim(annotations), call), againMs);
  }

  /** Gives it up at once, so that the next need not wait. Does nothing when it is not held (any more). */
  async release(options: CallOptions = {}): Promise<void> {
    const held = this.#lease;
    this.#lease = undefined;
    this.#renewedMs = undefined;
    if (held === undefined) return;
    const { client, key, holder } = this.#options;
    const call = { ...options, clock: this.#clock };
    try {
      await releaseLease(client, held, call);
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      const current = await client.get(LEASES, key, options);
      if (current !== undefined && leaseHolder(current) === holder && leaseEpoch(current) === leaseEpoch(held)) {
        await releaseLease(client, current, call);
      }
    }
  }

  #claim(annotations: Record<string, string> | undefined): LeaseClaim {
    const { holder, durationSeconds, labels, ownerReferences } = this.#options;
    return {
      holder,
      durationSeconds,
      ...(annotations === undefined ? {} : { annotations }),
      ...(labels === undefined ? {} : { labels }),
      ...(ownerReferences === undefined ? {} : { ownerReferences }),
    };
  }

  #holds(lease: Lease, sentMs: number): Lease {
    this.#lease = lease;
    this.#renewedMs = sentMs;
    this.#lastEpoch = leaseEpoch(lease);
    return lease;
  }
}

function isGoneObject(error: unknown): boolean {
  return error instanceof QuorateError && error.reason === "NotFound";
}

function withAnnotations(lease: Lease, annotations: Record<string, string> | undefined): Lease {
  if (annotations === undefined) return lease;
  return { ...lease, metadata: { ...lease.metadata, annotations: { ...lease.metadata.annotations, ...annotations } } };
}
