import { cpus, networkInterfaces, totalmem } from "node:os";
import type { ClusterNodeStatus, ConfigLoad } from "../../crds/index.ts";
import type { CorosyncStatus, LinkStatus } from "../corosync/index.ts";

/** What the agent knows of its host at one moment. */
export interface NodeFacts {
  readonly release: string;
  readonly mode: "DaemonSet" | "SystemdUnit";
  readonly bootId: string;
  readonly corosync: CorosyncStatus | undefined;
  readonly lastLoad: ConfigLoad | undefined;
  readonly addresses: readonly { interface: string; address: string }[];
  readonly lrm: {
    readonly mode: NonNullable<ClusterNodeStatus["lrm"]>["mode"];
    readonly epoch: number | undefined;
    readonly activeGuests: number;
  };
  readonly watchdog:
    | {
        readonly device: string;
        readonly identity?: string;
        /** As read back; absent while the keeper has not opened the device. */
        readonly timeoutSeconds?: number;
        /** The keeper's word: false is certain, true may be left of a keeper before it. */
        readonly armed: boolean;
        readonly message?: string;
      }
    /** The keeper does not answer. */
    | undefined;
  readonly transfer: { readonly address: string; readonly port: number } | undefined;
  readonly capacity: { readonly cpu: number; readonly memoryBytes: number };
  readonly usage: ClusterNodeStatus["usage"];
}

/** The host's own addresses with their prefix length; the agent shares the host's network. Loopback and link-local are left out. */
export function hostAddresses(): { interface: string; address: string }[] {
  return Object.entries(networkInterfaces())
    .flatMap(([name, list]) => (list ?? []).map((entry) => ({ name, entry })))
    .filter(
      ({ entry }) =>
        !entry.internal &&
        entry.cidr !== null &&
        !entry.address.startsWith("fe80:") &&
        !entry.address.startsWith("169.254."),
    )
    .map(({ name, entry }) => ({ interface: name, address: entry.cidr ?? entry.address }))
    .sort((a, b) => a.interface.localeCompare(b.interface) || a.address.localeCompare(b.address));
}

/** Processors and memory of the host, as its kernel says. */
export function hostCapacity(): { cpu: number; memoryBytes: number } {
  return { cpu: cpus().length, memoryBytes: totalmem() };
}

/** The part of ClusterNode.status that the agent owns, whole. `wall` is RFC 3339 for the conditions. */
export function nodeStatus(
  facts: NodeFacts,
  before: ClusterNodeStatus | undefined,
  generation: number,
  wall: string,
): ClusterNodeStatus {
  const { corosync, watchdog } = facts;
  const quorum = corosync?.quorum;
  const running = corosync?.running;
  // Of a corosync that does not say: what it ran with last, it may run with still, or again.
  const token = running?.tokenMilliseconds ?? before?.corosync?.tokenMilliseconds;
  const consensus = running?.consensusMilliseconds ?? before?.corosync?.consensusMilliseconds;
  const links = (running?.links ?? []).map((link) => ({
    number: link.number,
    ...(link.address === undefined ? {} : { address: link.address }),
    peersUp: link.peers.filter((peer) => peer.connected).length,
    peersTotal: link.peers.length,
  }));
  const healthy = (running?.links ?? []).filter(reachesMembers(quorum)).length;
  const armed = watchdog?.armed === true && watchdog.timeoutSeconds !== undefined;
  // A watchdog of which nothing newer is known counts on as it was set last: fencing waits for it.
  const timeoutSeconds =
    watchdog?.timeoutSeconds ?? (watchdog?.armed === false ? undefined : before?.watchdog?.timeoutSeconds);
  const condition = (type: string, holds: boolean, reason: string, message: string) => {
    const status = holds ? ("True" as const) : ("False" as const);
    const old = before?.conditions?.find((c) => c.type === type);
    return {
      type,
      status,
      observedGeneration: generation,
      lastTransitionTime: old?.status === status ? old.lastTransitionTime : wall,
      reason,
      message,
    };
  };
  return {
    addresses: [...facts.addresses],
    capacity: facts.capacity,
    ...(facts.usage === undefined ? {} : { usage: facts.usage }),
    linkStatus: links,
    ...(links.length === 0 ? {} : { linksUp: `${healthy}/${links.length}` }),
    lrm: {
      ...(facts.lrm.mode === undefined ? {} : { mode: facts.lrm.mode }),
      activeGuests: facts.lrm.activeGuests,
      ...(facts.lrm.epoch === undefined ? {} : { epoch: facts.lrm.epoch }),
    },
    corosync: {
      ...(corosync?.version === undefined ? {} : { version: corosync.version }),
      running: quorum?.state === "Running",
      ...(running?.configVersion === undefined ? {} : { configVersion: running.configVersion }),
      ...(token === undefined ? {} : { tokenMilliseconds: token }),
      ...(consensus === undefined ? {} : { consensusMilliseconds: consensus }),
      ...(quorum?.state === "Running"
        ? { quorate: quorum.quorate, ringId: quorum.ringId, members: quorum.members.map((m) => m.nodeId) }
        : { quorate: false }),
      ...(facts.lastLoad === undefined ? {} : { lastLoad: facts.lastLoad }),
    },
    agent: {
      version: facts.release,
      mode: facts.mode,
      bootId: facts.bootId,
      lastSeen:
        before?.agent?.bootId === facts.bootId &&
        before.agent.version === facts.release &&
        before.agent.lastSeen !== undefined
          ? before.agent.lastSeen
          : wall,
      ...(facts.transfer === undefined ? {} : { transferEndpoint: facts.transfer }),
    },
    watchdog: {
      ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
      ...(watchdog === undefined
        ? {
            armed: false,
            summary: "no keeper",
            message: "the keeper of this host does not answer; it is (re)started by systemd as quorate-keeper",
          }
        : {
            device: watchdog.device,
            ...(watchdog.identity === undefined ? {} : { identity: watchdog.identity }),
            armed,
            summary: armed ? `${watchdog.timeoutSeconds}s armed` : "not armed",
            ...(watchdog.message === undefined ? {} : { message: watchdog.message.slice(0, 1000) }),
          }),
    },
    conditions: [
      links.length === 0
        ? condition("LinksHealthy", false, "NoLinks", "corosync does not run, or runs alone")
        : condition(
            "LinksHealthy",
            healthy === links.length,
            healthy === links.length ? "AllPeersUp" : "PeersDown",
            healthy === links.length
              ? "every link reaches every member"
              : `${links.length - healthy} of ${links.length} links do not reach every member`,
          ),
      condition(
        "WatchdogArmed",
        armed,
        armed ? "Armed" : watchdog === undefined ? "NoKeeper" : "NotArmed",
        armed
          ? "the host resets when it loses quorum"
          : (watchdog?.message ?? "armed as soon as a guest under HA is to run here"),
      ),
    ],
  };
}

/**
 * A host that is off is no fault of the links to it; its own ClusterNode shows it. On the side without quorum nobody can tell which it
 * is, so there all peers are missed.
 */
function reachesMembers(quorum: CorosyncStatus["quorum"] | undefined): (link: LinkStatus) => boolean {
  const members =
    quorum?.state === "Running" && quorum.quorate ? new Set(quorum.members.map(({ nodeId }) => nodeId)) : undefined;
  return ({ peers }) => peers.every(({ nodeId, connected }) => connected || members?.has(nodeId) === false);
}
