import { existsSync, statfsSync } from "node:fs";
import { QuorateError } from "../../errors.ts";
import { toolNames } from "../controlplane/index.ts";
import { cacheFolder, whyNotAvailable } from "../tools/index.ts";

/** Magic number of overlayfs (linux/magic.h). */
const OVERLAYFS = 0x794c7630;
const DEVICES = ["/dev/fuse", "/dev/net/tun", "/dev/loop-control"];

/** Why there can be no lab on this machine, for an error or the reason of a skipped test; undefined when there can. */
export function whyNoLab(): string | undefined {
  if (process.platform !== "linux") return `a lab needs Linux, this is ${process.platform}`;
  if (process.getuid?.() !== 0) return "a lab makes namespaces and mounts: it needs root";
  if (!existsSync("/usr/bin/apt-get")) return "a lab installs what it needs with apt-get: it needs a Debian";
  const missing = DEVICES.filter((device) => !existsSync(device));
  if (missing.length > 0) return `a lab needs ${missing.join(", ")} on this machine`;
  if (statfsSync(cacheFolder("labs")).type === OVERLAYFS) {
    return `hosts are overlays, which cannot lie on an overlay as ${cacheFolder("labs")} does: set QUORATE_CACHE to a real disk`;
  }
  return whyNotAvailable(toolNames(true));
}

/** @throws QuorateError `environment` LabImpossible. */
export function requireLab(): void {
  const reason = whyNoLab();
  if (reason !== undefined) throw new QuorateError("environment", "LabImpossible", reason);
}
