import { type LrmSurroundings, servicesHere } from "../lrm/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { CorosyncSight } from "./corosync-sight.ts";
import type { GuestWatch } from "./guest-watch.ts";
import type { KeeperCare } from "./keeper-care.ts";
import type { ShutdownWatch } from "./shutdown-watch.ts";

export interface SurroundingsParts {
  readonly node: string;
  readonly caches: NodeCaches;
  readonly corosync: CorosyncSight;
  readonly keeper: KeeperCare;
  readonly guests: GuestWatch;
  readonly shutdown: ShutdownWatch;
}

/** What the LRM steps on, as the parts of the agent know it at this moment. Asks nobody. */
export function surroundings({ node, caches, corosync, keeper, guests, shutdown }: SurroundingsParts): LrmSurroundings {
  const cluster = caches.cluster();
  const self = caches.self();
  const { status: watchdog } = keeper;
  const armed = cluster?.status?.conditions?.find((each) => each.type === "Armed");
  return {
    quorate: corosync.quorate(),
    membership: corosync.membership(self?.spec.nodeId ?? 0),
    storeReadable: caches.readable,
    watchdog: {
      armed: watchdog?.armed === true && watchdog.timeoutSeconds !== undefined && watchdog.quorate,
      expiring: watchdog?.expiring === true,
    },
    ...servicesHere(
      node,
      caches.resources(),
      new Map(caches.guests().map((guest) => [guest.metadata.name, guest])),
      (name) => guests.running(name),
      guests.here(),
    ),
    disarmed:
      cluster?.spec.ha.disarm !== undefined &&
      armed?.status === "False" &&
      (armed.reason === "DisarmAgreed" || armed.reason === "Disarmed"),
    maintenance: self?.spec.maintenance === true,
    ...shutdown.view(cluster?.spec.ha.shutdownPolicy),
  };
}
