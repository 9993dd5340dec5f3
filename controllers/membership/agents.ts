/** What the Leases of the agents say, on this controller's own clock. */
import type { Clock } from "../../clock.ts";
import {
  CRM_HOLDER,
  MEMBERSHIP_ANNOTATION,
  type NodeMembership,
  nodeLeaseName,
  parseNodeMembership,
} from "../../crds/index.ts";
import { type Lease, leaseHolder, type WatchCache } from "../../kube/index.ts";
import type { AgentSight } from "./node-status.ts";

/** An agent renews every 2 s; after this long it is lost. */
export const AGENT_LOST_MS = 10_000;
/** A stream of changes that is silent for longer than this may have missed renewals. */
const STREAM_TRUSTED_MS = 8_000;

export interface AgentReport {
  readonly sight: AgentSight;
  /** The CRM holds the Lease: the node was fenced. */
  readonly fenced: boolean;
  /** Of an agent that is alive and may speak for its node. */
  readonly membership?: NodeMembership;
}

/**
 * Ages of Leases. Silence counts only while this controller itself hears the API server: after an outage, or its own
 * start, every agent has its full time again.
 */
export class LeaseAges {
  readonly #cache: WatchCache<Lease>;
  readonly #clock: Clock;
  readonly #lostMs: number;
  /** Leases that the CRM took: since when, and the revision with which it gave them back. Until that changes no agent has spoken. */
  readonly #taken = new Map<string, { readonly sinceMs: number; readonly givenBack?: string }>();
  #listeningSinceMs: number;

  constructor(cache: WatchCache<Lease>, clock: Clock, lostMs = AGENT_LOST_MS) {
    this.#cache = cache;
    this.#clock = clock;
    this.#lostMs = lostMs;
    this.#listeningSinceMs = clock.elapsedMs();
  }

  /** Call often: it is how an interruption is noticed. */
  listen(): void {
    if (this.#cache.lastSeenAgeMs() > STREAM_TRUSTED_MS) this.#listeningSinceMs = this.#clock.elapsedMs();
  }

  /** To be called at every change of a Lease, in order: the CRM's own writes are no sign of an agent. */
  changed(key: string): void {
    const lease = this.#cache.get(key);
    const taken = this.#taken.get(key);
    if (lease !== undefined && leaseHolder(lease) === CRM_HOLDER)
      this.#taken.set(key, { sinceMs: taken?.sinceMs ?? this.#clock.elapsedMs() });
    else if (lease !== undefined && taken !== undefined && taken.givenBack === undefined)
      this.#taken.set(key, { ...taken, givenBack: revision(lease) });
    else if (lease === undefined || taken?.givenBack !== revision(lease)) this.#taken.delete(key);
  }

  read(namespace: string, node: string): AgentReport {
    this.listen();
    const key = `${namespace}/${nodeLeaseName(node)}`;
    const lease = this.#cache.get(key);
    const changedAtMs = this.#cache.changedAtMs(key);
    if (lease === undefined || changedAtMs === undefined) return { sight: { state: "NeverSeen" }, fenced: false };
    if (leaseHolder(lease) === CRM_HOLDER) return { sight: { state: "Fenced" }, fenced: true };
    const taken = this.#taken.get(key);
    const givenBack = taken?.givenBack === revision(lease);
    const silentMs =
      this.#clock.elapsedMs() - (givenBack && taken ? taken.sinceMs : Math.max(changedAtMs, this.#listeningSinceMs));
    if (givenBack || silentMs >= this.#lostMs) {
      // To the ten seconds, or the message would be written anew at every look.
      const forSeconds = Math.floor(silentMs / 10_000) * 10;
      return { sight: { state: "Silent", forSeconds: Math.min(forSeconds, 60) }, fenced: false };
    }
    const membership = parseNodeMembership(lease.metadata.annotations?.[MEMBERSHIP_ANNOTATION]);
    return { sight: { state: "Alive" }, fenced: false, ...(membership === undefined ? {} : { membership }) };
  }
}

function revision(lease: Lease): string {
  return JSON.stringify(lease.spec);
}

/** What of a Lease matters beyond that it was renewed: a renewal that says the same need not wake anyone. */
export function leaseContent(lease: Lease | undefined): string {
  return lease === undefined
    ? ""
    : JSON.stringify([leaseHolder(lease) === CRM_HOLDER, lease.metadata.annotations?.[MEMBERSHIP_ANNOTATION]]);
}
