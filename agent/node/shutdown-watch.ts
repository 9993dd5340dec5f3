import type { Clock } from "../../clock.ts";
import type { Logger } from "../../log.ts";
import type { ShutdownPolicy } from "../ha/index.ts";
import type { Host } from "../host/index.ts";
import type { LrmSurroundings } from "../lrm/index.ts";
import {
  answerShutdown,
  hasShutdownEnded,
  installShutdownUnit,
  isStopping,
  readShutdownRequest,
  restartShutdownUnit,
  type ShutdownRequest,
} from "../shutdown/index.ts";

export interface ShutdownWatchOptions {
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  /** The folder of the installed program on the host, once it is there. */
  readonly program: () => string | undefined;
  /** The LRM has done all that its end needs. */
  readonly lrmEnded: () => boolean;
  /** The host goes down: look at once. */
  readonly onRequest: () => void;
}

const UNIT_CHECK_MS = 30_000;

/** Whether the host goes down, and the answer to it. Once it does, it stays so until the request is taken back. */
export class ShutdownWatch {
  readonly #options: ShutdownWatchOptions;
  #request: ShutdownRequest | undefined;
  /** By a signal in place of the file: there is nothing to answer, and nothing takes it back. */
  #signalled = false;
  #withdrawn = false;
  #beat = 0;
  #unitCheckedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ShutdownWatchOptions) {
    this.#options = options;
  }

  get requested(): boolean {
    return this.#request !== undefined;
  }

  /** The host was to go down and does not: this agent has let go of everything, and must begin anew. */
  get withdrawn(): boolean {
    return this.#withdrawn;
  }

  /** For the LRM. @param policy of the cluster, as its spec says */
  view(policy: "Conditional" | "Freeze" | "Failover" | "Migrate" | undefined): Pick<LrmSurroundings, "shutdown"> {
    if (this.#request === undefined) return {};
    return {
      shutdown: { kind: this.#request.kind, policy: (policy ?? "Conditional").toLowerCase() as ShutdownPolicy },
    };
  }

  /** The host goes down, and this process is asked to end before the unit can say so. How is not known: guests are not kept for it. */
  signal(): void {
    this.#signalled = true;
    this.#take({ kind: "power-off" });
  }

  /** Reads the request and answers it. */
  async look(): Promise<void> {
    const { host, lrmEnded } = this.#options;
    const request = await readShutdownRequest(host);
    if (request === undefined) {
      if (this.#request !== undefined && !this.#signalled) this.#withdrawn = true;
      return;
    }
    this.#take(request);
    this.#beat += 1;
    await answerShutdown(host, { beat: this.#beat, done: lrmEnded() });
  }

  /** Keeps the unit that holds up the shutdown installed and active, and takes back a shutdown that did not come. */
  async keepUnit(): Promise<void> {
    const { host, clock, program, log } = this.#options;
    const now = clock.elapsedMs();
    if (now - this.#unitCheckedAt < UNIT_CHECK_MS) return;
    if (this.#request !== undefined) {
      if (this.#signalled || !(await hasShutdownEnded(host))) return;
      log.warn("the host was to go down and runs on: its agent begins anew");
      await restartShutdownUnit(host);
    } else {
      const folder = program();
      if (folder === undefined || (await isStopping(host))) return;
      await installShutdownUnit(host, folder);
    }
    this.#unitCheckedAt = now;
  }

  #take(request: ShutdownRequest): void {
    if (this.#request !== undefined) return;
    this.#request = request;
    this.#options.log.warn({ kind: request.kind }, "the host goes down");
    this.#options.onRequest();
  }
}
