import type { Logger } from "../../log.ts";
import type { AskCorosync } from "./ask-corosync.ts";
import { type KeeperConfig, shortestUsableTimeoutMs } from "./config.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import type { OpenWatchdog, WatchdogDevice } from "./device.ts";
import { type History, judge } from "./proof.ts";
import { type Hello, type KeeperStatus, type Operation, Refused } from "./protocol.ts";
import type { ProofRecord, StateFile, StoredState } from "./state-file.ts";

export interface KeeperParts {
  config: KeeperConfig;
  release: string;
  bootId: string;
  device: WatchdogDevice;
  store: DescriptorStore;
  state: StateFile;
  record: ProofRecord;
  ask: AskCorosync;
  /** CLOCK_BOOTTIME: it counts suspend. */
  nowMs: () => number;
  wallTime: () => string;
  log: Logger;
}

/** /proc/uptime counts in these steps. */
const CLOCK_STEP_MS = 10;
const REPEAT_LOG_MS = 10_000;

/**
 * The rules by which the watchdog is petted. What must never be broken:
 *
 * 1. A pet needs a proof of quorum that is at most F old when it is written. Nothing else pets: no timer, no opening or
 *    setting of the device without that proof, no end of this process while systemd holds the device.
 * 2. What is armed or expiring is on the disk before anyone is told, and holds until the host was reset.
 * 3. After `expire`, or when the host outlived a time in which it had to be reset, nothing pets again in this boot.
 * 4. The device never has a longer time-out than was asked for when it was armed.
 *
 * The keeper never arms by itself, and while it is not armed it touches nothing.
 */
export class Keeper {
  readonly #parts: KeeperParts;
  #state: StoredState;
  /** The state on the disk cannot be read: what was armed or ordered is not known. */
  #unreadable: string | undefined;
  #open: OpenWatchdog | undefined;
  /** Read back. */
  #timeoutSeconds: number | undefined;
  #isHeld = false;
  /** A magic close is under way; nothing else may touch the device. */
  #isClosing = false;
  #history: History | undefined;
  #proofAtMs: number | undefined;
  #petAtMs: number | undefined;
  #error: string | undefined;
  #lastLog: { text: string; atMs: number } | undefined;

  /** Takes up what an earlier keeper of this boot left. */
  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#state = { armed: false, expiring: false, since: parts.wallTime(), bootId: parts.bootId };
    try {
      this.#restore(parts.state.load());
    } catch (error) {
      this.#unreadable = `the keeper's state cannot be read (${words(error)}), so it arms and pets nothing; remove the file and restart quorate-keeper`;
      this.#complain(this.#unreadable);
    }
  }

  #restore(stored: StoredState | undefined): void {
    const { log, store, device, record, bootId } = this.#parts;
    if (stored?.armed === true && stored.bootId !== bootId)
      log.warn({ since: stored.since }, "the host was reset since the watchdog was armed: not armed now");
    if (stored?.bootId === bootId) this.#state = stored;
    // Held, but not touched: any call on it could pet.
    if (store.inherited !== undefined) {
      this.#open = device.adopt(store.inherited);
      this.#isHeld = true;
    }
    if (!this.#state.armed) return;
    const last = record.load();
    this.#proofAtMs = last?.askedAtMs;
    this.#history = last ?? { askedAtMs: Number.NEGATIVE_INFINITY, ringId: undefined };
    log.warn({ expiring: this.#state.expiring }, "armed by an earlier keeper: going on");
  }

  /** Asks corosync once and pets if, and only if, the answer is a proof. */
  async tick(): Promise<void> {
    const answer = await this.#parts.ask();
    if ("silent" in answer) return this.#noProof(answer.silent);
    const { history, proves } = judge(this.#history, answer, this.#parts.config);
    this.#history = history;
    if (!answer.quorate) return this.#noProof("this host is in a partition without quorum");
    if (!proves) return this.#noProof("corosync was silent for longer than its token time-out and is not believed yet");
    const lastProofAtMs = this.#proofAtMs;
    this.#proofAtMs = answer.askedAtMs;
    if (!this.#state.armed || this.#state.expiring || this.#isClosing) return;
    if (lastProofAtMs !== undefined && answer.askedAtMs - lastProofAtMs > this.#longestSurvivalMs()) {
      return this.#outlived(answer.askedAtMs - lastProofAtMs);
    }
    this.#petWithProof(answer.ringId);
  }

  /** @throws Refused */
  async handle(operation: Operation): Promise<Hello | KeeperStatus> {
    if (operation === "hello") return { ok: true, release: this.#parts.release, protocol: 1, pid: process.pid };
    if (operation === "arm") await this.#arm();
    if (operation === "disarm") await this.#disarm();
    if (operation === "expire") this.#expire();
    return this.#status();
  }

  get isArmed(): boolean {
    return this.#state.armed;
  }

  /** The only place that keeps the host alive. */
  #petWithProof(ringId: string): void {
    const { nowMs, record } = this.#parts;
    if (!this.#hasFreshProof() || this.#proofAtMs === undefined)
      return this.#noProof("the proof of quorum was too old when it came");
    if (!this.#state.armed || this.#state.expiring || this.#isClosing) return;
    try {
      const open = this.#open ?? this.#openDevice();
      if (this.#timeoutSeconds === undefined) this.#configure(open, "resuming");
      open.pet();
      this.#petAtMs = nowMs();
      record.save({ askedAtMs: this.#proofAtMs, ringId });
      this.#recovered();
    } catch (error) {
      this.#complain(
        `the watchdog ${this.#parts.config.device} could not be petted and the host resets unless it can be soon: ${words(error)}`,
      );
      if (error instanceof Error && "code" in error && (error.code === "ENODEV" || error.code === "EBADF"))
        this.#abandon();
    }
  }

  async #arm(): Promise<void> {
    this.#refuseInTrouble();
    const { config, store, device, log } = this.#parts;
    if (this.#state.expiring)
      throw new Refused("ExpireOrdered", "the host was told to reset; it arms again in its next boot");
    if (this.#state.armed) {
      if (this.#open === undefined)
        throw new Refused("WatchdogUnavailable", this.#error ?? "the watchdog is not open yet; ask again");
      return;
    }
    if (!this.#hasFreshProof())
      throw new Refused(
        "NoQuorumProof",
        `corosync on this host gave no fresh proof of quorum, so the host would reset at once; ${this.#error ?? "ask again"}`,
      );
    if (config.descriptorStore === "Required" && !store.available) {
      throw new Refused(
        "NoDescriptorStore",
        "the keeper was not started by systemd with a descriptor store, so its death would pet the watchdog; install quorate-keeper.service",
      );
    }
    if (device.facts().magicClose === false) throw closesOnDeath();
    this.#save({ armed: true });
    try {
      const open = this.#openDevice();
      this.#configure(open, "arming");
      open.pet();
      this.#petAtMs = this.#parts.nowMs();
      this.#recovered();
      log.warn({ device: config.device, timeoutSeconds: this.#timeoutSeconds }, "armed");
    } catch (error) {
      if (this.#open !== undefined) await this.#close(this.#open);
      this.#save({ armed: false });
      throw error instanceof Refused
        ? error
        : new Refused("WatchdogUnavailable", `the watchdog ${config.device} cannot be armed: ${words(error)}`);
    }
  }

  async #disarm(): Promise<void> {
    this.#refuseInTrouble();
    const { config, device, log } = this.#parts;
    if (this.#state.expiring)
      throw new Refused("ExpireOrdered", "the host was told to reset; that cannot be taken back");
    if (!this.#state.armed) return;
    if ((this.#open?.facts() ?? device.facts()).nowayout === true) {
      throw new Refused(
        "WatchdogNoWayOut",
        `the watchdog ${config.device} cannot be closed before the next boot (nowayout); it is petted on`,
      );
    }
    try {
      // What an earlier keeper armed counts on although this one has not opened it.
      await this.#close(this.#open ?? device.open());
    } catch (error) {
      throw error instanceof Refused
        ? error
        : new Refused(
            "WatchdogNotClosed",
            `the watchdog ${config.device} could not be closed and is petted on: ${words(error)}`,
          );
    }
    this.#save({ armed: false });
    log.warn({ device: config.device }, "disarmed");
  }

  #expire(): void {
    this.#refuseInTrouble();
    if (!this.#state.armed)
      throw new Refused("NotArmed", "the watchdog is not armed, so nothing will reset this host; stop what runs here");
    this.#letExpire("ordered");
  }

  /** In memory first: whatever becomes of the disk, this keeper pets no more. */
  #letExpire(why: string): void {
    this.#state = { ...this.#state, expiring: true };
    this.#parts.log.fatal({ why, device: this.#parts.config.device }, "not petting again: the host resets");
    this.#save({ expiring: true });
  }

  #outlived(withoutProofMs: number): void {
    const text = `the host had no proof of quorum for ${withoutProofMs} ms and was not reset (suspended, or a watchdog that does not work)`;
    this.#complain(text);
    this.#letExpire(text);
  }

  #openDevice(): OpenWatchdog {
    const { device, store, log } = this.#parts;
    const open = device.open();
    this.#open = open;
    this.#timeoutSeconds = undefined;
    this.#isHeld = false;
    if (store.available) {
      store.hold(open.fd);
      this.#isHeld = true;
    } else {
      log.warn("nobody holds the watchdog when this keeper dies: its death pets once more");
    }
    return open;
  }

  /** @throws Refused when arming; a device that was armed already is petted all the same, and the error shown. */
  #configure(open: OpenWatchdog, occasion: "arming" | "resuming"): void {
    const { config } = this.#parts;
    const asked = config.timeoutSeconds;
    const actual = open.setTimeout(asked);
    this.#timeoutSeconds = actual;
    const wrong =
      actual === undefined
        ? new Refused(
            "WatchdogTimeoutUnknown",
            `the watchdog ${config.device} does not say what its time-out is; it is no watchdog or lacks WDIOC_GETTIMEOUT`,
          )
        : actual > asked
          ? new Refused(
              "WatchdogTimeoutMismatch",
              `the watchdog ${config.device} has a time-out of ${actual} s and takes none of ${asked} s; fencing counts on no more than that: set the Cluster's ha.watchdogSeconds to ${actual}`,
            )
          : actual * 1000 < shortestUsableTimeoutMs(config)
            ? new Refused(
                "WatchdogTimeoutTooShort",
                `the watchdog ${config.device} has a time-out of ${actual} s; a healthy host needs ${shortestUsableTimeoutMs(config)} ms`,
              )
            : open.facts().magicClose === true
              ? undefined
              : closesOnDeath();
    if (wrong === undefined) return;
    if (occasion === "arming") throw wrong;
    this.#complain(wrong.message);
  }

  /** @throws Refused: it is still active, and goes on being petted. */
  async #close(open: OpenWatchdog): Promise<void> {
    this.#isClosing = true;
    try {
      const isInactive = await open.magicClose(() => this.#parts.store.drop());
      this.#forgetDevice();
      if (!isInactive)
        throw new Refused(
          "WatchdogNotClosed",
          `the watchdog ${this.#parts.config.device} was closed with the magic letter and is still active; it is petted on`,
        );
    } finally {
      this.#isClosing = false;
    }
  }

  #abandon(): void {
    try {
      this.#parts.store.drop();
      this.#open?.abandon();
    } catch {
      // It is gone.
    }
    this.#forgetDevice();
  }

  #forgetDevice(): void {
    this.#open = undefined;
    this.#timeoutSeconds = undefined;
    this.#isHeld = false;
    this.#petAtMs = undefined;
  }

  /** @throws Refused */
  #save(change: Partial<StoredState>): void {
    const next = { ...this.#state, ...change, since: this.#parts.wallTime(), bootId: this.#parts.bootId };
    try {
      this.#parts.state.save(next);
    } catch (error) {
      throw new Refused(
        "StateNotWritten",
        `the keeper's state could not be written, so nothing of this may be counted on: ${words(error)}`,
      );
    }
    this.#state = next;
  }

  #refuseInTrouble(): void {
    if (this.#unreadable !== undefined) throw new Refused("StateUnreadable", this.#unreadable);
    if (this.#isClosing) throw new Refused("Busy", "the watchdog is being closed; ask again");
  }

  #hasFreshProof(): boolean {
    return this.#proofAtMs !== undefined && this.#ageMs(this.#proofAtMs) <= this.#parts.config.proofMaxAgeMilliseconds;
  }

  /** Rounded up, as the clock rounds down. */
  #ageMs(atMs: number): number {
    return this.#parts.nowMs() - atMs + CLOCK_STEP_MS;
  }

  /** From the last proof: a pet at the end of its age, the time-out, and a second for the device. */
  #longestSurvivalMs(): number {
    const { config } = this.#parts;
    return (this.#timeoutSeconds ?? config.timeoutSeconds) * 1000 + config.proofMaxAgeMilliseconds + 1000;
  }

  #status(): KeeperStatus {
    const { config, device } = this.#parts;
    const { identity, nowayout } = this.#open?.facts() ?? device.facts();
    return {
      ok: true,
      armed: this.#state.armed,
      ...(this.#state.armed ? { since: this.#state.since } : {}),
      expiring: this.#state.expiring,
      device: config.device,
      ...(identity === undefined ? {} : { identity }),
      ...(this.#timeoutSeconds === undefined ? {} : { timeoutSeconds: this.#timeoutSeconds }),
      ...(nowayout === undefined ? {} : { nowayout }),
      quorate: this.#hasFreshProof(),
      ...(this.#proofAtMs === undefined ? {} : { proofAgeMs: this.#ageMs(this.#proofAtMs) }),
      ...(this.#petAtMs === undefined ? {} : { petAgeMs: this.#ageMs(this.#petAtMs) }),
      held: this.#isHeld,
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
  }

  #noProof(why: string): void {
    if (this.#state.armed && !this.#state.expiring) this.#complain(`not petting: ${why}`);
    else this.#error = this.#unreadable ?? why;
  }

  #recovered(): void {
    if (this.#error !== undefined) this.#parts.log.warn("petting again");
    this.#error = undefined;
    this.#lastLog = undefined;
  }

  /** Loud at first and every ten seconds: the log must not become the reason that the keeper stalls. */
  #complain(text: string): void {
    this.#error = text;
    const now = this.#parts.nowMs();
    if (this.#lastLog?.text === text && now - this.#lastLog.atMs < REPEAT_LOG_MS) return;
    this.#lastLog = { text, atMs: now };
    this.#parts.log.error(text);
  }
}

function closesOnDeath(): Refused {
  return new Refused(
    "WatchdogStopsOnClose",
    "the watchdog does not know the magic letter (WDIOF_MAGICCLOSE), so it would disarm when the keeper dies; use another device, or softdog",
  );
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
