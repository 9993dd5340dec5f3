import { readFileSync } from "node:fs";

/** /etc/quorate/keeper.json. The agent writes it from Cluster.spec.ha and ClusterNode.spec.watchdog. */
export interface KeeperConfig {
  /** E.g. /dev/watchdog0. */
  device: string;
  /** W: asked of the device and read back. */
  timeoutSeconds: number;
  /** F: how old a proof of quorum may be when the device is petted. */
  proofMaxAgeMilliseconds: number;
  /**
   * After it a question to corosync counts as not answered. May be longer than F: an answer that is too late to pet with still shows
   * that corosync was not silent. Longer than the token would be in vain: then it was.
   */
  corosyncTimeoutMilliseconds: number;
  /** Token time-out of corosync: a longer silence may have cost it its membership without its knowing. [3000] */
  tokenMilliseconds: number;
  /** How long corosync must answer again after such a silence before it is believed: its consensus time-out and some. [5000] */
  settleMilliseconds: number;
  /**
   * Required: arm only when systemd takes a copy of the open device. The kernel pets a watchdog that is closed without the magic
   * letter, so a keeper that dies without this gives the host up to one time-out more. None: for tests. [Required]
   */
  descriptorStore: "Required" | "None";
  /** [/sys/class/watchdog] */
  sysfs: string;
}

/** Pause between two questions to corosync. */
export const POLL_MS = 500;

/** For a question to corosync: two late ones after each other are no silence yet. */
export function questionLimitMs(proofMaxAgeMilliseconds: number, tokenMilliseconds: number): number {
  return Math.max(proofMaxAgeMilliseconds, Math.floor((tokenMilliseconds - 200) / 2));
}

/** @throws Error that names the field and what is allowed. */
export function parseConfig(text: string): KeeperConfig {
  const given: unknown = JSON.parse(text);
  if (typeof given !== "object" || given === null) throw new Error("keeper.json: an object is expected");
  const fields = new Map(Object.entries(given));
  const take = (name: string, fallback: unknown) => {
    const value = fields.get(name) ?? fallback;
    fields.delete(name);
    return value;
  };
  const number = (name: string, from: number, to: number, fallback?: number) => {
    const value = take(name, fallback);
    if (typeof value !== "number" || !Number.isInteger(value) || value < from || value > to) {
      throw new Error(`keeper.json: ${name} must be a whole number from ${from} to ${to}`);
    }
    return value;
  };
  const path = (name: string, fallback?: string) => {
    const value = take(name, fallback);
    if (typeof value !== "string" || !/^\/[^\0\n]+$/.test(value))
      throw new Error(`keeper.json: ${name} must be an absolute path`);
    return value;
  };
  const config: KeeperConfig = {
    device: path("device"),
    timeoutSeconds: number("timeoutSeconds", 3, 600),
    proofMaxAgeMilliseconds: number("proofMaxAgeMilliseconds", 100, 60_000),
    corosyncTimeoutMilliseconds: number("corosyncTimeoutMilliseconds", 100, 60_000),
    tokenMilliseconds: number("tokenMilliseconds", 100, 300_000, 3000),
    settleMilliseconds: number("settleMilliseconds", 0, 600_000, 5000),
    descriptorStore: choice(take("descriptorStore", "Required")),
    sysfs: path("sysfs", "/sys/class/watchdog"),
  };
  if (fields.size > 0) throw new Error(`keeper.json: unknown field ${[...fields.keys()].join(", ")}`);
  if (config.corosyncTimeoutMilliseconds > Math.max(config.tokenMilliseconds, config.proofMaxAgeMilliseconds)) {
    throw new Error(
      "keeper.json: corosyncTimeoutMilliseconds must not be more than tokenMilliseconds: a later answer counts as silence",
    );
  }
  if (shortestUsableTimeoutMs(config) > config.timeoutSeconds * 1000) {
    throw new Error(
      `keeper.json: timeoutSeconds is too short: a host that answers as slowly as allowed would reset; at least ${shortestUsableTimeoutMs(config)} ms`,
    );
  }
  return config;
}

function choice(value: unknown): "Required" | "None" {
  if (value === "Required" || value === "None") return value;
  throw new Error("keeper.json: descriptorStore must be Required or None");
}

/** From one pet to the next on a host whose corosync only just answers in time, and one poll to spare. */
export function shortestUsableTimeoutMs(config: KeeperConfig): number {
  return config.proofMaxAgeMilliseconds + 2 * POLL_MS;
}

export function loadConfig(path: string): KeeperConfig {
  return parseConfig(readFileSync(path, "utf8"));
}
