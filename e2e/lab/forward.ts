import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { QuorateError } from "../../errors.ts";
import { API_PORT, CONTROL_PLANE_ADDRESS } from "./network.ts";
import type { CommandPrefix } from "./run.ts";

/**
 * Opens a port on the machine's loopback and starts the process of the lab that forwards it to the API server.
 * Returns the port; it stays open until that process ends.
 */
export async function startForwarder(inside: CommandPrefix, log: string): Promise<number> {
  const server = createServer();
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const script = join(import.meta.dirname, "forwarder.ts");
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", script];
  const [program = "", ...args] = [...inside, ...node, CONTROL_PLANE_ADDRESS, String(API_PORT)];
  const output = openSync(log, "a");
  const child = spawn(program, args, { stdio: ["ignore", output, output, "ipc"], detached: true });
  closeSync(output);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () =>
        reject(new QuorateError("environment", "NotStarted", `the forwarder ended; see ${log}`)),
      );
      child.send("serve", server, (error) => (error ? reject(error) : undefined));
      // The other side hangs up when it has the socket.
      child.once("disconnect", resolve);
    });
  } finally {
    child.removeAllListeners();
    child.unref();
    server.close();
  }
  return port;
}
