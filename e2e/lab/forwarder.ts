/**
 * Hands connections to the machine's loopback on to the API server inside the lab's network namespace.
 *
 * It runs in that namespace with a listening socket that was made outside and came to it as a message: a socket belongs
 * to the namespace it was made in, whoever holds it.
 *
 * usage: node forwarder.ts ADDRESS PORT        (started by startForwarder)
 */
import { connect, type Server, type Socket } from "node:net";

const [address = "", port = ""] = process.argv.slice(2);

process.on("message", (_message, handle) => {
  const server = handle as Server;
  server.on("connection", forward);
  process.disconnect();
});

function forward(outside: Socket): void {
  const inside = connect({ host: address, port: Number(port) });
  outside.setNoDelay(true);
  inside.setNoDelay(true);
  outside.pipe(inside);
  inside.pipe(outside);
  outside.on("error", () => inside.destroy());
  inside.on("error", () => outside.destroy());
  outside.on("close", () => inside.destroy());
  inside.on("close", () => outside.destroy());
}
