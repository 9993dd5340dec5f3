import type { ClusterNode, Guest } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";

/** Whether a peer may change this node's copy of a guest. */
export type Verdict =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly reason: string; readonly message: string };

/** What a watch cache knows, and how sure it can be. */
export interface Known<T> {
  readonly synced: boolean;
  list(): readonly T[];
  /** Since the API server's last sign of life on the stream of this cache. */
  lastSeenAgeMs(): number;
}

export interface AdmissionOptions {
  /** This node. */
  readonly node: string;
  readonly nodes: Known<ClusterNode>;
  readonly guests: Known<Guest>;
  /** Whether the guest runs on this host. */
  readonly running: (guest: string) => boolean | "unknown";
}

/**
 * What was heard longer ago counts no more. A stream on which nothing happens is opened anew within 30 s, and none is trusted for more
 * than 35 s: an API server that is there is never silent for so long.
 */
export const OUT_OF_TOUCH_MS = 40_000;

/**
 * Who may connect to this node and change its copies, by the objects of the cluster. A certificate says only who somebody is, and that
 * for months: a node whose ClusterNode is gone is refused from the moment this node hears of it, and everybody is when it has heard
 * nothing for `OUT_OF_TOUCH_MS`.
 */
export class Admission {
  readonly #options: AdmissionOptions;

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** @throws QuorateError `OutOfTouch` when it cannot be known */
  isMember(peer: string): boolean {
    const { nodes } = this.#options;
    this.#requireTouch(nodes, "ClusterNodes");
    return nodes.list().some(({ metadata }) => metadata.name === peer);
  }

  /**
   * One owner sends to all others. It is refused where the guest may run, and where it ran last, whose disk is the newest there is.
   * @throws QuorateError `OutOfTouch` when it cannot be known
   */
  mayReceive(vmid: number, from: string): Verdict {
    const { node, guests, running } = this.#options;
    this.#requireTouch(guests, "Guests");
    const found = guests.list().filter(({ spec }) => spec.vmid === vmid);
    const [guest] = found;
    if (guest === undefined) return refuse("GuestNotFound", `no Guest with vmid ${vmid} is known on ${node}`);
    if (found.length > 1)
      return refuse("VmidNotUnique", `${found.length} Guests have vmid ${vmid}, and volumes are named after it`);
    const { name } = guest.metadata;
    const owner = guest.spec.nodeName;
    if (owner !== from || owner === node)
      return refuse("NotOwner", `Guest "${name}" is owned by ${owner ?? "nobody"}, not by ${from}`);
    if (running(name) !== false) return refuse("GuestRuns", `Guest "${name}" may run on ${node}`);
    if (guest.status?.node === node)
      return refuse(
        "RanHereLast",
        `Guest "${name}" ran last on ${node}, whose disk is the newest; start it on ${from} first`,
      );
    return { allowed: true };
  }

  #requireTouch(known: Known<unknown>, what: string): void {
    const ageMs = known.lastSeenAgeMs();
    if (known.synced && ageMs <= OUT_OF_TOUCH_MS) return;
    const since = known.synced ? `for ${Math.round(ageMs / 1000)} s` : "yet";
    const message = `node "${this.#options.node}" has not heard of the ${what} of its cluster ${since}; it lets nobody in until it does`;
    throw new QuorateError("transient", "OutOfTouch", message);
  }
}

function refuse(reason: string, message: string): Verdict {
  return { allowed: false, reason, message };
}
