import { createHash } from "node:crypto";
import { QuorateError } from "../../errors.ts";
import type { GuestKey } from "./types.ts";

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const FILE = /^[A-Za-z0-9][A-Za-z0-9_+.-]{0,127}$/;
const UNIT = /^quorate-guest-([a-z0-9-]+)\.([a-z0-9-]+)\.service$/;

/** Where each guest has its sockets and its console's log. In memory: nothing in it outlives the host. */
const RUNTIME = "/run/quorate/guests";
export const IMAGES = "/var/lib/quorate/images";

/** `lab.web1`: names hold no dot, so the first one parts namespace and name and no two guests share it. */
export function guestId({ namespace, name }: GuestKey): string {
  if (!LABEL.test(namespace) || !LABEL.test(name))
    throw invalid(`${JSON.stringify(`${namespace}.${name}`)} is no name of a guest`);
  return `${namespace}.${name}`;
}

export function unitOf(key: GuestKey): string {
  return `quorate-guest-${guestId(key)}.service`;
}

/** The reverse of `unitOf`; nothing for a unit that is no guest of ours. */
export function guestOfUnit(unit: string): GuestKey | undefined {
  const [, namespace, name] = UNIT.exec(unit) ?? [];
  return namespace !== undefined && name !== undefined ? { namespace, name } : undefined;
}

export function runtimeFolder(key: GuestKey): string {
  return `${RUNTIME}/${guestId(key)}`;
}

/** Path of a file in the image folder: of the folder itself, whatever the name tries. */
export function imageFile(name: string): string {
  if (!FILE.test(name) || name.includes("..")) {
    throw invalid(
      `${JSON.stringify(name)} is not the name of a file in ${IMAGES}; write a name such as debian-12, not a path`,
    );
  }
  return `${IMAGES}/${name}`;
}

/** A hardware address that stays the same wherever the guest runs. */
export function macAddressOf(key: GuestKey, vmid: number, network: string): string {
  const digest = createHash("sha256")
    .update(`${guestId(key)}/${vmid}/${network}`)
    .digest("hex");
  return `52:54:00:${digest.slice(0, 2)}:${digest.slice(2, 4)}:${digest.slice(4, 6)}`;
}

/** The host's end of a network interface: at most 15 characters, unique on the host. */
export function tapName(vmid: number, index: number): string {
  return `q${vmid}n${index}`;
}

export function invalid(message: string): QuorateError {
  return new QuorateError("user", "InvalidDefinition", message);
}
