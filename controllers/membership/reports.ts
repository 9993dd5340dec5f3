/** What the agents report of the membership, and what a majority of them agrees on. Pure. */
import { neededVotes, presentVotes, totalVotes, type VotingConfig } from "./corosync-config.ts";

/** The annotation of an agent's Lease that carries its report, refreshed with every renewal. */
export const MEMBERSHIP_ANNOTATION = "quorate.dev/membership";

export interface MembershipReport {
  readonly ringId: string;
  readonly quorate: boolean;
  /** Node ids. */
  readonly members: readonly number[];
  readonly nodeId: number;
}

/** The report in a Lease's annotation; undefined when there is none that makes sense. */
export function parseReport(annotation: string | undefined): MembershipReport | undefined {
  if (annotation === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(annotation);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { ringId, quorate, members, nodeId } = value as Record<string, unknown>;
  if (typeof ringId !== "string" || typeof quorate !== "boolean" || !isId(nodeId)) return undefined;
  if (!Array.isArray(members) || !members.every(isId)) return undefined;
  return { ringId: ringId.slice(0, 63), quorate, members, nodeId };
}

function isId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value > 0;
}

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
export function agree(reports: ReadonlyMap<number, MembershipReport>, config: VotingConfig): Agreement | undefined {
  const votesOf = (id: number) => config.nodes.find(({ nodeId }) => nodeId === id)?.votes ?? 0;
  const groups = new Map<string, { report: MembershipReport; votes: number; reporters: number }>();
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
