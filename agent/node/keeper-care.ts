import type { Clock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import {
  disarmKeeper,
  ensureWatchdogDevice,
  installKeeper,
  KEEPER_PROGRAM,
  KeeperClient,
  type KeeperRelease,
  type KeeperStatus,
  questionLimitMs,
  removeKeeper,
  SOCKET_PATH,
} from "../keeper/index.ts";
import { removeShutdownUnit } from "../shutdown/index.ts";
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

const DEFAULT_DEVICE = "/dev/watchdog0";
/** A driver that was not there is looked for again after this. */
const DEVICE_RETRY_MS = 30_000;
/** Beyond corosync's consensus time-out, until a corosync that was silent is believed again. */
const SETTLE_MARGIN_MS = 500;

/** Keeps the keeper of this host installed with the cluster's timings, and passes on the LRM's orders to it. */
export class KeeperCare {
  readonly #options: KeeperCareOptions;
  readonly #client: KeeperClient;
  #status: KeeperStatus | undefined;
  #problem: string | undefined;
  #program: string | undefined;
  #noDevice: { at: number; error: QuorateError } | undefined;
  #installing: Promise<unknown> = Promise.resolve();
  #retired = false;
  #arming: Promise<unknown> = Promise.resolve();
  #leaves = false;

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
    return this.#retired ? undefined : this.#program;
  }

  /** Why it could not be installed, or has nothing to arm. */
  get problem(): string | undefined {
    return this.#problem ?? this.#noDevice?.error.message;
  }

  /** Installs, updates and asks it. */
  async keep(): Promise<void> {
    const { host, clock, release, caches, corosync, log, goesDown } = this.#options;
    const cluster = caches.cluster();
    const proofAge = cluster?.status?.timings?.quorumProofAge?.milliseconds;
    // As corosync derived them from its configuration and the number of nodes.
    const { tokenMilliseconds, consensusMilliseconds } = corosync.status?.running ?? {};
    if (
      this.#retired ||
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
      const installed = installKeeper(host, {
        release,
        clock,
        config: {
          device: caches.self()?.spec.watchdog.device ?? DEFAULT_DEVICE,
          timeoutSeconds: cluster.spec.ha.watchdogSeconds,
          proofMaxAgeMilliseconds: proofAge,
          corosyncTimeoutMilliseconds: questionLimitMs(proofAge, tokenMilliseconds),
          tokenMilliseconds,
          settleMilliseconds: consensusMilliseconds + SETTLE_MARGIN_MS,
        },
      });
      this.#installing = installed.catch(() => undefined);
      const changed = await installed;
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

  /** Makes sure that the host has the device first. @throws QuorateError */
  async arm(): Promise<void> {
    const armed = this.#arm();
    this.#arming = armed.catch(() => undefined);
    await armed;
  }

  async #arm(): Promise<void> {
    this.#refuseWhenLeaving();
    if (this.#status?.armed !== true) await this.#ensureDevice();
    this.#refuseWhenLeaving();
    this.#status = await this.#client.arm();
  }

  #refuseWhenLeaving(): void {
    if (!this.#leaves) return;
    throw new QuorateError("user", "NodeLeaves", "this node leaves the cluster: its watchdog is not armed any more");
  }

  async disarm(): Promise<void> {
    this.#status = await this.#client.disarm();
  }

  /**
   * The node leaves: corosync stops soon, and an armed host would reset. When this returns, the watchdog is closed for certain and is
   * not armed again. @throws QuorateError what is in the way of that
   */
  async disarmToLeave(): Promise<void> {
    this.#leaves = true;
    await this.#arming;
    await this.#installing;
    const status = await disarmKeeper(this.#options.host);
    if (status !== undefined) this.#status = status;
  }

  async expire(why: string): Promise<void> {
    this.#options.log.fatal({ why }, "ordering the keeper to let the watchdog expire");
    this.#status = await this.#client.expire();
  }

  /**
   * Takes the keeper off a host that is of no cluster any more, with all that belongs to it; for good. @throws QuorateError while it is
   * armed, or that is not known.
   */
  async remove(): Promise<void> {
    this.#retired = true;
    await this.#installing;
    await this.#ask();
    if (this.#status?.armed === true) {
      throw new QuorateError(
        "transient",
        "KeeperArmed",
        "the keeper stays while the watchdog is armed; disarm it first",
      );
    }
    await removeShutdownUnit(this.#options.host);
    await removeKeeper(this.#options.host);
    this.#status = undefined;
  }

  async #ensureDevice(): Promise<void> {
    const { host, clock, log, caches } = this.#options;
    const { device = DEFAULT_DEVICE, module } = caches.self()?.spec.watchdog ?? {};
    if (this.#noDevice !== undefined && clock.elapsedMs() - this.#noDevice.at < DEVICE_RETRY_MS)
      throw this.#noDevice.error;
    try {
      if (await ensureWatchdogDevice(host, device, module, clock))
        log.info({ device, module: module ?? "softdog" }, "the driver of the watchdog was loaded");
      this.#noDevice = undefined;
    } catch (error) {
      this.#noDevice = { at: clock.elapsedMs(), error: classify(error) };
      throw error;
    }
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
