/** What the agents report of the membership, and what a majority of them agrees on. Pure. */
import type { NodeMembership } from "../../crds/index.ts";
import { neededVotes, presentVotes, totalVotes, type VotingConfig } from "./corosync-config.ts";

export interface Agreement {
  readonly ringId: string;
  readonly members: ReadonlySet<number>;
  /** Corosync of those nodes says that they are quorate. */
  readonly quorate: boolean;
  /** Those who report it have a majority of the votes themselves, so no other quorate membership can exist. */
  readonly byMajority: boolean;
  readonly reporters: number;
}

/**
 * The membership that the most votes report. Undefined when nobody reports one.
 * @param reports of agents that are alive, by node id
 */
export function agree(reports: ReadonlyMap<number, NodeMembership>, config: VotingConfig): Agreement | undefined {
  const votesOf = (id: number) => config.nodes.find(({ nodeId }) => nodeId === id)?.votes ?? 0;
  const groups = new Map<string, { report: NodeMembership; votes: number; reporters: number }>();
  for (const report of reports.values()) {
    // A node that sees others than its ring's other reporters is in between two rings; it is counted for neither.
    const key = JSON.stringify([report.ringId, report.quorate, [...report.members].sort((a, b) => a - b)]);
    const group = groups.get(key) ?? { report, votes: 0, reporters: 0 };
    groups.set(key, { report, votes: group.votes + votesOf(report.nodeId), reporters: group.reporters + 1 });
  }
  const [best] = [...groups.values()].sort(
    (a, b) =>
      Number(b.report.quorate) - Number(a.report.quorate) ||
      b.votes - a.votes ||
      b.reporters - a.reporters ||
      (a.report.ringId < b.report.ringId ? 1 : -1),
  );
  if (best === undefined) return undefined;
  const { ringId, quorate, members } = best.report;
  // A QDevice gives its votes to one membership only, and corosync says whether it is this one.
  const votes = best.votes + (quorate ? (config.qdevice?.votes ?? 0) : 0);
  return {
    ringId,
    quorate,
    members: new Set(members),
    byMajority: votes >= neededVotes(config),
    reporters: best.reporters,
  };
}

export interface Votes {
  readonly expected: number;
  readonly total: number;
  readonly needed: number;
}

/** @param deviceVotes whether the QDevice gives its votes to this membership */
export function countVotes(config: VotingConfig, members: ReadonlySet<number>, deviceVotes: boolean): Votes {
  const present = presentVotes(config, ({ nodeId }) => members.has(nodeId));
  return {
    expected: config.expectedVotes ?? totalVotes(config),
    total: present + (deviceVotes ? (config.qdevice?.votes ?? 0) : 0),
    needed: neededVotes(config),
  };
}
