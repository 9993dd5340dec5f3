import { existsSync, readdirSync } from "node:fs";
import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";

const BOOT_FILE = "/etc/modules-load.d/quorate-watchdog.conf";
const COMMAND_TIMEOUT_MS = 30_000;
const DEVICE_LIMIT_MS = 3000;

/**
 * Sees to it that the host has the watchdog device: where it has none, loads a driver, now and at every boot.
 * @param module as the ClusterNode says; softdog where it says nothing and the host has no watchdog at all
 * @returns true when the driver was loaded by this call
 * @throws QuorateError WatchdogMissing
 */
export async function ensureWatchdogDevice(
  host: Host,
  device: string,
  module: string | undefined,
  clock: Clock = systemClock,
): Promise<boolean> {
  if (!/^\/dev\/[A-Za-z0-9_/-]+$/.test(device))
    throw new QuorateError(
      "user",
      "InvalidWatchdog",
      `spec.watchdog.device ${JSON.stringify(device)} is not below /dev`,
    );
  if (module !== undefined && !/^[A-Za-z0-9_][A-Za-z0-9_-]*$/.test(module))
    throw new QuorateError(
      "user",
      "InvalidWatchdog",
      `spec.watchdog.module ${JSON.stringify(module)} is no name of a kernel module`,
    );
  if (existsSync(host.path(device))) return false;
  const others = readdirSync(host.path("/dev")).filter((name) => /^watchdog[0-9]+$/.test(name));
  if (module === undefined && others.length > 0) {
    throw new QuorateError(
      "user",
      "WatchdogMissing",
      `this host has no ${device}, but ${others.map((name) => `/dev/${name}`).join(", ")}: set spec.watchdog.device of its ClusterNode to the one to use, or spec.watchdog.module to the driver of ${device}`,
    );
  }
  await load(host, device, module ?? "softdog", clock);
  return true;
}

async function load(host: Host, device: string, module: string, clock: Clock): Promise<void> {
  const missing = (why: string) =>
    new QuorateError(
      "environment",
      "WatchdogMissing",
      `this host has no ${device}, and loading ${module} did not make it: ${why}. Load the driver of its watchdog, or set spec.watchdog of its ClusterNode`,
    );
  try {
    await host.run("modprobe", [module], { timeoutMs: COMMAND_TIMEOUT_MS });
  } catch (error) {
    throw missing(classify(error).message);
  }
  const until = clock.elapsedMs() + DEVICE_LIMIT_MS;
  while (!existsSync(host.path(device))) {
    if (clock.elapsedMs() > until) throw missing("the module is loaded, and no such device came");
    await clock.sleep(50);
  }
  await host.writeFileAtomic(BOOT_FILE, `${module}\n`, { mode: 0o644 });
}
