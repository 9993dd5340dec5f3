import { createServer } from "node:net";
import { QuorateError } from "../../errors.ts";

/** Below the ephemeral range of Linux (32768-60999), so that a restarted server finds its port still free. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/** Different TCP ports that nothing listens on at this address of the machine. */
export async function freePorts(address: string, count: number): Promise<number[]> {
  const found = new Set<number>();
  for (let attempt = 0; attempt < 1000 && found.size < count; attempt++) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (await isFree(address, port)) found.add(port);
  }
  if (found.size < count)
    throw new QuorateError("environment", "NoFreePort", `no free TCP port on ${address} in ${LOWEST}-${HIGHEST}`);
  return [...found];
}

function isFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
