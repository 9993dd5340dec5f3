import type { ChildProcess } from "node:child_process";
import { connect } from "node:tls";
import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { CopyMark, JobId, VolumeRef, VolumeState } from "../storage/index.ts";
import { Connection } from "./connection.ts";
import { commonName, TLS_VERSION, type TlsIdentity } from "./identity.ts";
import { DEFAULT_PORT, PROTOCOL_VERSION, type Request, resultOf, type SnapshotRef } from "./protocol.ts";
import { sendStream } from "./send.ts";

const CONNECT_WITHIN_MS = 10_000;
const ANSWER_WITHIN_MS = 120_000;
const FINISH_WITHIN_MS = 1_000;

export interface TransferTarget {
  /** The node that must answer: its certificate says so. */
  readonly node: string;
  readonly address: string;
  readonly port?: number;
  readonly identity: TlsIdentity;
}

export interface SendOptions {
  readonly job: JobId;
  readonly volume: VolumeRef;
  /** GUID of the base; absent when the whole volume is sent. */
  readonly fromGuid?: string;
  readonly toGuid: string;
  /** What the other nodes have: the receiver remembers it for the day it is the source. */
  readonly marks?: readonly CopyMark[];
  /** The uid of the Guest object: the received volume says it. */
  readonly guest?: string;
  /** Starts the command that writes the stream to its standard output (a pipe, as is standard error). */
  readonly produce: () => ChildProcess;
  readonly bytesPerSecond?: number;
  /** Called for every piece that was sent. */
  readonly onBytes?: (bytes: number) => void;
  /** What the command's failure means. */
  readonly failure: (error: QuorateError) => QuorateError;
  readonly signal?: AbortSignal;
}

/**
 * Asks the agent of another node. Each call is a connection of its own. Errors: those of the other side as they are, and
 * `NetworkUnreachable`, `ConnectionLost` (transient), `NotAMember`, `ProtocolError`.
 */
export class TransferClient {
  readonly #target: TransferTarget;
  readonly #clock: Clock;

  constructor(target: TransferTarget, clock: Clock = systemClock) {
    this.#target = target;
    this.#clock = clock;
  }

  async ping(): Promise<void> {
    await this.#ask({ op: "ping" });
  }

  /** One state for each volume, in that order. */
  async listSnapshots(job: JobId, volumes: readonly VolumeRef[]): Promise<VolumeState[]> {
    const result = await this.#ask({ op: "list-snapshots", job, volumes });
    if (Array.isArray(result) && result.length === volumes.length && result.every(isVolumeState)) return result;
    throw new QuorateError(
      "environment",
      "ProtocolError",
      `node "${this.#target.node}" listed its snapshots in an unknown form`,
    );
  }

  /** Sends one stream. Resolves with its bytes when the other side has the snapshot under its final name. */
  async send(options: SendOptions): Promise<number> {
    const { job, volume, fromGuid, toGuid, marks, guest, signal } = options;
    return this.#with(signal, async (connection) => {
      const request = {
        op: "receive",
        job,
        volume,
        toGuid,
        ...(fromGuid === undefined ? {} : { fromGuid }),
        ...(marks === undefined ? {} : { marks }),
        ...(guest === undefined ? {} : { guest }),
      } as const;
      await this.#request(connection, request);
      return sendStream(connection, options, this.#clock);
    });
  }

  async destroySnapshots(
    job: JobId,
    volume: VolumeRef,
    snapshots: readonly SnapshotRef[],
  ): Promise<{ kept: string[] }> {
    const result = await this.#ask({ op: "destroy-snapshots", job, volume, snapshots });
    const kept = typeof result === "object" && result !== null && "kept" in result ? result.kept : [];
    return { kept: Array.isArray(kept) ? kept.map(String) : [] };
  }

  async rollBack(job: JobId, volume: VolumeRef, snapshot: SnapshotRef): Promise<void> {
    await this.#ask({ op: "roll-back", job, volume, snapshot });
  }

  /** Takes the copy back to the snapshot and keeps what it has beyond it; returns the name of what is kept. */
  async branchOff(job: JobId, volume: VolumeRef, snapshot: SnapshotRef): Promise<string> {
    const result = await this.#ask({ op: "branch-off", job, volume, snapshot });
    return typeof result === "object" && result !== null && "kept" in result ? String(result.kept) : "";
  }

  async destroyReplica(job: JobId, volume: VolumeRef): Promise<void> {
    await this.#ask({ op: "destroy-replica", job, volume });
  }

  async #ask(request: Request): Promise<unknown> {
    return this.#with(undefined, async (connection) => {
      await connection.send({ version: PROTOCOL_VERSION, ...request });
      return this.#answer(connection);
    });
  }

  async #request(connection: Connection, request: Request): Promise<void> {
    await connection.send({ version: PROTOCOL_VERSION, ...request });
    await this.#answer(connection);
  }

  async #answer(connection: Connection): Promise<unknown> {
    const frame = await connection.reader.next(ANSWER_WITHIN_MS);
    if (frame.type === "message") return resultOf(frame.value);
    throw new QuorateError("environment", "ProtocolError", `node "${this.#target.node}" answered with a stream`);
  }

  async #with<T>(signal: AbortSignal | undefined, work: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = await this.#connect(signal);
    const onAbort = () => connection.destroy();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const result = await work(connection);
      await connection.finish(FINISH_WITHIN_MS);
      return result;
    } catch (error) {
      if (signal?.aborted === true)
        throw new QuorateError("transient", "Aborted", `the transfer to node "${this.#target.node}" was aborted`);
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      connection.destroy();
    }
  }

  async #connect(signal: AbortSignal | undefined): Promise<Connection> {
    signal?.throwIfAborted();
    const { node, address, port = DEFAULT_PORT, identity } = this.#target;
    const unreachable = (why: string) =>
      new QuorateError(
        "transient",
        "NetworkUnreachable",
        `node "${node}" at ${address} port ${port} cannot be reached: ${why}`,
      );
    return new Promise((resolve, reject) => {
      const socket = connect({
        ...identity,
        ...TLS_VERSION,
        host: address,
        port,
        // The name in the certificate is the node's; addresses come and go.
        checkServerIdentity: (_, certificate) =>
          commonName(certificate) === node
            ? undefined
            : new QuorateError(
                "environment",
                "NotAMember",
                `${address} port ${port} is not node "${node}" but ${commonName(certificate)}`,
              ),
      });
      const timer = setTimeout(() => fail(unreachable(`no answer within ${CONNECT_WITHIN_MS} ms`)), CONNECT_WITHIN_MS);
      const fail = (error: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(error instanceof QuorateError ? error : unreachable(classify(error).message));
      };
      socket.once("error", fail);
      socket.once("secureConnect", () => {
        clearTimeout(timer);
        socket.off("error", fail);
        socket.setKeepAlive(true, 10_000);
        resolve(new Connection(socket));
      });
    });
  }
}

function isVolumeState(value: unknown): value is VolumeState {
  return (
    typeof value === "object" &&
    value !== null &&
    "exists" in value &&
    "snapshots" in value &&
    Array.isArray(value.snapshots)
  );
}
