/** The timings of a cluster, from its objects. Pure. */
import type { Cluster, ClusterNode } from "../../crds/index.ts";
import { corosyncDelay, effectiveToken } from "../ha/index.ts";
import { runningDelay, slowestPublished, timingsInForce } from "../timings-in-force.ts";
import type { TimingsVerdict } from "./cluster-status.ts";
import type { Published } from "./rollout-types.ts";

/** What corosync has to add to the token for each node, so that it is the token the timings are derived from. */
export const TOKEN_COEFFICIENT_MS = effectiveToken(3, 0) - effectiveToken(2, 0);

export function judgeTimings(
  cluster: Cluster,
  nodes: readonly ClusterNode[],
  published: Published | undefined,
): TimingsVerdict {
  const publishedMilliseconds = publishedDelay(cluster, nodes, published);
  const slowest = publishedMilliseconds === undefined ? {} : { publishedMilliseconds };
  const result = timingsInForce({ cluster, nodes, publishedMilliseconds });
  if (!result.ok) return { timings: {}, problem: result.message, ...slowest };
  const { membershipChange, quorumProofAge, watchdog, fenceDelay, leaseDuration, recoveryBound } = result.timings;
  const shown = { membershipChange, quorumProofAge, watchdog, fenceDelay, leaseDuration, recoveryBound };
  const timings = Object.fromEntries(
    Object.entries(shown).map(([name, { milliseconds, because }]) => [
      name,
      { milliseconds, derivation: because.slice(0, 1024) },
    ]),
  );
  return { timings, ...slowest };
}

/**
 * A host that has loaded a configuration may be cut off before it can say so, and may never see what was published after that. So
 * each counts until every node says that it runs the newest.
 */
function publishedDelay(
  cluster: Cluster,
  nodes: readonly ClusterNode[],
  published: Published | undefined,
): number | undefined {
  const before = slowestPublished(cluster, nodes);
  if (published === undefined) return before;
  const { config, version } = published;
  const newest = corosyncDelay(config.nodes.length, config.tokenMilliseconds);
  const runsNewest = (name: string) => {
    const node = nodes.find(({ metadata }) => metadata.name === name);
    const { running, configVersion } = node?.status?.corosync ?? {};
    return node !== undefined && running === true && configVersion === version && runningDelay(node) !== undefined;
  };
  return config.nodes.every(({ name }) => runsNewest(name)) ? newest : Math.max(newest, before ?? 0);
}
