import { type KeeperConfig, shortestUsableTimeoutMs } from "./config.ts";
import type { DescriptorStore } from "./descriptor-store.ts";
import type { OpenWatchdog, WatchdogDevice, WatchdogFacts } from "./device.ts";
import { Refused } from "./protocol.ts";

/**
 * The device with systemd as the second owner of its descriptor. It knows how, the Keeper knows when: `open`,
 * `setTimeout`, `pet` and `abandon` each keep the host alive for one time-out more.
 */
export class Watchdog {
  readonly #device: WatchdogDevice;
  readonly #store: DescriptorStore;
  readonly #config: KeeperConfig;
  #open: OpenWatchdog | undefined;
  #isHeld = false;
  #isClosing = false;
  #timeoutSeconds: number | undefined;
  #unfitness: Refused | undefined;
  #petAtMs: number | undefined;

  constructor(device: WatchdogDevice, store: DescriptorStore, config: KeeperConfig) {
    this.#device = device;
    this.#store = store;
    this.#config = config;
  }

  get isOpen(): boolean {
    return this.#open !== undefined;
  }

  /** Systemd has a copy: the end of this process does not close the device. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** A magic close is under way; nothing else may touch the device. */
  get isClosing(): boolean {
    return this.#isClosing;
  }

  /** Read back from the open device. */
  get timeoutSeconds(): number | undefined {
    return this.#timeoutSeconds;
  }

  /** Why the open device cannot be relied on to fence the host, or undefined when it can. In doubt it cannot. */
  get unfitness(): Refused | undefined {
    return this.#unfitness;
  }

  /** When this process last petted the device that is open now. */
  get petAtMs(): number | undefined {
    return this.#petAtMs;
  }

  facts(): WatchdogFacts {
    return this.#open?.facts() ?? this.#device.facts();
  }

  /** Takes over what systemd kept of an earlier keeper. Does not touch it: any call on it could pet. */
  adopt(): void {
    if (this.#store.inherited === undefined) return;
    this.#open = this.#device.adopt(this.#store.inherited);
    this.#isHeld = true;
  }

  /** Opens it, unless it is open, and gives systemd its copy. @throws Error */
  open(): void {
    if (this.#open !== undefined) return;
    this.#open = this.#device.open();
    if (!this.#store.available) return;
    this.#store.hold(this.#open.fd);
    this.#isHeld = true;
  }

  /** Sets the time-out, reads it back, and judges the device. */
  setTimeout(): void {
    this.#timeoutSeconds = this.#opened().setTimeout(this.#config.timeoutSeconds);
    this.#unfitness = unfitness(this.#config, this.#timeoutSeconds, this.facts().magicClose);
  }

  /** @throws Error */
  pet(nowMs: number): void {
    this.#opened().pet();
    this.#petAtMs = nowMs;
  }

  /** Disarms, verified. @throws Refused: it counts on. */
  async close(): Promise<void> {
    const notClosed = (why: string) =>
      new Refused("WatchdogNotClosed", `${this.#config.device} ${why}; it is petted on`);
    this.#isClosing = true;
    try {
      const isInactive = await this.#opened().magicClose(() => this.#store.drop());
      this.#forget();
      if (!isInactive) throw notClosed("was closed with the magic letter and is still active");
    } catch (error) {
      throw error instanceof Refused
        ? error
        : notClosed(`could not be closed: ${error instanceof Error ? error.message : error}`);
    } finally {
      this.#isClosing = false;
    }
  }

  /** Closes it without the magic letter: when it is gone, or when the letter was written already. */
  abandon(): void {
    try {
      this.#store.drop();
      this.#open?.abandon();
    } catch {
      // Nothing is left to close.
    }
    this.#forget();
  }

  #opened(): OpenWatchdog {
    if (this.#open === undefined) throw new Error(`${this.#config.device} is not open`);
    return this.#open;
  }

  #forget(): void {
    this.#open = undefined;
    this.#isHeld = false;
    this.#timeoutSeconds = undefined;
    this.#unfitness = undefined;
    this.#petAtMs = undefined;
  }
}

function unfitness(
  config: KeeperConfig,
  actual: number | undefined,
  magicClose: boolean | undefined,
): Refused | undefined {
  const { device, timeoutSeconds: asked } = config;
  if (actual === undefined) {
    return new Refused(
      "WatchdogTimeoutUnknown",
      `${device} does not say what its time-out is; it is no watchdog, or one without WDIOC_GETTIMEOUT`,
    );
  }
  if (actual > asked) {
    return new Refused(
      "WatchdogTimeoutMismatch",
      `${device} has a time-out of ${actual} s and does not take ${asked} s; fencing waits no longer than that: set the Cluster's spec.ha.watchdogSeconds to ${actual}`,
    );
  }
  if (actual * 1000 < shortestUsableTimeoutMs(config)) {
    return new Refused(
      "WatchdogTimeoutTooShort",
      `${device} has a time-out of ${actual} s; a healthy host needs up to ${shortestUsableTimeoutMs(config)} ms from pet to pet`,
    );
  }
  if (magicClose !== true) {
    return new Refused(
      "WatchdogStopsOnClose",
      `${device} is not known to have the magic close (WDIOF_MAGICCLOSE): it would disarm when the keeper dies; use another device, or softdog`,
    );
  }
  return undefined;
}
