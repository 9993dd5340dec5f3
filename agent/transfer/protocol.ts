import { classify, type ErrorClass, QuorateError } from "../../errors.ts";
import {
  ANY_NODE,
  type CopyMark,
  checkedJob,
  checkedLabel,
  checkedUid,
  type JobId,
  type Snapshot,
  type VolumeRef,
  volumeName,
} from "../storage/index.ts";

/** Raised when old and new cannot understand each other; the server refuses another one with `ProtocolError`. */
export const PROTOCOL_VERSION = 1;

/** Both sides send a sign of life this often while a stream runs, and take a silence of the second length for a cut. */
export const ALIVE_EVERY_MS = 5_000;
export const SILENCE_MS = 30_000;

/** Where connections go when nothing else is said. */
export const DEFAULT_PORT = 8472;

export type SnapshotRef = Pick<Snapshot, "name" | "guid">;

export interface ReceiveRequest {
  readonly op: "receive";
  readonly job: JobId;
  readonly volume: VolumeRef;
  /** The base; absent when the whole volume comes. */
  readonly fromGuid?: string;
  readonly toGuid: string;
  /** What the other nodes have, for the receiver to know should it become the source. */
  readonly marks?: readonly CopyMark[];
  /** The uid of the Guest object whose volume this is. Absent: the sender is of an earlier version. */
  readonly guest?: string;
}

/** One connection carries one request; the answer follows on it. */
export type Request =
  | { readonly op: "ping" }
  | { readonly op: "list-snapshots"; readonly job: JobId; readonly volumes: readonly VolumeRef[] }
  | ReceiveRequest
  | {
      readonly op: "destroy-snapshots";
      readonly job: JobId;
      readonly volume: VolumeRef;
      readonly snapshots: readonly SnapshotRef[];
    }
  | { readonly op: "roll-back"; readonly job: JobId; readonly volume: VolumeRef; readonly snapshot: SnapshotRef }
  | { readonly op: "branch-off"; readonly job: JobId; readonly volume: VolumeRef; readonly snapshot: SnapshotRef }
  | { readonly op: "destroy-replica"; readonly job: JobId; readonly volume: VolumeRef };

export type Answer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly class: ErrorClass; readonly reason: string; readonly message: string };

/** A request out of what a peer sent. Every name in it is checked here; which storage is meant, by the server. */
export function parseRequest(value: unknown): Request {
  const message = record(value, "request");
  if (message.version !== PROTOCOL_VERSION) {
    throw new QuorateError(
      "environment",
      "ProtocolError",
      `protocol version ${String(message.version)} is not ${PROTOCOL_VERSION}; bring both agents to the same release`,
    );
  }
  const job = () => string(message.job, "job");
  switch (message.op) {
    case "ping":
      return { op: "ping" };
    case "list-snapshots": {
      const volumes = array(message.volumes, "volumes").map((volume) => parseVolume(volume, job()));
      return { op: "list-snapshots", job: job(), volumes };
    }
    case "receive": {
      const volume = parseVolume(message.volume, job());
      const from = message.fromGuid;
      return {
        op: "receive",
        job: job(),
        volume,
        toGuid: guid(message.toGuid),
        ...(from === undefined ? {} : { fromGuid: guid(from) }),
        ...(message.guest === undefined ? {} : { guest: checkedUid(string(message.guest, "guest")) }),
        ...(message.marks === undefined ? {} : { marks: array(message.marks, "marks").map(parseMark) }),
      };
    }
    case "destroy-snapshots": {
      const volume = parseVolume(message.volume, job());
      return {
        op: "destroy-snapshots",
        job: job(),
        volume,
        snapshots: array(message.snapshots, "snapshots").map(parseSnapshot),
      };
    }
    case "roll-back":
    case "branch-off":
      return {
        op: message.op,
        job: job(),
        volume: parseVolume(message.volume, job()),
        snapshot: parseSnapshot(message.snapshot),
      };
    case "destroy-replica":
      return { op: "destroy-replica", job: job(), volume: parseVolume(message.volume, job()) };
    default:
      throw malformed(`op ${JSON.stringify(message.op)}`);
  }
}

/** The result of an answer; throws the other side's error as if it had happened here. */
export function resultOf(value: unknown): unknown {
  const answer = record(value, "answer");
  if (answer.ok === true) return answer.result;
  const classes: readonly ErrorClass[] = ["user", "environment", "transient", "bug"];
  const errorClass = classes.find((known) => known === answer.class) ?? "environment";
  throw new QuorateError(errorClass, string(answer.reason, "reason"), string(answer.message, "message"));
}

export function refusal(error: unknown): Answer {
  const known = classify(error);
  return { ok: false, class: known.class, reason: known.reason, message: known.message };
}

function parseVolume(value: unknown, job: string): VolumeRef {
  const { vmid, volume, storage } = record(value, "volume");
  if (typeof vmid !== "number") throw malformed("vmid");
  const ref = {
    vmid,
    volume: string(volume, "volume"),
    storage: checkedLabel("storage name", string(storage, "storage")),
  };
  volumeName(ref);
  checkedJob(job, vmid);
  return ref;
}

function parseSnapshot(value: unknown): SnapshotRef {
  const snapshot = record(value, "snapshot");
  return { name: string(snapshot.name, "name"), guid: guid(snapshot.guid) };
}

function parseMark(value: unknown): CopyMark {
  const mark = record(value, "mark");
  const node = string(mark.node, "node");
  // They become the value of a property, joined by commas.
  if (node !== ANY_NODE && !/^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/.test(node)) throw malformed("node");
  return {
    node,
    ...(mark.guid === undefined ? {} : { guid: guid(mark.guid) }),
    ...(mark.also === true ? { also: true } : {}),
  };
}

function guid(value: unknown): string {
  if (typeof value === "string" && /^[0-9]{1,20}$/.test(value)) return value;
  throw malformed("guid");
}

function string(value: unknown, what: string): string {
  if (typeof value === "string" && value.length <= 100_000) return value;
  throw malformed(what);
}

function array(value: unknown, what: string): unknown[] {
  if (Array.isArray(value) && value.length <= 10_000) return value;
  throw malformed(what);
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw malformed(what);
}

function malformed(what: string): QuorateError {
  return new QuorateError("environment", "ProtocolError", `malformed ${what} in a message of the transfer protocol`);
}
