import type { Clock } from "../../clock.ts";
import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import {
  installKeeper,
  KEEPER_PROGRAM,
  KeeperClient,
  type KeeperRelease,
  type KeeperStatus,
  SOCKET_PATH,
} from "../keeper/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { CorosyncSight } from "./corosync-sight.ts";

export interface KeeperCareOptions {
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  readonly release: KeeperRelease;
  readonly caches: NodeCaches;
  readonly corosync: CorosyncSight;
  /** The host goes down: nothing is installed any more. */
  readonly goesDown: () => boolean;
  /** It is armed, or ordered to expire, and was not before; or the other way round. */
  readonly onChange: () => void;
}

/** Beyond corosync's consensus time-out, until a corosync that was silent is believed again. */
const SETTLE_MARGIN_MS = 500;

/** Keeps the keeper of this host installed with the cluster's timings, and passes on the LRM's orders to it. */
export class KeeperCare {
  readonly #options: KeeperCareOptions;
  readonly #client: KeeperClient;
  #status: KeeperStatus | undefined;
  #problem: string | undefined;
  #program: string | undefined;

  constructor(options: KeeperCareOptions) {
    this.#options = options;
    this.#client = new KeeperClient(options.host.path(SOCKET_PATH), { timeoutMs: 3_000 });
  }

  /** Its last answer; undefined when it gave none. */
  get status(): KeeperStatus | undefined {
    return this.#status;
  }

  /** The folder of the program on the host, once it is there. */
  get program(): string | undefined {
    return this.#program;
  }

  /** Why it could not be installed. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Installs, updates and asks it. */
  async keep(): Promise<void> {
    const { host, clock, release, caches, corosync, log, goesDown } = this.#options;
    const cluster = caches.cluster();
    const proofAge = cluster?.status?.timings?.quorumProofAge?.milliseconds;
    // As corosync derived them from its configuration and the number of nodes.
    const { tokenMilliseconds, consensusMilliseconds } = corosync.status?.running ?? {};
    if (
      goesDown() ||
      cluster === undefined ||
      proofAge === undefined ||
      tokenMilliseconds === undefined ||
      consensusMilliseconds === undefined
    ) {
      await this.#ask();
      return;
    }
    try {
      const changed = await installKeeper(host, {
        release,
        clock,
        config: {
          device: caches.self()?.spec.watchdog.device ?? "/dev/watchdog0",
          timeoutSeconds: cluster.spec.ha.watchdogSeconds,
          proofMaxAgeMilliseconds: proofAge,
          corosyncTimeoutMilliseconds: proofAge,
          tokenMilliseconds,
          settleMilliseconds: consensusMilliseconds + SETTLE_MARGIN_MS,
        },
      });
      this.#program = KEEPER_PROGRAM;
      if (changed) log.info({ version: release.version }, "keeper installed");
      this.#problem = undefined;
    } catch (error) {
      this.#problem = classify(error).message;
      throw error;
    } finally {
      await this.#ask();
    }
  }

  async arm(): Promise<void> {
    this.#status = await this.#client.arm();
  }

  async disarm(): Promise<void> {
    this.#status = await this.#client.disarm();
  }

  async expire(why: string): Promise<void> {
    this.#options.log.fatal({ why }, "ordering the keeper to let the watchdog expire");
    this.#status = await this.#client.expire();
  }

  async #ask(): Promise<void> {
    const before = `${this.#status?.armed} ${this.#status?.expiring}`;
    try {
      this.#status = await this.#client.status();
    } catch {
      this.#status = undefined;
    }
    if (`${this.#status?.armed} ${this.#status?.expiring}` !== before) this.#options.onChange();
  }
}
