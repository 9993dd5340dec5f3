/** The timings that hold for a cluster, for the controllers that act by them and the one that shows them. Pure. */
import type { Cluster, ClusterNode } from "../crds/index.ts";
import { corosyncDelay, deriveTimings, type TimingsResult } from "./ha/index.ts";

export interface TimingsInput {
  readonly cluster: Cluster;
  /** All that are declared: a node that joins must find timings that hold for it too. */
  readonly nodes: readonly ClusterNode[];
  /** See `slowestPublished`, as what is known now; [what the status of the Cluster says]. */
  readonly publishedMilliseconds?: number | undefined;
  readonly leaseRenewalMilliseconds?: number | undefined;
}

/**
 * By the settings and by what hosts run with, whichever is slower: a host may have lost the API server before it could load what
 * was published, or have a device that does not take the time it was asked for. Of a silent host its last word counts.
 */
export function timingsInForce(input: TimingsInput): TimingsResult {
  const { cluster, nodes, leaseRenewalMilliseconds } = input;
  const { ha, tokenMilliseconds, qdevice } = cluster.spec;
  const published = input.publishedMilliseconds ?? slowestPublished(cluster, nodes) ?? 0;
  const watchdogs = nodes.map(({ status }) => status?.watchdog?.timeoutSeconds ?? 0);
  const delays = nodes.map((node) => runningDelay(node) ?? 0);
  const runsDevice = nodes.some(({ status }) => status?.corosync?.qdeviceFlags !== undefined);
  return deriveTimings({
    nodes: Math.max(1, nodes.length),
    watchdogSeconds: Math.max(ha.watchdogSeconds, ...watchdogs),
    tokenMilliseconds,
    slowestCorosyncMilliseconds: Math.max(published, ...delays),
    ...(qdevice === undefined && !runsDevice ? {} : { qdevice: {} }),
    ...(leaseRenewalMilliseconds === undefined ? {} : { leaseRenewalMilliseconds }),
  });
}

/** Token and consensus that the corosync of a node was last seen to run with; undefined: not known. */
export function runningDelay({ status }: ClusterNode): number | undefined {
  const { tokenMilliseconds, consensusMilliseconds } = status?.corosync ?? {};
  if (tokenMilliseconds === undefined || consensusMilliseconds === undefined) return undefined;
  return tokenMilliseconds + consensusMilliseconds;
}

/** Token and consensus of the slowest configuration that was published and that not every node has left behind, as it was noted. */
export function slowestPublished({ status }: Cluster, nodes: readonly ClusterNode[]): number | undefined {
  const { membershipChangeMilliseconds, tokenMilliseconds } = status?.config ?? {};
  if (membershipChangeMilliseconds !== undefined || tokenMilliseconds === undefined)
    return membershipChangeMilliseconds;
  // Noted by a version that knew the token only.
  return corosyncDelay(nodes.length, tokenMilliseconds);
}
