import { closeSync, constants, openSync, readFileSync, realpathSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ioctl } from "./libc.ts";

/** A watchdog of the kernel (Documentation/watchdog/watchdog-api), or what behaves like one. */
export interface WatchdogDevice {
  /** From sysfs, without touching the device. */
  facts(): WatchdogFacts;
  /** Opening arms. @throws Error */
  open(): OpenWatchdog;
  /** The open device that systemd kept for an earlier keeper. */
  adopt(fd: number): OpenWatchdog;
}

/** What is known; undefined is unknown. */
export interface WatchdogFacts {
  identity?: string | undefined;
  timeoutSeconds?: number | undefined;
  nowayout?: boolean | undefined;
  /** The letter V before closing disarms, and closing without it does not. */
  magicClose?: boolean | undefined;
  active?: boolean | undefined;
}

export interface OpenWatchdog {
  readonly fd: number;
  facts(): WatchdogFacts;
  /** Asks for a time-out and returns what the device says it has now; undefined when it does not say. */
  setTimeout(seconds: number): number | undefined;
  /** @throws Error */
  pet(): void;
  /**
   * Disarms: the letter, then `drop` (which makes systemd close its copy), then close. False when sysfs says that it is
   * still active after two seconds. @throws Error when it could not be closed: it is open and counting as before.
   */
  magicClose(drop: () => void): Promise<boolean>;
  /** Closes without disarming. The kernel pets once more. */
  abandon(): void;
}

const GETSUPPORT = 0x80285700;
const SETTIMEOUT = 0xc0045706;
const GETTIMEOUT = 0x80045707;
const OPTION_MAGICCLOSE = 0x0100;
const CLOSE_LIMIT_MS = 2000;

/** @param sysfs /sys/class/watchdog */
export function watchdogDevice(path: string, sysfs: string): WatchdogDevice {
  const facts = () => sysfsFacts(`${sysfs}/${sysfsName(path)}`);
  return {
    facts,
    // Not blocking: a FIFO in place of a device must not stop the keeper.
    open: () => openWatchdog(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK), facts),
    adopt: (fd) => openWatchdog(fd, facts),
  };
}

function openWatchdog(fd: number, sysfs: () => WatchdogFacts): OpenWatchdog {
  return {
    fd,
    facts: () => ({ ...sysfs(), ...supported(fd) }),
    setTimeout(seconds) {
      const value = Buffer.alloc(4);
      value.writeInt32LE(seconds);
      tryIoctl(fd, SETTIMEOUT, value);
      const readBack = Buffer.alloc(4);
      return tryIoctl(fd, GETTIMEOUT, readBack) ? readBack.readInt32LE() : sysfs().timeoutSeconds;
    },
    pet: () => {
      writeSync(fd, ".");
    },
    async magicClose(drop) {
      writeSync(fd, "V");
      drop();
      closeSync(fd);
      for (let waited = 0; sysfs().active === true; waited += 50) {
        if (waited >= CLOSE_LIMIT_MS) return false;
        await delay(50);
      }
      return true;
    },
    abandon: () => closeSync(fd),
  };
}

/** The device's own word goes before that of sysfs. */
function supported(fd: number): WatchdogFacts {
  const info = Buffer.alloc(40);
  if (!tryIoctl(fd, GETSUPPORT, info)) return {};
  const identity = info.subarray(8, 40);
  const end = identity.indexOf(0);
  return {
    identity: identity.toString("latin1", 0, end === -1 ? 32 : end),
    magicClose: (info.readUInt32LE(0) & OPTION_MAGICCLOSE) !== 0,
  };
}

/** False when the device does not have this; other failures of it show when it is petted. */
function tryIoctl(fd: number, request: number, argument: Buffer): boolean {
  try {
    ioctl(fd, request, argument);
    return true;
  } catch {
    return false;
  }
}

function sysfsName(path: string): string {
  let name = basename(path);
  try {
    name = basename(realpathSync(path));
  } catch {
    // Not there now; its usual name will do.
  }
  // The old name of the first one.
  return name === "watchdog" ? "watchdog0" : name;
}

function sysfsFacts(folder: string): WatchdogFacts {
  const read = (name: string) => {
    try {
      return readFileSync(`${folder}/${name}`, "utf8").trim();
    } catch {
      return undefined;
    }
  };
  const [identity, timeout, nowayout, options, state] = ["identity", "timeout", "nowayout", "options", "state"].map(
    read,
  );
  const isSet = <T>(text: string | undefined, value: (text: string) => T) =>
    text === undefined ? undefined : value(text);
  return {
    identity,
    timeoutSeconds: isSet(timeout, Number),
    nowayout: isSet(nowayout, (text) => text === "1"),
    magicClose: isSet(options, (text) => (Number(text) & OPTION_MAGICCLOSE) !== 0),
    active: isSet(state, (text) => text === "active"),
  };
}
