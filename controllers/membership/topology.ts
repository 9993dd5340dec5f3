/** Whether the shape of the cluster can do what it is for. Pure; advice only. */
import type { ClusterNode } from "../../crds/index.ts";
import type { Finding } from "../conditions.ts";
import { type CorosyncConfig, neededVotes, presentVotes } from "./corosync-config.ts";

/** Where a host is; hosts without it count as one site. */
export const SITE_LABEL = "topology.kubernetes.io/zone";

/**
 * The condition TopologySound: what the loss of one node or of one site would do.
 * @param deviceVotes whether members say that the QDevice votes; one that does not only makes more votes necessary
 */
export function judgeTopology(config: CorosyncConfig, nodes: readonly ClusterNode[], deviceVotes: boolean): Finding {
  const mute =
    config.qdevice === undefined || deviceVotes
      ? ""
      : `; no member says that the QDevice votes, and its ${config.qdevice.votes} votes are expected: take spec.qdevice out, or see that it votes`;
  const bad = (reason: string, message: string): Finding => ({
    type: "TopologySound",
    status: "False",
    reason,
    message: message + mute,
  });
  const device = deviceVotes ? (config.qdevice?.votes ?? 0) : 0;
  const survives = (isLost: (name: string) => boolean) =>
    presentVotes(config, ({ name }) => !isLost(name)) + device >= neededVotes(config);
  if (config.nodes.length === 1) return bad("SingleNode", "one node has nowhere to fail over to; add two more");
  const alone = config.nodes.find(({ name }) => !survives((lost) => lost === name));
  if (alone !== undefined && config.nodes.length === 2) {
    return bad(
      "TwoNodesNoQDevice",
      "of two nodes neither is a majority, so the loss of one stops the other; add a third node, which may be small and run no guests",
    );
  }
  if (alone !== undefined) {
    return bad(
      "NodeHasTooManyVotes",
      `without ${alone.name} and its ${alone.votes} votes there is no majority; spread the votes`,
    );
  }
  const sites = sitesOf(config, nodes);
  const [first] = sites;
  if (sites.length > 1 && first !== undefined) {
    const vital = sites.find((site) => !survives((name) => site.nodes.includes(name)));
    if (vital && sites.length === 2) {
      return bad(
        "TwoSites",
        `of two sites one always holds the majority, here "${vital.name}": when it is lost, or its lines are, the other stops; put a node without guests at a third site`,
      );
    }
    if (vital) {
      return bad(
        "SiteHasMajority",
        `site "${vital.name}" holds the majority, so its loss stops the others; spread the votes over the sites`,
      );
    }
  }
  const how = sites.length > 1 ? `any one node or any one of ${sites.length} sites` : "any one node";
  return { type: "TopologySound", status: "True", reason: "Sound", message: `the loss of ${how} leaves a majority` };
}

function sitesOf(config: CorosyncConfig, nodes: readonly ClusterNode[]): { name: string; nodes: string[] }[] {
  const sites = new Map<string, string[]>();
  for (const { name } of config.nodes) {
    const site = nodes.find(({ metadata }) => metadata.name === name)?.metadata.labels?.[SITE_LABEL] ?? "";
    sites.set(site, [...(sites.get(site) ?? []), name]);
  }
  return [...sites].map(([name, members]) => ({ name, nodes: members }));
}
