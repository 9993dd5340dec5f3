import type { Clock } from "../../clock.ts";
import type { Logger } from "../../log.ts";
import { type CorosyncStatus, type Quorum, QuorumWatch, readStatus } from "../corosync/index.ts";
import type { Host } from "../host/index.ts";
import { membershipReport } from "../membership/index.ts";

const STATUS_MS = 5_000;
const QUORUM_FRESH_MS = 3_000;

/** What this host's corosync says: its quorum, asked twice a second, and the whole of its status, asked seldom. */
export class CorosyncSight {
  readonly #host: Host;
  readonly #clock: Clock;
  readonly #watch: QuorumWatch;
  #status: CorosyncStatus | undefined;
  #statusAt = Number.NEGATIVE_INFINITY;

  constructor({ host, clock, log, onChange }: { host: Host; clock: Clock; log: Logger; onChange: () => void }) {
    this.#host = host;
    this.#clock = clock;
    this.#watch = new QuorumWatch({ host, clock, log, onChange });
  }

  start(): void {
    this.#watch.start();
  }

  async stop(): Promise<void> {
    await this.#watch.stop();
  }

  /** Its last word, however old. */
  get quorum(): Quorum | undefined {
    return this.#watch.last?.quorum;
  }

  /** Quorate, by an answer that is fresh. */
  quorate(): boolean {
    const report = this.#watch.last;
    return (
      report?.quorum.state === "Running" &&
      report.quorum.quorate &&
      this.#clock.elapsedMs() - report.askedAtMs < QUORUM_FRESH_MS
    );
  }

  /** The membership report for the Lease. @param ownId of a host whose corosync says nothing */
  membership(ownId: number): string {
    return JSON.stringify(membershipReport(this.quorum, ownId));
  }

  /** As last refreshed. */
  get status(): CorosyncStatus | undefined {
    return this.#status;
  }

  /** Asks for the status anew where the ring is another one, or the last answer is old. */
  async refresh(): Promise<void> {
    const { quorum } = this;
    const now = this.#clock.elapsedMs();
    const changed =
      quorum?.state === "Running"
        ? quorum.ringId !== ringOf(this.#status)
        : quorum?.state !== this.#status?.quorum.state;
    if (!changed && now - this.#statusAt < STATUS_MS) return;
    this.#status = await readStatus(this.#host, { timeoutMs: 3_000 });
    this.#statusAt = now;
  }
}

function ringOf(status: CorosyncStatus | undefined): string | undefined {
  return status?.quorum.state === "Running" ? status.quorum.ringId : undefined;
}
