import { open } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { QuorateError } from "../../errors.ts";

const TIMEOUT_MS = 5_000;
const LONGEST_LINE = 16 * 1024 * 1024;

export interface QmpEvent {
  readonly event: string;
  readonly data: unknown;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: QuorateError) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * QEMU's machine protocol on one connection. QEMU serves one client at a time: hold it briefly. Errors: `NoAnswer`
 * (transient: it cannot be told what the machine does) and `QmpRefused` (QEMU's own error).
 */
export class QmpClient implements Disposable {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onEvent: (event: QmpEvent) => void;
  #greeted: (() => void) | undefined;
  #next = 1;
  #unfinished = "";

  private constructor(socket: Socket, onEvent: (event: QmpEvent) => void) {
    this.#socket = socket;
    this.#onEvent = onEvent;
    // Not by readline: it passes the socket's errors on to listeners of its own, and none of them would be ours.
    socket.setEncoding("utf8").on("data", (text: string) => this.#received(text));
    socket.on("error", (error) => this.#fail(error.message));
    socket.on("close", () => this.#fail("the connection was closed"));
  }

  /** Connects to `<folder>/<name>` and agrees on capabilities. The folder may have a path of any length. */
  static async connect(
    folder: string,
    name: string,
    options: { timeoutMs?: number; onEvent?: (event: QmpEvent) => void } = {},
  ): Promise<QmpClient> {
    const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    // The path of a socket may have 107 bytes; through a descriptor of its folder it always has few.
    const directory = await open(folder, "r").catch((error: Error) => {
      throw noAnswer(error.message);
    });
    let socket: Socket | undefined;
    try {
      socket = await connected(`/proc/self/fd/${directory.fd}/${name}`, timeoutMs);
      const client = new QmpClient(socket, options.onEvent ?? (() => {}));
      await client.#greeting(timeoutMs);
      await client.command("qmp_capabilities", undefined, timeoutMs);
      return client;
    } catch (error) {
      socket?.destroy();
      throw error;
    } finally {
      await directory.close();
    }
  }

  async command(name: string, args?: Readonly<Record<string, unknown>>, timeoutMs = TIMEOUT_MS): Promise<unknown> {
    if (this.#socket.destroyed) throw noAnswer("the connection is closed");
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(noAnswer(`no answer to ${name} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer });
      this.#socket.write(
        `${JSON.stringify({ execute: name, id, ...(args === undefined ? {} : { arguments: args }) })}\n`,
      );
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  async #greeting(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(noAnswer(`no greeting within ${timeoutMs} ms; does another client hold it?`)),
        timeoutMs,
      );
      const done = (settle: () => void) => () => {
        clearTimeout(timer);
        settle();
      };
      this.#greeted = done(resolve);
      this.#socket.once(
        "close",
        done(() => reject(noAnswer("closed before the greeting"))),
      );
    });
  }

  #received(text: string): void {
    const lines = (this.#unfinished + text).split("\n");
    this.#unfinished = lines.pop() ?? "";
    for (const line of lines) this.#line(line);
    if (this.#unfinished.length > LONGEST_LINE) this.#fail("it sent a line without end");
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#fail("it sent what is no JSON");
      return;
    }
    if (typeof message !== "object" || message === null) return;
    if ("QMP" in message) this.#greeted?.();
    else if ("event" in message)
      this.#onEvent({ event: String(message.event), data: "data" in message ? message.data : undefined });
    else if ("id" in message && typeof message.id === "number") this.#answer(message.id, message);
  }

  #answer(id: number, message: object): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if ("return" in message) {
      waiting.resolve(message.return);
      return;
    }
    const error: unknown = "error" in message ? message.error : undefined;
    const text =
      typeof error === "object" && error !== null && "desc" in error ? String(error.desc) : "no reason given";
    waiting.reject(new QuorateError("environment", "QmpRefused", `QEMU refused: ${text}`));
  }

  #fail(why: string): void {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(noAnswer(why));
    }
    this.#waiting.clear();
    this.#socket.destroy();
  }
}

async function connected(path: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const timer = setTimeout(() => socket.destroy(new Error(`not connected within ${timeoutMs} ms`)), timeoutMs);
    // Stays for the socket's whole life, so that there is no moment in which an error has no listener.
    socket.on("error", (error) => {
      clearTimeout(timer);
      reject(noAnswer(error.message));
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}

function noAnswer(why: string): QuorateError {
  return new QuorateError("transient", "NoAnswer", `QEMU's control socket: ${why}`);
}
