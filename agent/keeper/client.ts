import { connect } from "node:net";
import { QuorateError } from "../../errors.ts";
import type { Hello, KeeperStatus, Operation, Reply } from "./protocol.ts";

/** The keeper as the agent talks to it: one connection a question. */
export class KeeperClient {
  readonly #socketPath: string;
  readonly #timeoutMs: number;

  /** @param socketPath as this process reaches it: `host.path("/run/quorate/keeper.sock")` */
  constructor(socketPath: string, options: { timeoutMs?: number } = {}) {
    this.#socketPath = socketPath;
    this.#timeoutMs = options.timeoutMs ?? 5000;
  }

  async hello(): Promise<Hello> {
    return (await this.#ask("hello")) as Hello;
  }

  async status(): Promise<KeeperStatus> {
    return (await this.#ask("status")) as KeeperStatus;
  }

  /**
   * Returns once the watchdog is open, its time-out was read back and it took its first pet. An armed one is left as it is.
   * Before the first guest starts here, and never by anything else. @throws QuorateError with the keeper's reason
   */
  async arm(): Promise<KeeperStatus> {
    return (await this.#ask("arm")) as KeeperStatus;
  }

  /** Returns once the watchdog is closed, verified. Only when nothing under HA runs here. @throws QuorateError */
  async disarm(): Promise<KeeperStatus> {
    return (await this.#ask("disarm")) as KeeperStatus;
  }

  /** The host resets within the watchdog's time-out; nothing takes that back. @throws QuorateError NotArmed: nothing will reset it. */
  async expire(): Promise<KeeperStatus> {
    return (await this.#ask("expire")) as KeeperStatus;
  }

  /** @throws QuorateError: KeeperUnreachable (transient), or what the keeper refused with (environment) */
  async #ask(op: Operation): Promise<Hello | KeeperStatus> {
    const reply = await this.#exchange(op);
    if (reply.ok) return reply;
    throw new QuorateError("environment", reply.reason, `the keeper refused to ${op}: ${reply.message}`);
  }

  #exchange(op: Operation): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#socketPath);
      const fail = (why: string) => {
        socket.destroy();
        reject(
          new QuorateError(
            "transient",
            "KeeperUnreachable",
            `the keeper on this host does not answer (${why}); see that quorate-keeper.service runs there`,
          ),
        );
      };
      const timer = setTimeout(() => fail(`no reply to ${op} within ${this.#timeoutMs} ms`), this.#timeoutMs);
      let said = "";
      socket.setEncoding("utf8");
      socket.once("connect", () => socket.write(`${JSON.stringify({ op })}\n`));
      socket.on("data", (chunk: string) => {
        said += chunk;
        const line = /^(.*)\n/.exec(said)?.[1];
        if (line === undefined) return;
        socket.destroy();
        try {
          resolve(JSON.parse(line) as Reply);
        } catch {
          fail("what it said is no JSON");
        }
      });
      socket.once("error", (error) => fail(error.message));
      socket.once("close", () => {
        clearTimeout(timer);
        fail("it closed the connection");
      });
    });
  }
}
