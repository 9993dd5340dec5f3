/**
 * Every delay of a failover, derived from two settings of the user: the watchdog's time-out and corosync's token. The proof that a
 * guest never runs twice is one inequality,
 *
 *     M (1 - rho) >= (T + F + W) (1 + rho) + guard
 *
 * where M is how long a majority must report that a node is gone before its lease may be taken, and the right side is how long its
 * host may live on: T until its own corosync knows, F while the last proof of quorum is still good, W until the watchdog fires.
 */

import { CLOSING_RENEWAL_MS } from "../../crds/index.ts";

/** A duration in milliseconds, and why it is that long. */
export interface Derived {
  readonly milliseconds: number;
  readonly because: string;
}

export interface Timings {
  /** T: a cut-off host's corosync has lost quorum after this. */
  readonly membershipChange: Derived;
  /** F: the keeper pets only with a proof of quorum that is at most this old. */
  readonly quorumProofAge: Derived;
  /** W: after the last pet the host is reset. */
  readonly watchdog: Derived;
  /** M: a majority must report the node gone for this long, without interruption. */
  readonly fenceDelay: Derived;
  /** L: the node's lease must not have changed for this long. */
  readonly leaseDuration: Derived;
  /** How often an agent renews its lease, whose annotation is its membership report. */
  readonly leaseRenewal: Derived;
  /** A report counts as fresh for this long; a longer gap starts M again. */
  readonly reportFreshness: Derived;
  /** From the cut to the start of the first guest elsewhere, at most. */
  readonly recoveryBound: Derived;
}

export interface TimingSettings {
  readonly nodes: number;
  /** Default 10. */
  readonly watchdogSeconds?: number;
  /** Default 3000. corosync adds 650 ms for each node above two. */
  readonly tokenMilliseconds?: number;
  /** Present: the cluster has a QDevice, whose vote may lag the membership by its time-outs. */
  readonly qdevice?: { readonly timeoutMilliseconds?: number; readonly syncTimeoutMilliseconds?: number };
  /** The coarsest granularity of the watchdogs in use; default 250. */
  readonly watchdogGranularityMilliseconds?: number;
  /** Token and consensus of the slowest corosync that a host may still run, while it is not what the settings ask for. */
  readonly slowestCorosyncMilliseconds?: number;
  /** Default 2000. */
  readonly leaseRenewalMilliseconds?: number;
}

export type TimingsResult =
  | { readonly ok: true; readonly timings: Timings }
  | { readonly ok: false; readonly reason: string; readonly message: string };

/** Of any two clocks: quartz drifts far less, a virtual machine's clock may be slewed. */
export const CLOCK_RATE_ERROR = 0.001;
const TOKEN_COEFFICIENT = 650;
const CONSENSUS_FACTOR = 1.2;
const PROOF_AGE = 1000;
const GUARD = 500;
/** An agent writes a change of membership at once: until the CRM has seen it. */
const REPORT_DELAY = 250;
/** The two reports that a proof ends with: two renewals, and their way. The CRM looks at each at once. */
const CLOSING_DELAY = 2 * CLOSING_RENEWAL_MS + 50;
/** From the proof to the start command: take the lease, recover, the target's agent sees it. */
const ACT_DELAY = 250;
const QDEVICE_TIMEOUT = 10_000;
const QDEVICE_SYNC_TIMEOUT = 30_000;

/** The token time-out corosync really uses. */
export function effectiveToken(nodes: number, tokenMilliseconds: number): number {
  return tokenMilliseconds + Math.max(0, nodes - 2) * TOKEN_COEFFICIENT;
}

/** After this a corosync with these settings has noticed that it was cut off, and has agreed on who is left: token and consensus. */
export function corosyncDelay(nodes: number, tokenMilliseconds: number): number {
  const token = effectiveToken(nodes, tokenMilliseconds);
  return token + Math.ceil(token * CONSENSUS_FACTOR);
}

/** @returns the timings, or why these settings are refused. Nothing is clamped: what is shown is what was set. */
export function deriveTimings(settings: TimingSettings): TimingsResult {
  const { nodes } = settings;
  const watchdogSeconds = settings.watchdogSeconds ?? 10;
  const tokenMilliseconds = settings.tokenMilliseconds ?? 3000;
  const granularity = settings.watchdogGranularityMilliseconds ?? 250;
  const renewal = settings.leaseRenewalMilliseconds ?? 2000;
  const refusal = refuse(nodes, watchdogSeconds, tokenMilliseconds, renewal, granularity);
  if (refusal) return { ok: false, ...refusal };

  const token = effectiveToken(nodes, tokenMilliseconds);
  const asked = corosyncDelay(nodes, tokenMilliseconds);
  const slowest = Math.max(asked, settings.slowestCorosyncMilliseconds ?? 0);
  const device = settings.qdevice
    ? Math.max(
        settings.qdevice.timeoutMilliseconds ?? QDEVICE_TIMEOUT,
        settings.qdevice.syncTimeoutMilliseconds ?? QDEVICE_SYNC_TIMEOUT,
      )
    : 0;
  const t = slowest + device;
  const w = watchdogSeconds * 1000 + granularity;
  const m = leastFenceDelay(t, PROOF_AGE, w);
  const l = Math.max(0, m - 2 * renewal);
  const bound = t + REPORT_DELAY + m + CLOSING_DELAY + ACT_DELAY;
  const timings: Timings = {
    membershipChange: {
      milliseconds: t,
      because: `token ${tokenMilliseconds} ms + ${Math.max(0, nodes - 2)} x ${TOKEN_COEFFICIENT} ms for ${nodes} nodes = ${token} ms, and consensus ${CONSENSUS_FACTOR} x that${slowest > asked ? `; but a host may still run a slower configuration, with ${slowest} ms for both` : ""}${device > 0 ? `, and ${device} ms in which the QDevice's vote may still be counted` : ""}`,
    },
    quorumProofAge: {
      milliseconds: PROOF_AGE,
      because: `the keeper pets with a proof of quorum of at most ${PROOF_AGE} ms`,
    },
    watchdog: { milliseconds: w, because: `time-out ${watchdogSeconds} s, and ${granularity} ms of granularity` },
    fenceDelay: {
      milliseconds: m,
      because: `a cut-off host is reset within ${t} + ${PROOF_AGE} + ${w} ms; with a clock error of ${CLOCK_RATE_ERROR * 1000} per mille on both sides and a guard of ${GUARD} ms`,
    },
    leaseDuration: {
      milliseconds: l,
      because: `two renewals (${2 * renewal} ms) less than the fence delay, so that it never delays more: a cut-off agent renews until it knows`,
    },
    leaseRenewal: {
      milliseconds: renewal,
      because:
        "an agent renews this often, at once when its membership changes, and some times in a row when a proof can end",
    },
    reportFreshness: {
      milliseconds: 3 * renewal,
      because: "three renewals; one lost write must not start the proof again",
    },
    recoveryBound: {
      milliseconds: bound,
      because: `${t} ms until the others know, ${REPORT_DELAY} ms to report it, ${m} ms of proof, ${CLOSING_DELAY} ms for the reports it ends with, ${ACT_DELAY} ms to act`,
    },
  };
  return checkTimings(timings) ?? { ok: true, timings };
}

/** The inequality itself, on any timings; undefined when they are safe. */
export function checkTimings(timings: Timings): Extract<TimingsResult, { ok: false }> | undefined {
  const needed = leastFenceDelay(
    timings.membershipChange.milliseconds,
    timings.quorumProofAge.milliseconds,
    timings.watchdog.milliseconds,
  );
  const m = timings.fenceDelay.milliseconds;
  if (m < needed) {
    return {
      ok: false,
      reason: "FenceDelayTooShort",
      message: `a fence delay of ${m} ms could recover guests of a host that is not yet reset; it must be at least ${needed} ms`,
    };
  }
  if (timings.leaseDuration.milliseconds > m) {
    return {
      ok: false,
      reason: "LeaseTooLong",
      message: `the lease duration of ${timings.leaseDuration.milliseconds} ms is longer than the fence delay of ${m} ms and would delay every recovery`,
    };
  }
  return undefined;
}

function leastFenceDelay(t: number, f: number, w: number): number {
  return Math.ceil(((t + f + w) * (1 + CLOCK_RATE_ERROR) + GUARD) / (1 - CLOCK_RATE_ERROR));
}

function refuse(
  nodes: number,
  watchdogSeconds: number,
  token: number,
  renewal: number,
  granularity: number,
): { reason: string; message: string } | undefined {
  if (!Number.isInteger(nodes) || nodes < 1)
    return { reason: "InvalidNodeCount", message: `${nodes} is no number of nodes` };
  if (!Number.isInteger(watchdogSeconds) || watchdogSeconds < 5 || watchdogSeconds > 300) {
    return {
      reason: "WatchdogOutOfRange",
      message: `a watchdog of ${watchdogSeconds} s is refused: below 5 s a busy host is reset for nothing, above 300 s no recovery is worth it; set spec.ha.watchdogSeconds to 5..300`,
    };
  }
  if (!Number.isFinite(token) || token < 1000 || token > 60_000) {
    return {
      reason: "TokenOutOfRange",
      message: `a token of ${token} ms is refused: corosync needs at least 1000 ms, and above 60000 ms a cut is not noticed in time; set spec.tokenMilliseconds to 1000..60000`,
    };
  }
  if (granularity < 0 || granularity > watchdogSeconds * 1000) {
    return {
      reason: "WatchdogTooCoarse",
      message: `a watchdog granularity of ${granularity} ms is refused for a time-out of ${watchdogSeconds} s`,
    };
  }
  if (!Number.isFinite(renewal) || renewal < 500 || 3 * renewal > watchdogSeconds * 1000 + token) {
    return {
      reason: "RenewalOutOfRange",
      message: `renewing leases every ${renewal} ms is refused: it must be 500 ms or more, and three of them shorter than watchdog and token together`,
    };
  }
  return undefined;
}
