import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import type { ReplicationStorage, StorageDriver, VolumeRef } from "../storage/index.ts";
import { volumeName } from "../storage/index.ts";
import type { Verdict } from "./admission.ts";
import { Connection } from "./connection.ts";
import { peerNode, TLS_VERSION, type TlsIdentity } from "./identity.ts";
import { parseRequest, type Request, refusal } from "./protocol.ts";
import { receiveStream } from "./receive.ts";

const HANDSHAKE_WITHIN_MS = 10_000;
const REQUEST_WITHIN_MS = 10_000;
/**
 * Connections of one address that have not shown a certificate yet. All jobs of a node may be due in the same second; more than
 * that is somebody who wants to keep the others out.
 */
export const UNPROVEN_LIMIT = 100;
const FINISH_WITHIN_MS = 5_000;

export interface TransferServerOptions {
  readonly host: Host;
  /** The storages of the cluster that this node has, by name; nothing else can be reached by a peer. */
  readonly storage: (name: string) => StorageDriver | undefined;
  readonly identity: TlsIdentity;
  readonly listen: { readonly address: string; readonly port: number };
  /** Whether a node of this name belongs to the cluster now. Asked with each request and again with `mayReceive`; a throw is a refusal. */
  readonly isMember: (node: string) => boolean | Promise<boolean>;
  /**
   * Asked before every change, and once more before a received volume takes effect. Must allow only when this node
   * neither owns nor runs the guest and `from` owns it. A throw is a refusal.
   */
  readonly mayReceive: (vmid: number, from: string) => Promise<Verdict>;
  readonly log: Logger;
  readonly clock?: Clock;
  /** For a certificate to be shown; 10 s when it is not said. */
  readonly handshakeWithinMs?: number;
}

export interface TransferServer {
  readonly port: number;
  /** For new connections: certificates that were renewed. */
  setIdentity(identity: TlsIdentity): void;
  /** Ends every receive of this guest and waits until its command is dead. To be called before the guest is started here. */
  abortReceives(vmid: number): Promise<void>;
  close(): Promise<void>;
}

interface Receive {
  readonly vmid: number;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/** Serves the volumes of this node to the other nodes of its cluster, over TLS with certificates on both sides. */
export async function startTransferServer(options: TransferServerOptions): Promise<TransferServer> {
  const receives = new Map<string, Receive>();
  const open = new Set<TLSSocket>();
  const server = createServer({
    ...options.identity,
    ...TLS_VERSION,
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: options.handshakeWithinMs ?? HANDSHAKE_WITHIN_MS,
  });
  const unproven = limitUnproven(server, options.log);
  server.on("tlsClientError", (error, socket) => {
    options.log.warn({ peer: socket.remoteAddress, reason: error.message }, "refused a connection");
    // Node leaves it open.
    socket.destroy();
  });
  server.on("secureConnection", (socket) => {
    unproven.isProven(socket);
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    socket.setKeepAlive(true, 10_000);
    serve(socket, options, receives).catch((error: unknown) => {
      options.log.error({ err: error }, "a transfer connection failed");
      socket.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.listen.address, port: options.listen.port }, () => resolve());
  });
  const address = server.address();
  const abort = async (chosen: Receive[]) => {
    for (const receive of chosen) receive.abort.abort();
    await Promise.all(chosen.map((receive) => receive.done));
  };
  return {
    port: typeof address === "object" && address !== null ? address.port : options.listen.port,
    setIdentity: (identity) => server.setSecureContext({ ...identity, ...TLS_VERSION }),
    abortReceives: (vmid) => abort([...receives.values()].filter((receive) => receive.vmid === vmid)),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await abort([...receives.values()]);
      unproven.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/** Closes what one address opens beyond `UNPROVEN_LIMIT` without showing a certificate. */
function limitUnproven(server: Server, log: Logger): { isProven: (socket: TLSSocket) => void; close: () => void } {
  const unproven = new Map<string, Map<number, Socket>>();
  const forget = (address: string, port: number) => {
    const sockets = unproven.get(address);
    sockets?.delete(port);
    if (sockets?.size === 0) unproven.delete(address);
  };
  server.on("connection", (socket) => {
    const { remoteAddress: address = "", remotePort: port = 0 } = socket;
    const sockets = unproven.get(address) ?? new Map<number, Socket>();
    if (sockets.size >= UNPROVEN_LIMIT) {
      log.debug({ peer: address }, `refused a connection: ${UNPROVEN_LIMIT} are open without a certificate`);
      socket.destroy();
      return;
    }
    unproven.set(address, sockets.set(port, socket));
    socket.once("close", () => forget(address, port));
  });
  return {
    isProven: ({ remoteAddress = "", remotePort = 0 }) => forget(remoteAddress, remotePort),
    close: () => {
      for (const socket of [...unproven.values()].flatMap((sockets) => [...sockets.values()])) socket.destroy();
    },
  };
}

async function serve(socket: TLSSocket, options: TransferServerOptions, receives: Map<string, Receive>): Promise<void> {
  const connection = new Connection(socket);
  try {
    const peer = peerNode(socket);
    await requireMember(options, peer);
    const first = await connection.reader.next(REQUEST_WITHIN_MS);
    const request = parseRequest(first.type === "message" ? first.value : undefined);
    const result = await answer(request, peer, connection, options, receives);
    await connection.send({ ok: true, result });
  } catch (error) {
    const { reason, message } = classify(error);
    options.log.warn({ peer: socket.remoteAddress, reason, message }, "a transfer request failed");
    await connection.send(refusal(error)).catch(() => {});
  }
  await connection.finish(FINISH_WITHIN_MS);
}

async function answer(
  request: Request,
  peer: string,
  connection: Connection,
  options: TransferServerOptions,
  receives: Map<string, Receive>,
): Promise<unknown> {
  if (request.op === "ping") return "pong";
  if (request.op === "list-snapshots") return listSnapshots(request.volumes, options);

  const { volume, job } = request;
  const storage = replicationOf(volume, options);
  const admit = async () => {
    await requireMember(options, peer);
    await requireAllowed(options, volume.vmid, peer);
  };
  await admit();
  switch (request.op) {
    case "receive":
      return exclusively(volume, receives, (signal) =>
        receiveStream({ host: options.host, storage, connection, request, signal, admit }),
      );
    case "destroy-snapshots":
      return storage.destroySnapshots(volume, job, request.snapshots);
    case "roll-back":
      return exclusively(volume, receives, () => storage.rollback(volume, job, request.snapshot));
    case "branch-off": {
      const kept = await exclusively(volume, receives, () =>
        storage.branchOff(volume, job, request.snapshot, options.clock?.wallMs() ?? systemClock.wallMs()),
      );
      options.log.warn(
        { volume: volumeName(volume), job, kept },
        "a copy went on beyond the source's line: kept beside it",
      );
      return { kept };
    }
    case "destroy-replica":
      return exclusively(volume, receives, () => storage.destroyReplica(volume, job));
  }
}

/** In the order of the request; one command for each storage. */
async function listSnapshots(volumes: readonly VolumeRef[], options: TransferServerOptions): Promise<unknown> {
  const byStorage = Map.groupBy(volumes, ({ storage }) => storage);
  const states = await Promise.all(
    [...byStorage.values()].map((group) => {
      const [first] = group;
      return first === undefined ? [] : storageOf(first, options).inspect(group);
    }),
  );
  const found = new Map(
    [...byStorage.values()].flatMap((group, g) => group.map((ref, i) => [ref, states[g]?.[i]] as const)),
  );
  return volumes.map((volume) => found.get(volume));
}

/** One change of a volume at a time. A second one is told to come again: it does not queue behind a long stream. */
async function exclusively<T>(
  volume: VolumeRef,
  receives: Map<string, Receive>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const key = `${volume.storage}/${volumeName(volume)}`;
  if (receives.has(key)) throw new QuorateError("transient", "Locked", `${key} is being received already`);
  const abort = new AbortController();
  const running = work(abort.signal);
  const done = running.then(
    () => {},
    () => {},
  );
  receives.set(key, { vmid: volume.vmid, abort, done });
  try {
    return await running;
  } finally {
    receives.delete(key);
  }
}

/** A certificate is good long after its node has left. */
async function requireMember({ isMember }: TransferServerOptions, peer: string): Promise<void> {
  if (await isMember(peer)) return;
  throw new QuorateError("environment", "NotAMember", `node "${peer}" is not a member of this cluster`);
}

/** Deny by default: also when the question could not be answered. */
async function requireAllowed({ mayReceive }: TransferServerOptions, vmid: number, peer: string): Promise<void> {
  const verdict = await mayReceive(vmid, peer).catch(
    (error: unknown): Verdict => ({
      allowed: false,
      reason: "NotAllowed",
      message: `could not be decided: ${classify(error).message}`,
    }),
  );
  if (verdict.allowed) return;
  throw new QuorateError(
    "environment",
    verdict.reason,
    `node "${peer}" may not change guest ${vmid} here: ${verdict.message}`,
  );
}

function replicationOf(volume: VolumeRef, options: TransferServerOptions): ReplicationStorage {
  const { replication, type } = storageOf(volume, options);
  if (replication !== undefined) return replication;
  throw new QuorateError(
    "user",
    "StorageNotReplicable",
    `storage "${volume.storage}" is a ${type}, which cannot be replicated`,
  );
}

function storageOf(volume: VolumeRef, { storage }: TransferServerOptions): StorageDriver {
  const driver = storage(volume.storage);
  if (driver !== undefined) return driver;
  throw new QuorateError(
    "environment",
    "StorageMissing",
    `storage "${volume.storage}" is not on this node; a storage is replicated to the one of the same name`,
  );
}
