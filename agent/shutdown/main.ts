import { systemClock } from "../../clock.ts";
import { processLog } from "../../log.ts";
import { Guests } from "../guests/index.ts";
import { localHost } from "../host/index.ts";
import { KeeperClient, SOCKET_PATH } from "../keeper/index.ts";
import { endHost } from "./end-host.ts";

/** What systemd runs first of all when this host goes down (quorate-shutdown.service). Does nothing when it does not. */
export async function main(): Promise<void> {
  const host = localHost();
  const guests = new Guests({ host, storage: () => undefined });
  await endHost({
    host,
    clock: systemClock,
    log: processLog("host-shutdown"),
    guests: {
      running: () => guests.remaining(),
      stopMachines: (timeoutSeconds) => guests.stopMachines(timeoutSeconds),
    },
    keeper: new KeeperClient(host.path(SOCKET_PATH), { timeoutMs: 5_000 }),
  });
}
