import { once } from "node:events";
import type { Writable } from "node:stream";
import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { type ReplicationStorage, STREAM_HEAD_BYTES } from "../storage/index.ts";
import { type ChildEnd, childFailure, watchChild, withinStall } from "./child.ts";
import type { Connection } from "./connection.ts";
import { connectionLost } from "./frames.ts";
import { type ReceiveRequest, SILENCE_MS } from "./protocol.ts";

export interface ReceiveParts {
  readonly host: Host;
  readonly storage: ReplicationStorage;
  readonly connection: Connection;
  readonly request: ReceiveRequest;
  /** Aborts the receive: the server closes, or the guest is about to be started here. */
  readonly signal: AbortSignal;
  /** Asked again before what was received takes effect. Throws when it must not. */
  readonly admit: () => Promise<void>;
}

/**
 * Receives one stream into the storage. Returns the number of its bytes once the snapshot is there, whole and under its
 * final name. On any other end the receiving command is dead and nothing of the stream remains visible.
 */
export async function receiveStream({
  host,
  storage,
  connection,
  request,
  signal,
  admit,
}: ReceiveParts): Promise<number> {
  const { volume, job, toGuid, marks, guest } = request;
  const kind = request.fromGuid === undefined ? "full" : "incremental";
  const { command, args } = await storage.beginReceive(volume, kind);
  signal.throwIfAborted();
  const child = host.spawn(command, args, { stdio: ["pipe", "ignore", "pipe"] });
  const { ended, kill } = watchChild(child);
  const stopped = new AbortController();
  const onAbort = () => connection.destroy();
  signal.addEventListener("abort", onAbort, { once: true });
  const stopAlive = connection.keepAlive();
  try {
    await connection.send({ ok: true, result: "ready" });
    const failure = (end: ChildEnd) => storage.failure(receiveFailure(volume.volume, end));
    // Streams tell their own end: a command that took the last byte may well be gone before the sender's word of the
    // end is here. Only another end than a good one is known to be a failure at once.
    const failed = new Promise<never>((_, reject) => {
      void ended.then((end) => end.code !== 0 && reject(failure(end)));
    });
    failed.catch(() => {});
    const check = (head: Buffer) => storage.checkStream(head);
    const copied = copy({ connection, sink: child.stdin, ended, stopped: stopped.signal, check }).catch(
      async (error: unknown) => {
        if (error instanceof QuorateError) throw error;
        // A command that reads no more has a reason, and tells it at its end.
        throw failure(await withinStall("ending", ended));
      },
    );
    const bytes = await Promise.race([copied, failed]);
    child.stdin?.end();
    const end = await withinStall("writing the end of the stream", ended);
    if (end.code !== 0) throw failure(end);
    await admit();
    await storage.finishReceive(volume, kind, job, toGuid, marks, guest);
    return bytes;
  } catch (error) {
    stopped.abort();
    await kill();
    if (kind === "full") await storage.discardPartial(volume).catch(() => {});
    throw signal.aborted ? aborted(signal) : error;
  } finally {
    stopAlive();
    signal.removeEventListener("abort", onAbort);
  }
}

/** From the connection to the command, until the end of the stream was announced. Nothing of it before its head was checked. */
async function copy({
  connection,
  sink,
  ended,
  stopped,
  check,
}: {
  connection: Connection;
  sink: Writable | null;
  ended: Promise<ChildEnd>;
  stopped: AbortSignal;
  check: (head: Buffer) => void;
}): Promise<number> {
  if (sink === null) throw new QuorateError("bug", "InternalError", "the receiving command has no standard input");
  let gone = false;
  const end = ended.then(() => {
    gone = true;
  });
  let head: Buffer | undefined = Buffer.alloc(0);
  for (let bytes = 0; ; ) {
    const frame = await connection.reader.next(SILENCE_MS);
    stopped.throwIfAborted();
    if (frame.type === "message") throw connectionLost(`the sender gave up: ${reasonIn(frame.value)}`);
    let piece = frame.type === "end" ? Buffer.alloc(0) : frame.bytes;
    bytes += piece.length;
    if (head !== undefined) {
      head = Buffer.concat([head, piece]);
      if (head.length < STREAM_HEAD_BYTES && frame.type !== "end") continue;
      check(head);
      piece = head;
      head = undefined;
    }
    if (frame.type === "end") {
      if (piece.length > 0) sink.write(piece);
      return bytes;
    }
    if (gone) throw new Error("the receiving command ended before the stream did");
    if (sink.write(piece)) continue;
    // A command that is gone drains nothing any more.
    await withinStall("taking the stream", Promise.race([once(sink, "drain", { signal: stopped }), end]));
  }
}

function receiveFailure(name: string, end: ChildEnd): QuorateError {
  if (end.code !== 0) return childFailure(`receiving ${name}`, end);
  return new QuorateError("environment", "CommandFailed", `receiving ${name}: the command ended before the stream did`);
}

function reasonIn(value: unknown): string {
  const message = typeof value === "object" && value !== null && "message" in value ? value.message : undefined;
  return typeof message === "string" ? message : "no reason given";
}

function aborted(signal: AbortSignal): unknown {
  return signal.reason instanceof QuorateError
    ? signal.reason
    : new QuorateError("transient", "Aborted", "the receive was aborted");
}
