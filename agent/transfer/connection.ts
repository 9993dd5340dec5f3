import type { TLSSocket } from "node:tls";
import { aliveFrame, connectionLost, FrameReader, FrameType, header, messageFrame } from "./frames.ts";
import { ALIVE_EVERY_MS } from "./protocol.ts";

/** One end of a connection, for messages and for a stream of data. */
export class Connection {
  readonly reader: FrameReader;
  readonly #socket: TLSSocket;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    this.reader = new FrameReader(socket);
    // Errors come out of reading and writing.
    socket.on("error", () => {});
    socket.setNoDelay(true);
  }

  async send(value: unknown): Promise<void> {
    await this.#write(messageFrame(value));
  }

  async sendData(bytes: Buffer): Promise<void> {
    this.#socket.write(header(FrameType.Data, bytes.length));
    await this.#write(bytes);
  }

  async sendFrame(frame: Buffer): Promise<void> {
    await this.#write(frame);
  }

  /** Says from time to time that this end is alive, until the returned function is called. */
  keepAlive(): () => void {
    const timer = setInterval(() => {
      if (this.#socket.writable) this.#socket.write(aliveFrame);
    }, ALIVE_EVERY_MS);
    return () => clearInterval(timer);
  }

  /**
   * Closes after what was written is on its way. The rest of what the peer sends is thrown away meanwhile: closing with
   * unread bytes would reset the connection and with it lose our last message.
   */
  async finish(graceMs: number): Promise<void> {
    if (this.#socket.destroyed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      this.#socket.end();
      this.#discard();
    });
    this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #discard(): void {
    const next = async () => {
      for (;;) await this.reader.next(2 ** 30);
    };
    next().catch(() => {});
  }

  async #write(bytes: Buffer): Promise<void> {
    const socket = this.#socket;
    if (socket.destroyed || !socket.writable) throw connectionLost("the connection is closed");
    if (socket.write(bytes)) return;
    await new Promise<void>((resolve, reject) => {
      const onDrain = () => {
        socket.off("close", onClose);
        resolve();
      };
      const onClose = () => {
        socket.off("drain", onDrain);
        reject(connectionLost("the other side closed the connection while it was sent to"));
      };
      socket.once("drain", onDrain);
      socket.once("close", onClose);
    });
  }
}
