/**
 * The gate in front of a node's lease: may the CRM take it, and if not, why not yet. Everything is measured on the CRM's own
 * monotonic clock, from the moment it saw something; timestamps that others wrote are opaque tokens that change or do not. A CRM that
 * starts begins with empty observations, so both clocks start again.
 *
 * It opens when the node's lease has not changed for L, and agents that hold a majority of the votes have reported, freshly and
 * without interruption for M, from the first such report to the one before the newest, a quorate membership that lacks the node, and
 * no quorum override is active. Or when a fence device
 * confirmed that the node is off.
 */
import type { FenceVerdict, Milliseconds } from "./types.ts";

/** The Lease of one node as just read: its heartbeat, and its agent's membership report. */
export interface LeaseSample {
  readonly node: string;
  /** Changes with every write, whoever wrote it (holder, renew time, transitions). */
  readonly token: string;
  /**
   * Who holds it. While it is not the agent, the report in it is a leftover and counts for nothing: the CRM's own write must not make a
   * dead node's last words look fresh. `none`: the agent gave it back in order, or the node was fenced; either way no guest runs there.
   */
  readonly holder: "agent" | "crm" | "none";
  /** Written by the agent with its last renewal; undefined: it carries none. */
  readonly report?: MembershipReport;
}

export interface MembershipReport {
  /** Changes with every membership: between two reports of one ring nobody can have come and gone. */
  readonly ringId?: string;
  readonly quorate: boolean;
  /** Names of the members, as this node's corosync says. */
  readonly members: readonly string[];
  /** Votes that a QDevice gives this partition. */
  readonly qdeviceVotes?: number;
}

interface Observation {
  readonly token: string;
  readonly readAt: Milliseconds;
  readonly released: boolean;
  /** When this token was first seen. */
  readonly changedAt: Milliseconds;
  /** The token has changed since this CRM began to look: its agent is alive, its report is no leftover. */
  readonly renewed: boolean;
  readonly report?: MembershipReport;
  /** By node: all reports of this agent, without a gap, were quorate and lacked it. */
  readonly lacking: Readonly<Record<string, Absence>>;
}

interface Absence {
  /** When the first such report was seen. */
  readonly since: Milliseconds;
  /**
   * When the one before the newest was seen. The agent had looked for the newest after that one was written, however long either was
   * on its way: so much is said of the time up to here, and nothing of the time from here to now.
   */
  readonly until: Milliseconds;
}

export type FenceObservations = Readonly<Record<string, Observation>>;

export interface GateParameters {
  /** M. */
  readonly fenceDelay: Milliseconds;
  /** L. */
  readonly leaseDuration: Milliseconds;
  /** A longer silence of a reporter starts its clock again. */
  readonly reportFreshness: Milliseconds;
}

export interface GateInput {
  readonly observations: FenceObservations;
  readonly node: string;
  /** Votes of every node of the configuration, present or not. */
  readonly votes: Readonly<Record<string, number>>;
  /** Configured votes of the QDevice; 0 without one. */
  readonly qdeviceVotes: number;
  readonly quorumOverride: boolean;
  /** `Hardware`: only a fence device can prove it. `Both`: whichever does first. */
  readonly fencing: "Watchdog" | "Hardware" | "Both";
  /** A fence device said that the node is off, and nothing has switched it on since. */
  readonly hardwareConfirmed?: { readonly device: string };
}

/**
 * Takes in all Leases as just read.
 * @param nodes all nodes of the configuration: whoever is not in a report lacks from it.
 * @param now the CRM's monotonic clock, at or after the read.
 */
export function observeLeases(
  before: FenceObservations,
  samples: readonly LeaseSample[],
  nodes: readonly string[],
  now: Milliseconds,
  parameters: GateParameters,
): FenceObservations {
  const after: Record<string, Observation> = {};
  for (const sample of samples) after[sample.node] = observe(before[sample.node], sample, nodes, now, parameters);
  return after;
}

function observe(
  seen: Observation | undefined,
  sample: LeaseSample,
  nodes: readonly string[],
  now: Milliseconds,
  parameters: GateParameters,
): Observation {
  const { token } = sample;
  const report = sample.holder === "agent" ? sample.report : undefined;
  const read = { token, readAt: now, released: sample.holder === "none", ...(report === undefined ? {} : { report }) };
  // What this CRM did not watch, it has not observed: after a gap of its own it begins again.
  const old = seen !== undefined && now - seen.readAt <= parameters.reportFreshness ? seen : undefined;
  if (!old) return { ...read, changedAt: now, renewed: false, lacking: {} };
  if (old.token === token) return { ...old, readAt: now, released: read.released };
  const gap = now - old.changedAt > parameters.reportFreshness;
  const continued = !gap && old.report?.ringId === report?.ringId;
  const lacking: Record<string, Absence> = {};
  if (report?.quorate === true && report.members.includes(sample.node)) {
    for (const node of nodes) {
      if (report.members.includes(node)) continue;
      const said = continued ? old.lacking[node] : undefined;
      lacking[node] = said === undefined ? { since: now, until: now } : { since: said.since, until: old.changedAt };
    }
  }
  return { ...read, changedAt: now, renewed: sample.holder === "agent", lacking };
}

/** @returns whether the lease of `input.node` may be taken now, with each reason why not yet (or what proved it). */
export function fenceGate(input: GateInput, now: Milliseconds, parameters: GateParameters): FenceVerdict {
  if (input.hardwareConfirmed) {
    return {
      proven: true,
      confirmedOff: true,
      reasons: [`fence device "${input.hardwareConfirmed.device}" confirmed that node ${input.node} is off`],
    };
  }
  if (input.observations[input.node]?.released === true && !input.quorumOverride) {
    return {
      proven: true,
      reasons: [
        `the agent of node ${input.node} gave its lease back in order, or the node was fenced: no guest under HA runs there`,
      ],
    };
  }
  const missing = CHECKS.map((check) => check(input, now, parameters)).filter((reason) => reason !== undefined);
  if (missing.length > 0) return { proven: false, reasons: missing };
  return {
    proven: true,
    reasons: [
      `the lease of node ${input.node} has not changed for ${parameters.leaseDuration} ms`,
      `agents with a majority of the votes have reported it gone for ${parameters.fenceDelay} ms`,
    ],
  };
}

type Check = (input: GateInput, now: Milliseconds, parameters: GateParameters) => string | undefined;

/** Each returns why it forbids the fence, or nothing. All are asked, so that a person sees all that is missing. */
const CHECKS: readonly Check[] = [
  ({ fencing, node }) =>
    fencing === "Hardware"
      ? `node ${node} is fenced by hardware only; no device has confirmed that it is off`
      : undefined,

  // With an overridden quorum two partitions can both be quorate: reports prove nothing.
  ({ quorumOverride }) =>
    quorumOverride ? "a quorum override is active; only a fence device can prove that the node is off" : undefined,

  ({ observations, node }, now, { leaseDuration }) => {
    const seen = observations[node];
    if (!seen) return `the lease of node ${node} has not been read yet`;
    const unchanged = now - seen.changedAt;
    return unchanged >= leaseDuration
      ? undefined
      : `the lease of node ${node} has been unchanged for ${unchanged} of ${leaseDuration} ms`;
  },

  (input, now, parameters) => {
    const total = Object.values(input.votes).reduce((sum, votes) => sum + votes, 0) + input.qdeviceVotes;
    const { votes, longest } = votesWithout(input, now, parameters);
    if (votes * 2 > total) return undefined;
    const heard =
      longest === undefined
        ? "no fresh report lacks it"
        : `the longest uninterrupted one says so for ${longest} of ${parameters.fenceDelay} ms`;
    return `agents with ${votes} of ${total} votes have proven node ${input.node} gone, more than half is needed; ${heard}`;
  },
];

/** Votes of the agents whose reports have lacked the node long enough, and those that the QDevice gives them. */
function votesWithout(
  { observations, node, votes, qdeviceVotes }: GateInput,
  now: Milliseconds,
  parameters: GateParameters,
): { votes: number; longest: Milliseconds | undefined } {
  const lease = observations[node];
  let sum = 0;
  let device = 0;
  let longest: Milliseconds | undefined;
  for (const [reporter, seen] of Object.entries(observations)) {
    const absence = seen.lacking[node];
    if (reporter === node || !seen.renewed || !absence || now - seen.changedAt > parameters.reportFreshness) continue;
    // A node that was back since, and acted, has renewed its Lease: what was said before is no word against it.
    if (lease === undefined || absence.until <= lease.changedAt) continue;
    const proven = absence.until - absence.since;
    longest = Math.max(longest ?? 0, proven);
    if (proven < parameters.fenceDelay) continue;
    sum += votes[reporter] ?? 0;
    // The device gives its votes to one partition: they count once, and only as far as such a report itself shows them.
    device = Math.max(device, Math.min(qdeviceVotes, seen.report?.qdeviceVotes ?? 0));
  }
  return { votes: sum + device, longest };
}

export interface MembershipView {
  /** A fresh report of a quorate membership exists. */
  readonly quorate: boolean;
  /** Members by the quorate reports that are fresh. */
  readonly members: ReadonlySet<string>;
  /** Nodes whose agent renews its lease. */
  readonly alive: ReadonlySet<string>;
}

/**
 * Who is there now, by the fresh reports: for the node states. A node is a member as soon and as long as any fresh quorate report has
 * it, so that nothing moves on a doubt; the fence itself waits for the gate.
 */
export function currentMembership(
  observations: FenceObservations,
  now: Milliseconds,
  parameters: GateParameters,
): MembershipView {
  const members = new Set<string>();
  const alive = new Set<string>();
  let quorate = false;
  for (const [reporter, seen] of Object.entries(observations)) {
    if (now - seen.changedAt > parameters.reportFreshness) continue;
    if (seen.renewed) alive.add(reporter);
    if (seen.report?.quorate !== true || !seen.report.members.includes(reporter)) continue;
    quorate = true;
    for (const member of seen.report.members) members.add(member);
  }
  return { quorate, members, alive };
}
