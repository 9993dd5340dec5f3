import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { Guests } from "../guests/index.ts";
import { GuestOwner } from "../owner/index.ts";
import { NodeCaches } from "./caches.ts";
import { CorosyncSight } from "./corosync-sight.ts";
import { GuestWatch } from "./guest-watch.ts";
import { KeeperCare } from "./keeper-care.ts";
import { NodeLoad } from "./load.ts";
import { loop } from "./loop.ts";
import { Membership } from "./membership.ts";
import { NodeLrm } from "./node-lrm.ts";
import { NodeReport } from "./node-report.ts";
import type { NodeAgentOptions } from "./options.ts";
import { NodeReplication } from "./replication.ts";
import { ShutdownWatch } from "./shutdown-watch.ts";
import { surroundings } from "./surroundings.ts";

export type { NodeAgentOptions } from "./options.ts";

const TICK_MS = 1_000;
const STATUS_MS = 2_000;
const RESUME_MS = 5_000;
const LOAD_MS = 10_000;
const TRANSFER_MS = 5_000;

/**
 * The agent of one node in one cluster: follows the published corosync configuration, keeps the keeper installed, runs the
 * LRM, the replication jobs and the transfer server, and reports. One loop each, none waits for another.
 *
 * What a part knows, the parts after it read: caches and corosync; keeper and guests; replication, membership and the LRM; the report.
 */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #log: Logger;
  readonly #caches: NodeCaches;
  readonly #corosync: CorosyncSight;
  readonly #keeper: KeeperCare;
  readonly #owner: GuestOwner;
  readonly #drivers: Guests;
  readonly #guests: GuestWatch;
  readonly #load: NodeLoad;
  readonly #replication: NodeReplication;
  readonly #membership: Membership;
  readonly #report: NodeReport;
  readonly #shutdown: ShutdownWatch;
  #lrm: NodeLrm | undefined;
  #aliveAt: number;

  constructor(options: NodeAgentOptions) {
    const { client, clock, host, node, namespace, mode, release } = options;
    const log = options.log.child({ namespace });
    this.#options = options;
    this.#log = log;
    this.#aliveAt = clock.elapsedMs();
    const onChange = () => this.#lrm?.poke();
    const caches = new NodeCaches({ ...options, log }, onChange);
    this.#caches = caches;
    const corosync = new CorosyncSight({ host, clock, log, onChange });
    this.#corosync = corosync;
    const goesDown = () => this.#shutdown.requested;
    const keeper = new KeeperCare({ host, clock, log, release, caches, corosync, goesDown, onChange });
    this.#keeper = keeper;
    this.#shutdown = new ShutdownWatch({
      host,
      clock,
      log,
      program: () => keeper.program,
      lrmEnded: () => this.#lrm?.ended === true,
      onRequest: onChange,
    });
    // Disks are prepared by the owner and moved by replication, which finds them by the owner.
    this.#owner = new GuestOwner({
      clock,
      log,
      host,
      node,
      namespace,
      drivers: () => this.#drivers,
      cluster: () => caches.cluster(),
      guest: (name) => caches.guest(name),
      abortReceives: (vmid) => this.#replication.abortReceives(vmid),
      sendVolumes: (guest, target, signal) => this.#replication.sendVolumes(guest, target, signal),
      claim: (name, target) => this.#replication.claimForMove(name, target),
    });
    this.#drivers = new Guests({
      host,
      accelerator: options.accelerator,
      storage: (name) => this.#owner.storage(name),
    });
    const load = new NodeLoad({
      namespace,
      host,
      clock,
      drivers: this.#drivers,
      guests: () => caches.guests().filter((guest) => this.#guests.running(guest.metadata.name) === true),
    });
    this.#load = load;
    const guests = new GuestWatch({
      node,
      namespace,
      client,
      clock,
      log,
      drivers: this.#drivers,
      guests: () => caches.guests(),
      usage: (name) => load.ofGuest(name),
      onChange,
    });
    this.#guests = guests;
    this.#replication = new NodeReplication({
      ...options,
      log,
      caches,
      owner: this.#owner,
      drivers: this.#drivers,
      guests,
    });
    this.#membership = new Membership({ node, host, clock, log, caches, corosync, keeper, guests });
    this.#report = new NodeReport({
      node,
      namespace,
      client,
      clock,
      mode,
      release: release.version,
      caches,
      corosync,
      keeper,
      lastLoad: () => this.#membership.lastLoad,
      guestsHere: () => guests.here(),
      transfer: () => this.#replication.endpoint,
      usage: () => load.ofHost(),
    });
  }

  /** When the LRM loop last went round, on the clock's elapsedMs: a liveness probe looks at its age. */
  get aliveAt(): number {
    return this.#aliveAt;
  }

  /**
   * This process is asked to end because its host goes down: does what the cluster's policy wants of that, as long as it has time.
   * @returns when it is done, or the limit is over.
   */
  async endHost(limitMs: number): Promise<void> {
    const { clock } = this.#options;
    const until = clock.elapsedMs() + limitMs;
    this.#shutdown.signal();
    while (this.#lrm?.ended !== true && clock.elapsedMs() < until) await clock.sleep(200);
  }

  /**
   * Runs until the signal aborts, or a shutdown of the host that was requested was taken back: this agent has let go of all then,
   * and another one is to be run. Guests, corosync and the keeper run on afterwards.
   */
  async run(until: AbortSignal): Promise<void> {
    const { host, clock, node } = this.#options;
    const withdrawn = new AbortController();
    const signal = AbortSignal.any([until, withdrawn.signal]);
    const bootId = await host.bootId();
    await this.#caches.start();
    this.#corosync.start();
    const every = (ms: number, what: string, work: () => Promise<unknown>) =>
      loop(what, ms, work, { clock, log: this.#log, signal });
    const loops = [
      every(TICK_MS, "shutdown", async () => {
        await this.#shutdown.look();
        if (this.#shutdown.withdrawn) withdrawn.abort();
      }),
      every(TICK_MS, "shutdown-unit", () => this.#shutdown.keepUnit()),
      every(TICK_MS, "membership", async () => this.#shutdown.requested || this.#membership.follow()),
      every(TICK_MS, "keeper", () => this.#keeper.keep()),
      every(TICK_MS, "guests", () => this.#lookAtGuests()),
      every(RESUME_MS, "paused-guests", () => this.#resumeForgotten()),
      every(LOAD_MS, "load", () => this.#load.measure()),
      every(STATUS_MS, "status", () => this.#report.write(bootId)),
      every(TICK_MS, "replication", async () => this.#corosync.quorate() && this.#replication.tick(signal)),
      every(TRANSFER_MS, "transfer", () => this.#replication.serve()),
    ];
    await this.#firstLook(signal);
    const parts = {
      node,
      caches: this.#caches,
      corosync: this.#corosync,
      keeper: this.#keeper,
      guests: this.#guests,
      shutdown: this.#shutdown,
    };
    const lrm = new NodeLrm({
      ...this.#options,
      log: this.#log,
      bootId,
      caches: this.#caches,
      keeper: this.#keeper,
      owner: this.#owner,
      guests: this.#guests,
      look: () => {
        this.#aliveAt = clock.elapsedMs();
        return surroundings(parts);
      },
      onMode: (mode, epoch) => this.#report.lrmIs(mode, epoch),
    });
    this.#lrm = lrm;
    await Promise.all([...loops, lrm.run(signal)]);
    await lrm.close();
    await this.#replication.close();
    await this.#corosync.stop();
    await this.#caches.stop();
  }

  /** The LRM begins only when the host has said once what runs on it. */
  async #firstLook(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#resumeForgotten();
        await this.#guests.look();
        return;
      } catch (error) {
        this.#log.error(
          { reason: classify(error).reason },
          `the host does not say what runs on it: ${classify(error).message}`,
        );
        await this.#options.clock.sleep(TICK_MS, signal).catch(() => undefined);
      }
    }
  }

  async #resumeForgotten(): Promise<void> {
    const resumed = await this.#drivers.resumeForgotten();
    if (resumed.length > 0)
      this.#log.warn({ guests: resumed }, "guests that had been paused for a snapshot, and then forgotten, go on");
  }

  async #lookAtGuests(): Promise<void> {
    await this.#guests.look();
    await this.#guests.report();
    await this.#owner.forgetTakeOvers();
  }
}
