import type { Logger } from "../../log.ts";
import type { AskCorosync } from "./ask-corosync.ts";
import type { KeeperConfig } from "./config.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import type { WatchdogDevice } from "./device.ts";
import { type History, judge } from "./proof.ts";
import { type Hello, type KeeperStatus, type Operation, Refused } from "./protocol.ts";
import type { ProofRecord, StateFile, StoredState } from "./state-file.ts";
import { Watchdog } from "./watchdog.ts";

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
  readonly #watchdog: Watchdog;
  #state: StoredState;
  /** The disk still says that the watchdog is armed, and it could not be corrected. */
  #isDiskStale = false;
  /** The state on the disk cannot be read: what was armed or ordered is not known. */
  #unreadable: string | undefined;
  #history: History | undefined;
  /** When the last question was asked whose answer proved quorum. */
  #proofAtMs: number | undefined;
  /** Corosync has not said anything else since. Its silence takes nothing back before F is over. */
  #isProofLastWord = false;
  #error: string | undefined;
  #logged: { text: string; atMs: number } | undefined;

  /** Takes up what an earlier keeper of this boot left. */
  constructor(parts: KeeperParts) {
    this.#parts = parts;
    this.#watchdog = new Watchdog(parts.device, parts.store, parts.config);
    this.#state = { armed: false, expiring: false, since: parts.wallTime(), bootId: parts.bootId };
    try {
      this.#restore(parts.state.load());
    } catch (error) {
      this.#unreadable = `the keeper's state cannot be read (${words(error)}), so it arms and pets nothing; remove the file and restart quorate-keeper`;
      this.#complain(this.#unreadable);
    }
  }

  #restore(stored: StoredState | undefined): void {
    const { log, record, bootId } = this.#parts;
    if (stored?.bootId === bootId) this.#state = stored;
    else if (stored?.armed === true)
      log.warn({ since: stored.since }, "the host was reset since the watchdog was armed: it is not armed now");
    this.#watchdog.adopt();
    if (!this.#state.armed) {
      // A keeper that died between the magic letter and the last close: this is that close.
      if (this.#watchdog.isOpen) this.#watchdog.abandon();
      return;
    }
    const last = record.load();
    this.#proofAtMs = last?.askedAtMs;
    this.#history = last ?? { askedAtMs: Number.NEGATIVE_INFINITY, ringId: undefined };
    log.warn({ since: this.#state.since, expiring: this.#state.expiring }, "armed by an earlier keeper: going on");
  }

  /** Asks corosync once and pets if, and only if, the answer is a proof. */
  async tick(): Promise<void> {
    const answer = await this.#parts.ask();
    if ("silent" in answer) return this.#withoutProof(answer.silent);
    const { history, proves } = judge(this.#history, answer, this.#parts.config);
    this.#history = history;
    this.#isProofLastWord = proves;
    if (!answer.quorate) return this.#withoutProof("this host is in a partition without quorum");
    if (!proves)
      return this.#withoutProof("corosync was silent for longer than its token time-out and is not believed yet");
    const gapMs = answer.askedAtMs - (this.#proofAtMs ?? answer.askedAtMs);
    this.#proofAtMs = answer.askedAtMs;
    if (this.#isPettable() && gapMs > this.#longestSurvivalMs()) this.#outlived(gapMs);
    if (this.#isPettable()) this.#keepAlive();
    else if (!this.#state.armed) this.#error = this.#unreadable;
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

  #keepAlive(): void {
    try {
      this.#requireFreshProof();
      this.#watchdog.open();
      if (this.#watchdog.timeoutSeconds === undefined) this.#watchdog.setTimeout();
      this.#pet();
    } catch (error) {
      this.#complain(`the watchdog is not petted, and the host resets unless it can be soon: ${words(error)}`);
      if (error instanceof Error && "code" in error && (error.code === "ENODEV" || error.code === "EBADF"))
        this.#watchdog.abandon();
    }
  }

  /** The only place that writes a pet. @throws Error */
  #pet(): void {
    const proofAtMs = this.#requireFreshProof();
    this.#watchdog.pet(this.#parts.nowMs());
    this.#parts.record.save({ askedAtMs: proofAtMs, ringId: this.#history?.ringId ?? "" });
    if (this.#error !== undefined) this.#parts.log.warn("petting again");
    this.#error = undefined;
  }

  async #arm(): Promise<void> {
    this.#refuseInTrouble();
    const { config, store, log, wallTime } = this.#parts;
    if (this.#state.expiring)
      throw new Refused("ExpireOrdered", "the host was told to reset; it arms again in its next boot");
    if (!this.#hasFreshProof())
      throw new Refused(
        "NoQuorumProof",
        `without a fresh proof of quorum the host resets; ${this.#error ?? "ask again"}`,
      );
    if (this.#state.armed) {
      if (this.#watchdog.unfitness !== undefined) throw this.#watchdog.unfitness;
      if (this.#watchdog.petAtMs === undefined || this.#error !== undefined)
        throw new Refused("WatchdogUnavailable", `armed before, and not petted now: ${this.#error ?? "ask again"}`);
      return;
    }
    if (config.descriptorStore === "Required" && !store.available) {
      throw new Refused(
        "NoDescriptorStore",
        "no systemd holds the device when the keeper dies, so its death would pet; start it as quorate-keeper.service",
      );
    }
    this.#save({ armed: true, since: wallTime() });
    try {
      this.#watchdog.open();
      this.#watchdog.setTimeout();
      if (this.#watchdog.unfitness !== undefined) throw this.#watchdog.unfitness;
      this.#error = undefined;
      this.#pet();
    } catch (error) {
      await this.#letGo();
      throw error instanceof Refused
        ? error
        : new Refused(
            "WatchdogUnavailable",
            `${config.device} cannot be armed: ${words(error)}. It must exist, and no other program may have it open (systemd with RuntimeWatchdogSec=, watchdogd, watchdog-mux, sbd)`,
          );
    }
    log.warn({ device: config.device, timeoutSeconds: this.#watchdog.timeoutSeconds }, "armed");
  }

  async #disarm(): Promise<void> {
    this.#refuseInTrouble();
    const { device } = this.#parts.config;
    if (this.#state.expiring)
      throw new Refused("ExpireOrdered", "the host was told to reset; that cannot be taken back");
    if (!this.#state.armed) {
      if (this.#isDiskStale) this.#save({ armed: false });
      return;
    }
    if (this.#watchdog.facts().nowayout === true) {
      throw new Refused(
        "WatchdogNoWayOut",
        `${device} cannot be closed before the next boot (nowayout); it is petted on`,
      );
    }
    // While nothing is done yet: a disk that takes no word now would not take the one that it was closed.
    this.#save({});
    try {
      // What an earlier keeper armed counts on, also when this one has not opened it yet.
      this.#watchdog.open();
    } catch (error) {
      throw new Refused("WatchdogUnavailable", `${device} cannot be closed: ${words(error)}`);
    }
    await this.#letGo();
    this.#parts.log.warn({ device }, "disarmed");
  }

  /** From the moment the device is closed nothing resets this host, and it must not be said to be armed: whatever becomes of the disk. */
  async #letGo(): Promise<void> {
    if (this.#watchdog.isOpen) await this.#watchdog.close();
    this.#state = { ...this.#state, armed: false };
    this.#isDiskStale = true;
    this.#save({ armed: false });
  }

  #expire(): void {
    this.#refuseInTrouble();
    if (!this.#state.armed)
      throw new Refused("NotArmed", "the watchdog is not armed, so nothing will reset this host; stop what runs here");
    this.#letExpire("ordered");
  }

  #outlived(gapMs: number): void {
    const why = `the host had no proof of quorum for ${gapMs} ms and was not reset: it was suspended, or its watchdog does not work`;
    this.#error = why;
    try {
      this.#letExpire(why);
    } catch (error) {
      this.#complain(words(error));
    }
  }

  /** In memory first: whatever becomes of the disk, this keeper pets no more. @throws Refused */
  #letExpire(why: string): void {
    this.#state = { ...this.#state, expiring: true };
    this.#parts.log.fatal({ why }, "not petting again: the host resets");
    this.#save({ expiring: true });
  }

  #save(change: Partial<StoredState>): void {
    const next = { ...this.#state, ...change };
    try {
      this.#parts.state.save(next);
    } catch (error) {
      throw new Refused(
        "StateNotWritten",
        `the keeper's state could not be written, so do not rely on it: ${words(error)}`,
      );
    }
    this.#state = next;
    this.#isDiskStale = false;
  }

  #refuseInTrouble(): void {
    if (this.#unreadable !== undefined) throw new Refused("StateUnreadable", this.#unreadable);
    if (this.#watchdog.isClosing) throw new Refused("Busy", "the watchdog is being closed; ask again");
  }

  #isPettable(): boolean {
    return this.#state.armed && !this.#state.expiring && !this.#watchdog.isClosing;
  }

  #requireFreshProof(): number {
    if (this.#proofAtMs === undefined || !this.#hasFreshProof())
      throw new Error("the proof of quorum was too old when it came");
    return this.#proofAtMs;
  }

  #hasFreshProof(): boolean {
    return (
      this.#isProofLastWord &&
      this.#proofAtMs !== undefined &&
      this.#ageMs(this.#proofAtMs) <= this.#parts.config.proofMaxAgeMilliseconds
    );
  }

  /** Rounded up, as the clock rounds down. */
  #ageMs(atMs: number): number {
    return this.#parts.nowMs() - atMs + CLOCK_STEP_MS;
  }

  /** From the last proof: a pet at the end of its age, the time-out, and a second for the device. */
  #longestSurvivalMs(): number {
    const { timeoutSeconds, proofMaxAgeMilliseconds } = this.#parts.config;
    return (this.#watchdog.timeoutSeconds ?? timeoutSeconds) * 1000 + proofMaxAgeMilliseconds + 1000;
  }

  #status(): KeeperStatus {
    const { armed, expiring, since } = this.#state;
    const { identity, nowayout } = this.#watchdog.facts();
    const { timeoutSeconds, isHeld, unfitness, petAtMs } = this.#watchdog;
    const error = this.#error ?? unfitness?.message;
    return {
      ok: true,
      // What an earlier keeper armed counts on, though nobody can say any more whether one did.
      armed: armed || this.#unreadable !== undefined,
      expiring,
      device: this.#parts.config.device,
      quorate: this.#hasFreshProof(),
      held: isHeld,
      ...(armed ? { since } : {}),
      ...(identity === undefined ? {} : { identity }),
      ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
      ...(nowayout === undefined ? {} : { nowayout }),
      ...(this.#proofAtMs === undefined ? {} : { proofAgeMs: this.#ageMs(this.#proofAtMs) }),
      ...(petAtMs === undefined ? {} : { petAgeMs: this.#ageMs(petAtMs) }),
      ...(error === undefined ? {} : { error }),
    };
  }

  #withoutProof(why: string): void {
    if (this.#isPettable()) this.#complain(`not petting: ${why}`);
    else if (!this.#state.armed) this.#error = this.#unreadable ?? why;
  }

  /** Loud at first, then every ten seconds: the log must not become the reason that the keeper stalls. */
  #complain(text: string): void {
    this.#error = text;
    const now = this.#parts.nowMs();
    if (this.#logged?.text === text && now - this.#logged.atMs < REPEAT_LOG_MS) return;
    this.#logged = { text, atMs: now };
    this.#parts.log.error(text);
  }
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
