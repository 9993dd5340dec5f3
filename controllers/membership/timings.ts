/** The timings of a cluster, from its objects. Pure. */
import type { Cluster, ClusterNode } from "../../crds/index.ts";
import { deriveTimings, effectiveToken } from "../ha/index.ts";
import type { TimingsVerdict } from "./cluster-status.ts";

/** What corosync has to add to the token for each node, so that it is the token the timings are derived from. */
export const TOKEN_COEFFICIENT_MS = effectiveToken(3, 0) - effectiveToken(2, 0);

/** @param nodes all that are declared: a node that joins must find timings that hold for it too */
export function judgeTimings(cluster: Cluster, nodes: readonly ClusterNode[]): TimingsVerdict {
  const { ha, tokenMilliseconds, qdevice } = cluster.spec;
  const devices = nodes.map(({ status }) => status?.watchdog?.timeoutSeconds ?? 0);
  // A device may not take the time it was asked for; what it really has is what must be waited for.
  const watchdogSeconds = Math.max(ha.watchdogSeconds, ...devices);
  const result = deriveTimings({
    nodes: Math.max(1, nodes.length),
    watchdogSeconds,
    tokenMilliseconds,
    ...(qdevice === undefined ? {} : { qdevice: {} }),
  });
  if (!result.ok) return { timings: {}, problem: result.message };
  const { membershipChange, quorumProofAge, watchdog, fenceDelay, leaseDuration, recoveryBound } = result.timings;
  const shown = { membershipChange, quorumProofAge, watchdog, fenceDelay, leaseDuration, recoveryBound };
  const timings = Object.fromEntries(
    Object.entries(shown).map(([name, { milliseconds, because }]) => [
      name,
      { milliseconds, derivation: because.slice(0, 1024) },
    ]),
  );
  return { timings };
}
