import { type Clock, systemClock } from "../../clock.ts";
import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import { type Quorum, readQuorum } from "./quorum.ts";

export interface QuorumReport {
  quorum: Quorum;
  /** On the clock's elapsedMs: when corosync was asked. The answer is at least as old as this. */
  askedAtMs: number;
}

export interface QuorumWatchOptions {
  host: Host;
  /** Called when the state, the ring, the members or quorum changed, and with the first answer. Must not throw or wait. */
  onChange: (report: QuorumReport, before: QuorumReport | undefined) => void;
  log: Logger;
  clock?: Clock;
  /** From the end of one question to the next. Default 500. */
  intervalMs?: number;
  /** After it corosync counts as Unresponsive. Default 2000. */
  timeoutMs?: number;
}

/**
 * Asks the host's corosync again and again, one question at a time. For the agent's membership report; the keeper asks
 * for itself.
 */
export class QuorumWatch {
  readonly #options: Required<QuorumWatchOptions>;
  #last: QuorumReport | undefined;
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(options: QuorumWatchOptions) {
    this.#options = { clock: systemClock, intervalMs: 500, timeoutMs: 2000, ...options };
  }

  start(): void {
    if (this.#stop !== undefined) return;
    this.#stop = new AbortController();
    this.#running = this.#poll(this.#stop.signal);
  }

  async stop(): Promise<void> {
    this.#stop?.abort();
    await this.#running;
    this.#stop = undefined;
  }

  /** The last answer. Whoever acts on it looks at its age: an answer that stays away changes nothing here. */
  get last(): QuorumReport | undefined {
    return this.#last;
  }

  async #poll(signal: AbortSignal): Promise<void> {
    const { host, clock, timeoutMs, intervalMs, log, onChange } = this.#options;
    while (!signal.aborted) {
      try {
        const askedAtMs = clock.elapsedMs();
        const report = { quorum: await readQuorum(host, { timeoutMs, signal }), askedAtMs };
        const before = this.#last;
        this.#last = report;
        if (identity(report.quorum) !== (before && identity(before.quorum))) onChange(report, before);
      } catch (error) {
        if (signal.aborted) return;
        log.error({ reason: classify(error).reason }, classify(error).message);
      }
      await clock.sleep(intervalMs, signal).catch(() => {});
    }
  }
}

/** What makes two answers the same one. */
function identity(quorum: Quorum): string {
  if (quorum.state !== "Running") return quorum.state;
  return JSON.stringify([
    quorum.nodeId,
    quorum.ringId,
    quorum.quorate,
    quorum.members,
    quorum.votes,
    quorum.flags,
    quorum.qdeviceVotes,
  ]);
}
