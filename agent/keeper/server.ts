import { mkdirSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { OPERATIONS, type Operation, Refused, type Reply } from "./protocol.ts";

const MAX_LINE = 4096;
const IDLE_MS = 30_000;
const MAX_CONNECTIONS = 16;

/**
 * Answers the line protocol on a unix socket that only root may use. @throws Error when another keeper answers there.
 * @param handle throws Refused
 */
export async function listen(path: string, handle: (operation: Operation) => Promise<Reply>): Promise<Server> {
  if (await isAnswered(path)) throw new Error(`another keeper answers on ${path}`);
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true });
  const server = createServer((socket) => converse(socket, handle));
  server.maxConnections = MAX_CONNECTIONS;
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(path, resolve));
  } finally {
    process.umask(umask);
  }
  return server;
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (answered: boolean) => {
      socket.destroy();
      resolve(answered);
    };
    socket.once("connect", () => done(true)).once("error", () => done(false));
  });
}

function converse(socket: Socket, handle: (operation: Operation) => Promise<Reply>): void {
  let pending = "";
  let turn = Promise.resolve();
  socket.setEncoding("utf8");
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  // A client that goes away is no trouble of the keeper.
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: string) => {
    pending += chunk;
    const lines = pending.split("\n");
    pending = lines.pop() ?? "";
    if (pending.length > MAX_LINE) socket.destroy();
    for (const line of lines) {
      turn = turn.then(async () => {
        const reply = await answer(line, handle);
        if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
      });
    }
  });
}

async function answer(line: string, handle: (operation: Operation) => Promise<Reply>): Promise<Reply> {
  try {
    const request: unknown = JSON.parse(line);
    const asked = typeof request === "object" && request !== null && "op" in request ? request.op : undefined;
    const operation = OPERATIONS.find((name) => name === asked);
    if (operation === undefined) throw new Refused("UnknownOperation", `"op" must be one of ${OPERATIONS.join(", ")}`);
    return await handle(operation);
  } catch (error) {
    const reason = error instanceof Refused ? error.reason : error instanceof SyntaxError ? "NotJson" : "KeeperError";
    return { ok: false, reason, message: error instanceof Error ? error.message : String(error) };
  }
}
