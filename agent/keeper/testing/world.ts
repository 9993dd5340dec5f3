import { processLog } from "../../../log.ts";
import { parseConfig } from "../config.ts";
import type { DescriptorStore } from "../descriptor-store.ts";
import type { OpenWatchdog, WatchdogDevice, WatchdogFacts } from "../device.ts";
import { Keeper } from "../keeper.ts";
import type { Answer } from "../proof.ts";
import type { Operation, Reply } from "../protocol.ts";
import { Refused } from "../protocol.ts";
import type { ProofRecord, StateFile, StoredState } from "../state-file.ts";

/** One second of time-out for each of these. */
export const CONFIG = parseConfig(
  JSON.stringify({
    device: "/dev/watchdog0",
    timeoutSeconds: 10,
    proofMaxAgeMilliseconds: 2000,
    corosyncTimeoutMilliseconds: 2600,
    tokenMilliseconds: 3000,
    settleMilliseconds: 4000,
  }),
);

/** What keeps a watchdog from firing, as the kernel does it. */
export type Ping = { atMs: number; by: "open" | "setTimeout" | "pet" | "close" };

/** A kernel watchdog, by the rules of drivers/watchdog/watchdog_dev.c. */
class FakeDevice implements WatchdogDevice {
  readonly pings: Ping[] = [];
  isActive = false;
  /** Descriptions of what the driver can do. */
  supports: WatchdogFacts = { identity: "Fake Watchdog", magicClose: true, nowayout: false };
  /** What the device makes of a time-out it is asked for; undefined: it does not say. */
  granted: (seconds: number) => number | undefined = (seconds) => seconds;
  openFails: NodeJS.ErrnoException | undefined;
  petFails: NodeJS.ErrnoException | undefined;
  closeFails: "no" | "error" | "stays active" = "no";
  #owners = new Set<object>();
  #letter = false;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  facts(): WatchdogFacts {
    return { nowayout: this.supports.nowayout, active: this.isActive };
  }

  open(): OpenWatchdog {
    if (this.openFails !== undefined) throw this.openFails;
    if (this.#owners.size > 0) throw Object.assign(new Error("EBUSY: resource busy or locked"), { code: "EBUSY" });
    if (!this.isActive) this.#ping("open");
    this.isActive = true;
    this.#letter = false;
    return this.adopt(3);
  }

  adopt(fd: number): OpenWatchdog {
    const owner = {};
    this.#owners.add(owner);
    this.#keepers.add(owner);
    const write = (letter: boolean) => {
      if (this.petFails !== undefined && !letter) throw this.petFails;
      this.#letter = letter;
      this.#ping("pet");
    };
    return {
      fd,
      facts: () => ({ ...this.facts(), ...this.supports }),
      setTimeout: (seconds) => {
        this.#ping("setTimeout");
        return this.granted(seconds);
      },
      pet: () => write(false),
      magicClose: async (drop) => {
        if (this.closeFails === "error") throw new Error("EIO");
        // The write of the letter pets as any other; it is allowed because the device is closed by it.
        this.#letter = true;
        drop();
        if (this.closeFails === "stays active") this.#letter = false;
        this.release(owner);
        return !this.isActive;
      },
      abandon: () => this.release(owner),
    };
  }

  #keepers = new Set<object>();

  /** Systemd takes or gives up its copy. */
  hold(store: object): void {
    this.#owners.add(store);
  }

  /** The last close decides. */
  release(owner: object): void {
    this.#keepers.delete(owner);
    if (!this.#owners.delete(owner) || this.#owners.size > 0) return;
    if (this.#letter && this.supports.nowayout !== true) this.isActive = false;
    else this.#ping("close");
  }

  /** The kernel closes what a dead process had open. */
  closeForDeadKeeper(): void {
    for (const owner of [...this.#keepers]) this.release(owner);
  }

  reset(): void {
    this.isActive = false;
    this.#owners.clear();
    this.#keepers.clear();
  }

  #ping(by: Ping["by"]): void {
    this.pings.push({ atMs: this.#now(), by });
  }
}

/** A host with a watchdog, a disk, systemd, a corosync that says what the test wants, and keepers that come and go. */
export class World {
  nowMs = 1_000_000;
  /** What corosync answers, and after what time. */
  corosync: { quorate: boolean; ringId: string; takesMs: number } | "silent" = {
    quorate: true,
    ringId: "1.1",
    takesMs: 20,
  };
  bootId = "boot-1";
  disk: StoredState | undefined;
  diskFails: "no" | "read" | "write" = "no";
  /** Then the disk is full. */
  writesLeft = Number.POSITIVE_INFINITY;
  record: { askedAtMs: number; ringId: string } | undefined;
  systemd: "present" | "absent" = "present";
  readonly device = new FakeDevice(() => this.nowMs);
  keeper: Keeper;
  #stored = false;

  constructor() {
    this.keeper = this.startKeeper();
  }

  startKeeper(config: Partial<typeof CONFIG> = {}): Keeper {
    const log = processLog("keeper");
    log.level = "silent";
    this.keeper = new Keeper({
      config: { ...CONFIG, ...config },
      release: "test",
      bootId: this.bootId,
      device: this.device,
      store: this.#store(),
      state: this.#state(),
      record: this.#record(),
      ask: () => this.#ask(),
      nowMs: () => this.nowMs,
      wallTime: () => "2026-01-01T00:00:00Z",
      log,
    });
    return this.keeper;
  }

  /** The keeper's process ends, whatever it was doing. */
  killKeeper(): void {
    this.device.closeForDeadKeeper();
  }

  /** The host is reset and boots. */
  reset(): void {
    this.device.reset();
    this.#stored = false;
    this.record = undefined;
    this.bootId = `${this.bootId}'`;
    this.startKeeper();
  }

  async tick(times = 1): Promise<void> {
    for (let i = 0; i < times; i++) {
      await this.keeper.tick();
      this.nowMs += 500;
    }
  }

  async ask(operation: Operation): Promise<Reply> {
    try {
      return await this.keeper.handle(operation);
    } catch (error) {
      if (error instanceof Refused) return { ok: false, reason: error.reason, message: error.message };
      throw error;
    }
  }

  /** Armed and petted. */
  async armed(): Promise<this> {
    await this.tick();
    const reply = await this.ask("arm");
    if (!reply.ok) throw new Error(reply.message);
    return this;
  }

  /** Forgets the pings so far; returns those of what follows. */
  async pingsOf(work: () => Promise<unknown> | unknown): Promise<Ping["by"][]> {
    const before = this.device.pings.length;
    await work();
    return this.device.pings.slice(before).map(({ by }) => by);
  }

  async #ask(): Promise<Answer | { silent: string }> {
    const askedAtMs = this.nowMs;
    if (this.corosync === "silent") {
      this.nowMs += CONFIG.corosyncTimeoutMilliseconds;
      return { silent: "corosync did not answer" };
    }
    const { quorate, ringId, takesMs } = this.corosync;
    this.nowMs += takesMs;
    return { askedAtMs, answeredAtMs: this.nowMs, quorate, ringId };
  }

  #store(): DescriptorStore {
    return {
      available: this.systemd === "present",
      inherited: this.#stored ? 3 : undefined,
      hold: () => {
        this.#stored = true;
        this.device.hold(this);
      },
      drop: () => {
        if (!this.#stored) return;
        this.#stored = false;
        this.device.release(this);
      },
      alive: () => {},
    };
  }

  #state(): StateFile {
    return {
      load: () => {
        if (this.diskFails === "read") throw new Error("EIO");
        return this.disk;
      },
      save: (state) => {
        if (this.diskFails === "write" || this.writesLeft === 0) throw new Error("ENOSPC");
        this.writesLeft -= 1;
        this.disk = state;
      },
    };
  }

  #record(): ProofRecord {
    return {
      load: () => this.record,
      save: (proof) => {
        this.record = proof;
      },
    };
  }
}
