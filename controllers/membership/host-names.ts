/** Host names that users give instead of addresses, and what they resolve to. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Clock } from "../../clock.ts";
import type { ClusterNode } from "../../crds/index.ts";

export type Resolve = (name: string) => Promise<string | undefined>;

/** How long an answer is believed. An address in use does not depend on it; only a drift is seen later. */
const TTL_MS = 60_000;

export class HostNames {
  readonly #resolve: Resolve;
  readonly #clock: Clock;
  readonly #known = new Map<string, { address: string | undefined; untilMs: number }>();

  constructor(resolve: Resolve, clock: Clock) {
    this.#resolve = resolve;
    this.#clock = clock;
  }

  /** Those that resolve, by name. */
  async resolve(names: ReadonlySet<string>): Promise<Map<string, string>> {
    const now = this.#clock.elapsedMs();
    const found = new Map<string, string>();
    for (const name of names) {
      let known = this.#known.get(name);
      if (known === undefined || known.untilMs <= now) {
        known = { address: await this.#resolve(name), untilMs: now + TTL_MS };
        this.#known.set(name, known);
      }
      if (known.address !== undefined) found.set(name, known.address);
    }
    return found;
  }
}

export function hostNamesOf(nodes: readonly ClusterNode[]): Set<string> {
  const given = nodes.flatMap(({ spec }) => spec.links?.map(({ address }) => address) ?? []);
  return new Set(given.filter((address) => isIP(address) === 0));
}

/** By the resolver of the host this runs on. */
export async function resolveHere(name: string): Promise<string | undefined> {
  try {
    return (await lookup(name)).address;
  } catch {
    return undefined;
  }
}
