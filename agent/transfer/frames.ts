import type { Duplex } from "node:stream";
import { QuorateError } from "../../errors.ts";

/**
 * The bytes on a connection: frames of one type byte, a length (32 bits, big endian) and that many bytes. A stream of
 * data ends with an `End` frame and nothing else: a connection that merely closes has been cut.
 */
export const FrameType = { Message: 1, Data: 2, End: 3, Alive: 4 } as const;

export type Frame =
  | { readonly type: "message"; readonly value: unknown }
  /** A piece of a data frame, as it came in. */
  | { readonly type: "data"; readonly bytes: Buffer }
  | { readonly type: "end" };

const HEADER_BYTES = 5;
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export function messageFrame(value: unknown): Buffer {
  const payload = Buffer.from(JSON.stringify(value));
  return Buffer.concat([header(FrameType.Message, payload.length), payload]);
}

export function header(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt8(type, 0);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

export const endFrame: Buffer = header(FrameType.End, 0);
export const aliveFrame: Buffer = header(FrameType.Alive, 0);

/** Reads frames one after the other. Nothing more is read from the connection while nobody asks: that is the backpressure. */
export class FrameReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #pending: Buffer = Buffer.alloc(0);
  #dataLeft = 0;
  #inFlight: Promise<IteratorResult<Buffer>> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(stream: Duplex) {
    this.#chunks = stream.iterator({ destroyOnReturn: false })[Symbol.asyncIterator]();
  }

  /**
   * The next frame. `Alive` frames are swallowed, but count as a sign of life. Throws `ConnectionLost` when the
   * connection ended or nothing at all came for `silenceMs`. Who asks while another waits gets the frame after.
   */
  next(silenceMs: number): Promise<Frame> {
    const next = this.#last.then(() => this.#next(silenceMs));
    this.#last = next.catch(() => {});
    return next;
  }

  async #next(silenceMs: number): Promise<Frame> {
    for (;;) {
      if (this.#dataLeft > 0) {
        if (this.#pending.length === 0) await this.#more(silenceMs);
        const bytes = this.#take(Math.min(this.#dataLeft, this.#pending.length));
        this.#dataLeft -= bytes.length;
        return { type: "data", bytes };
      }
      while (this.#pending.length < HEADER_BYTES) await this.#more(silenceMs);
      const type = this.#pending.readUInt8(0);
      const length = this.#pending.readUInt32BE(1);
      this.#take(HEADER_BYTES);
      if (type === FrameType.Data) this.#dataLeft = length;
      else if (type === FrameType.Message) return { type: "message", value: await this.#message(length, silenceMs) };
      else if (type === FrameType.End && length === 0) return { type: "end" };
      else if (type !== FrameType.Alive || length !== 0)
        throw protocolError(`frame of type ${type} and length ${length}`);
    }
  }

  async #message(length: number, silenceMs: number): Promise<unknown> {
    if (length > MAX_MESSAGE_BYTES) throw protocolError(`message of ${length} bytes`);
    const parts: Buffer[] = [];
    for (let left = length; left > 0; ) {
      if (this.#pending.length === 0) await this.#more(silenceMs);
      const part = this.#take(Math.min(left, this.#pending.length));
      parts.push(part);
      left -= part.length;
    }
    try {
      return JSON.parse(Buffer.concat(parts).toString("utf8"));
    } catch {
      throw protocolError("a message that is no JSON");
    }
  }

  async #more(silenceMs: number): Promise<void> {
    // One read at a time; a read that outlived its caller's patience is picked up by the next.
    this.#inFlight ??= this.#chunks.next();
    this.#inFlight.catch(() => {});
    const result = await withinSilence(this.#inFlight, silenceMs);
    this.#inFlight = undefined;
    if (result.done === true) throw connectionLost("the other side closed the connection before it was done");
    this.#pending = this.#pending.length === 0 ? result.value : Buffer.concat([this.#pending, result.value]);
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return taken;
  }
}

async function withinSilence<T>(read: Promise<T>, silenceMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(connectionLost(`the other side was silent for ${silenceMs} ms`)), silenceMs);
  });
  try {
    return await Promise.race([read, silence]);
  } catch (error) {
    throw error instanceof QuorateError
      ? error
      : connectionLost(error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(timer);
  }
}

export function connectionLost(why: string): QuorateError {
  return new QuorateError("transient", "ConnectionLost", why);
}

export function protocolError(what: string): QuorateError {
  return new QuorateError(
    "environment",
    "ProtocolError",
    `the other side sent ${what}; do both agents have a version that goes together?`,
  );
}
