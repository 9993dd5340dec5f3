import type { Clock } from "../../clock.ts";
import type { ConfigLoad } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import { followConfig, readAuthkey, readPublished } from "../membership/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { CorosyncSight } from "./corosync-sight.ts";
import type { GuestWatch } from "./guest-watch.ts";
import type { KeeperCare } from "./keeper-care.ts";

export interface MembershipOptions {
  readonly node: string;
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  readonly caches: NodeCaches;
  readonly corosync: CorosyncSight;
  readonly keeper: KeeperCare;
  readonly guests: GuestWatch;
}

/** Brings this host's corosync to what the membership controller published, and out of the cluster when its node is removed. */
export class Membership {
  readonly #options: MembershipOptions;
  #lastLoad: ConfigLoad | undefined;
  #left = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  /** What became of the newest configuration. */
  get lastLoad(): ConfigLoad | undefined {
    return this.#lastLoad;
  }

  async follow(): Promise<void> {
    const { host, clock, node, log, caches, corosync, keeper } = this.#options;
    const { quorum } = corosync;
    const self = caches.self();
    if (quorum === undefined || self === undefined) return;
    const config = caches.corosyncConfig();
    const override =
      caches.cluster()?.status?.conditions?.find((each) => each.type === "QuorumOverridden")?.status === "True";
    const published = config === undefined ? undefined : readPublished(config, node, override);
    const leave = self.metadata.deletionTimestamp !== undefined && published !== undefined && !published.admitted;
    if (leave && !this.#left) await this.#prepareToLeave();
    const load = await followConfig(
      host,
      { published, authkey: readAuthkey(caches.corosyncKey()), nodeId: self.spec.nodeId, quorum, leave },
      clock,
      log,
    );
    if (leave && !this.#left) {
      await keeper.remove();
      this.#left = true;
      log.info("the keeper was removed: this host is of no cluster any more");
    }
    if (
      load !== undefined &&
      (load.configVersion !== this.#lastLoad?.configVersion ||
        load.outcome !== this.#lastLoad?.outcome ||
        load.message !== this.#lastLoad?.message)
    )
      this.#lastLoad = load;
  }

  /**
   * Corosync goes only from a host on which no guest runs and whose watchdog is closed for certain: an armed host without it resets,
   * and a guest without it is not seen by the cluster any more.
   */
  async #prepareToLeave(): Promise<void> {
    const { guests, keeper, node } = this.#options;
    await guests.look();
    const here = guests.here();
    if (here.length > 0) {
      throw new QuorateError(
        "environment",
        "GuestsStillRun",
        `node "${node}" leaves the cluster and still runs ${here.join(", ")}; corosync and the watchdog stay until they are moved or stopped`,
      );
    }
    await keeper.disarmToLeave();
  }
}
