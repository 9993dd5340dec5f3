import { constants } from "node:fs";
import { access, open } from "node:fs/promises";
import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import type { Accelerator } from "./qemu-arguments.ts";

export interface QemuOptions {
  /** Default `auto`: kvm where /dev/kvm of the host can be opened, else tcg. */
  readonly accelerator?: Accelerator | "auto";
  /** Program of the host. Default `qemu-system-x86_64`. */
  readonly binary?: string;
}

/** Takes the setting `qemu` of the host's /etc/quorate/agent.json as it is in the file. @throws QuorateError InvalidConfig (user) */
export function qemuOptionsFrom(setting: unknown): QemuOptions {
  const { accelerator, ...others } = (typeof setting === "object" && setting !== null ? setting : {}) as Record<string, unknown>;
  const known = accelerator === undefined || accelerator === "tcg" || accelerator === "kvm" || accelerator === "auto";
  if ((setting !== undefined && typeof setting !== "object") || !known || Object.keys(others).length > 0) {
    throw new QuorateError(
      "user",
      "InvalidConfig",
      `/etc/quorate/agent.json: qemu: ${JSON.stringify(setting)?.slice(0, 200)}; expected {"accelerator": "tcg" | "kvm" | "auto"}`,
    );
  }
  return accelerator === undefined ? {} : { accelerator };
}

/** What to run guests with now. */
export async function chooseAccelerator(host: Host, wanted: Accelerator | "auto" = "auto"): Promise<Accelerator> {
  if (wanted !== "auto") return wanted;
  const device = host.path("/dev/kvm");
  try {
    await access(device, constants.R_OK | constants.W_OK);
    await (await open(device, "r+")).close();
    return "kvm";
  } catch {
    return "tcg";
  }
}
