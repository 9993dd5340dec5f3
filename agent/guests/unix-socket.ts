import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { basename, dirname } from "node:path";
import type { Host } from "../host/index.ts";

/**
 * Connects to a unix socket of the host, whatever the length of its path: the kernel takes 107 characters, and a
 * namespace and a name together may have more. Rejects with the system's error (`code`: ENOENT, ECONNREFUSED …).
 */
export async function connectUnix(host: Host, socket: string, timeoutMs: number): Promise<Socket> {
  const folder = await open(host.path(dirname(socket)), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const connection = connect({ path: `/proc/self/fd/${folder.fd}/${basename(socket)}` });
      const timer = setTimeout(() => {
        connection.destroy();
        reject(Object.assign(new Error(`${socket}: no connection within ${timeoutMs} ms`), { code: "ETIMEDOUT" }));
      }, timeoutMs);
      connection.once("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      connection.once("connect", () => {
        clearTimeout(timer);
        connection.removeAllListeners("error");
        // Whoever uses it says what an error means; until then one must not end the process.
        connection.on("error", () => undefined);
        resolve(connection);
      });
    });
  } finally {
    await folder.close();
  }
}

/**
 * Whether a process listens on the socket. Its end is certain (`no`) only when the kernel says that there is no such
 * file or nobody behind it.
 */
export async function hasListener(host: Host, socket: string, timeoutMs: number): Promise<"yes" | "no" | "unknown"> {
  try {
    const connection = await connectUnix(host, socket, timeoutMs);
    connection.destroy();
    return "yes";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === "ENOENT" || code === "ECONNREFUSED" ? "no" : "unknown";
  }
}
