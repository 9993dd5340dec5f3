import type { Host } from "../host/index.ts";
import { tapName } from "./names.ts";
import type { NetworkDefinition } from "./types.ts";

const TIMEOUT_MS = 15_000;

/** Makes the host's ends of a machine's network interfaces and puts each into its bridge. What was left of before goes first. */
export async function plug(host: Host, vmid: number, networks: readonly NetworkDefinition[]): Promise<void> {
  await unplug(host, vmid, networks);
  for (const [i, { bridge }] of networks.entries()) {
    const tap = tapName(vmid, i);
    await host.run("ip", ["tuntap", "add", "dev", tap, "mode", "tap"], { timeoutMs: TIMEOUT_MS });
    await host.run("ip", ["link", "set", "dev", tap, "master", bridge, "up"], { timeoutMs: TIMEOUT_MS });
  }
}

export async function unplug(host: Host, vmid: number, networks: readonly NetworkDefinition[]): Promise<void> {
  for (const i of networks.keys()) {
    await host.run("ip", ["link", "delete", "dev", tapName(vmid, i)], { timeoutMs: TIMEOUT_MS, exitCodes: [0, 1] });
  }
}
