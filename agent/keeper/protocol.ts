/**
 * What is said on the keeper's socket: one JSON object a line, a request and its reply.
 *
 * - `hello`: which keeper this is.
 * - `status`: changes nothing.
 * - `arm`: open the watchdog; from now on the host resets unless its corosync is quorate. Needs a fresh proof of quorum.
 * - `disarm`: close it, verified. Refused after `expire`.
 * - `expire`: never pet again until the host was reset. Survives a restart of the keeper.
 */
export const OPERATIONS = ["hello", "status", "arm", "disarm", "expire"] as const;
export type Operation = (typeof OPERATIONS)[number];

export interface Hello {
  ok: true;
  /** Of the program, as the unit that started it says. */
  release: string;
  protocol: 1;
  pid: number;
}

export interface KeeperStatus {
  ok: true;
  /** It is, or should be, petted: this is what is on the disk; where that cannot be read, it may be. False is certain. */
  armed: boolean;
  /** Since when, wall clock. */
  since?: string;
  /** `expire` was ordered: the host resets at the latest one time-out after its last pet. */
  expiring: boolean;
  device: string;
  identity?: string;
  /** As read back from the open device; absent while it is not open. Never more than was asked for. */
  timeoutSeconds?: number;
  /** A watchdog that cannot be closed again before the next boot. */
  nowayout?: boolean;
  /** There is a proof of quorum that is young enough to pet with. */
  quorate: boolean;
  /** Age of the youngest proof; absent when there was none since the keeper started. */
  proofAgeMs?: number;
  /** Since the device took the last pet of this keeper. */
  petAgeMs?: number;
  /** Systemd holds the open device too, so that a keeper that dies does not pet it by closing it. */
  held: boolean;
  /** What is wrong now, in words. */
  error?: string;
}

export interface Refusal {
  ok: false;
  /** CamelCase, stable. */
  reason: string;
  message: string;
}

export type Reply = Hello | KeeperStatus | Refusal;

/** A rule of the keeper said no. The socket turns it into a Refusal. */
export class Refused extends Error {
  readonly reason: string;

  constructor(reason: string, message: string) {
    super(message);
    this.name = "Refused";
    this.reason = reason;
  }
}
