import { QuorateError } from "../../errors.ts";
import type { Properties } from "./zfs-cli.ts";

/** So many first bytes of a stream tell what kind it is. */
export const STREAM_HEAD_BYTES = 24;

const BEGIN = 0;
const MAGIC = 0x2f5bacbacn;
const KIND_MASK = 3n;
/** Of one snapshot, as `zfs send` and `zfs send -i` write it. Whatever has properties or children (`-p`, `-R`, `-I`) is of kind 2. */
const PLAIN = 1n;

/**
 * Lets through streams of one snapshot alone. One that carries properties could have a copy mounted over a directory of this
 * host or shared, and one of several datasets could bring others along; our own sources never write such.
 * @throws QuorateError `StreamRefused`
 */
export function requirePlainStream(head: Buffer): void {
  const refused = (what: string) =>
    new QuorateError(
      "environment",
      "StreamRefused",
      `the source sent ${what}; only a stream of one snapshot without properties is received. Is the agent of the source what it should be?`,
    );
  if (head.length < STREAM_HEAD_BYTES) throw refused(`${head.length} bytes, which are no stream of ZFS`);
  // The header is in the byte order of the source.
  const little = head.readBigUInt64LE(8) === MAGIC;
  if (!little && head.readBigUInt64BE(8) !== MAGIC) throw refused("what is no stream of ZFS");
  const type = little ? head.readUInt32LE(0) : head.readUInt32BE(0);
  const version = little ? head.readBigUInt64LE(16) : head.readBigUInt64BE(16);
  if (type !== BEGIN || (version & KIND_MASK) !== PLAIN)
    throw refused("a stream with properties, or of several datasets");
}

/**
 * A copy inherits where it is mounted, and there is nothing below it.
 * @param known the properties of the dataset and of what is right below it
 * @throws QuorateError `MountpointNotInherited`, `UnexpectedChildren`
 */
export function requireNothingOfItsOwn(dataset: string, known: ReadonlyMap<string, Properties>): void {
  const mountpoint = known.get(dataset)?.get("mountpoint");
  if (mountpoint?.local === true || mountpoint?.received === true) throw notInherited(dataset, mountpoint);
  const children = [...known.keys()].filter((name) => name.startsWith(`${dataset}/`));
  if (children.length === 0) return;
  throw new QuorateError(
    "user",
    "UnexpectedChildren",
    `${dataset} is a copy and has datasets below it, which no agent makes: ${children.slice(0, 5).join(", ")}. Find out where they are from, and destroy or rename them`,
  );
}

/** @throws QuorateError `MountpointNotInherited` when a stream brought where the dataset is mounted. */
export function requireMountpointOfThisHost(dataset: string, properties: Properties): void {
  const mountpoint = properties.get("mountpoint");
  if (mountpoint?.received === true) throw notInherited(dataset, mountpoint);
}

function notInherited(dataset: string, { value, received }: { value: string; received?: boolean }): QuorateError {
  return new QuorateError(
    "user",
    "MountpointNotInherited",
    `${dataset} has a mountpoint of its own (${value}), ${received === true ? "which came with a stream" : "set on this host"}; it is not used so. Find out why, then: zfs inherit mountpoint ${dataset}`,
  );
}
