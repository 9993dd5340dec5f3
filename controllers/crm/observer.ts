import {
  CLOSING_MS,
  type ClusterNode,
  CRM_HOLDER,
  MEMBERSHIP_ANNOTATION,
  type NodeMembership,
  nodeLeaseName,
  parseNodeMembership,
} from "../../crds/index.ts";
import { type Lease, leaseEpoch, leaseHolder } from "../../kube/index.ts";
import {
  currentMembership,
  type FenceObservations,
  fenceGate,
  type GateParameters,
  type LeaseSample,
  type MembershipReport,
  type MembershipView,
  type Milliseconds,
  observeLeases,
} from "../ha/index.ts";

import type { NodeSight } from "./view.ts";

export interface ObserverInput {
  readonly nodes: readonly ClusterNode[];
  readonly leases: readonly Lease[];
  readonly quorumOverride: boolean;
  /** Of the QDevice in the published configuration; 0 without one. */
  readonly qdeviceVotes: number;
}

/**
 * Watches the Leases of one cluster on this process's own clock. Every replica watches, also the one that does not lead: so a
 * new leader does not begin to count only when the old one died. What a replica did not see itself never counts.
 */
export class LeaseObserver {
  #parameters: GateParameters | undefined;
  #observations: FenceObservations = {};
  /** The same, but begun anew after every moment in which a quorum override was active: time under it proves nothing. */
  #gate: FenceObservations = {};
  /** When a node was last seen as a member, by this replica. */
  readonly #lastMember = new Map<string, Milliseconds>();
  #verdict = "";

  /** New timings begin the observation anew: what was judged by shorter ones is forgotten. */
  setTimings(parameters: GateParameters): void {
    const old = this.#parameters;
    if (
      old !== undefined &&
      old.fenceDelay === parameters.fenceDelay &&
      old.leaseDuration === parameters.leaseDuration &&
      old.reportFreshness === parameters.reportFreshness
    )
      return;
    this.#parameters = parameters;
    this.#observations = {};
    this.#gate = {};
  }

  /** Takes in what the caches hold now. To be called often: what was not looked at was not seen. */
  look(input: ObserverInput, now: Milliseconds): void {
    const parameters = this.#parameters;
    if (parameters === undefined) return;
    const names = namesById(input.nodes);
    const nodes = input.nodes.map((node) => node.metadata.name);
    const leases = new Map(input.leases.map((lease) => [lease.metadata.name, lease]));
    const samples = nodes.flatMap((node) => sample(node, leases.get(nodeLeaseName(node)), names) ?? []);
    this.#observations = observeLeases(this.#observations, samples, nodes, now, parameters);
    this.#gate = input.quorumOverride ? {} : observeLeases(this.#gate, samples, nodes, now, parameters);
    const { quorate, members, alive } = currentMembership(this.#observations, now, parameters);
    for (const member of members) this.#lastMember.set(member, now);
    this.#verdict = `${quorate}|${[...members].join()}|${[...alive].join()}`;
  }

  /** Who was there at the last look, in one word: another one when anything of it changed. */
  get verdict(): string {
    return this.#verdict;
  }

  /** A proof that some node is gone may end with the next word of a reporter. */
  isProofClosing(now: Milliseconds): boolean {
    const delay = this.#parameters?.fenceDelay;
    if (delay === undefined) return false;
    return Object.values(this.#gate).some(({ lacking }) =>
      Object.values(lacking).some(({ since }) => now - since >= delay && now - since < delay + CLOSING_MS),
    );
  }

  /** Forgets everything: the caches were not fresh, so time may have passed unseen. */
  interrupt(): void {
    this.#observations = {};
    this.#gate = {};
  }

  membership(now: Milliseconds): MembershipView {
    if (this.#parameters === undefined) return { quorate: false, members: new Set(), alive: new Set() };
    return currentMembership(this.#observations, now, this.#parameters);
  }

  /** How long ago the node was last seen as a member by this replica; undefined: never. */
  lastMemberAt(node: string): Milliseconds | undefined {
    return this.#lastMember.get(node);
  }

  sights(input: ObserverInput, now: Milliseconds): Map<string, NodeSight> {
    const parameters = this.#parameters;
    const { members, alive } = this.membership(now);
    const votes = Object.fromEntries(
      input.nodes.map((node) => [node.metadata.name, node.status?.votes ?? node.spec.votes]),
    );
    // A report may know of a device before the Cluster's status does. More votes to win is the safe side.
    const qdeviceVotes = Math.max(
      input.qdeviceVotes,
      ...Object.values(this.#gate).map(({ report }) => report?.qdeviceVotes ?? 0),
    );
    return new Map(
      input.nodes.map(
        ({
          metadata: { name },
          spec: {
            fencing: { mode: fencing },
          },
        }) => [
          name,
          {
            member: members.has(name),
            agentAlive: alive.has(name),
            fence:
              parameters === undefined
                ? {
                    proven: false,
                    reasons: [
                      "the timings of this cluster are not safe, or not known yet; see its condition TimingsSafe",
                    ],
                  }
                : fenceGate(
                    {
                      observations: this.#gate,
                      node: name,
                      votes,
                      qdeviceVotes,
                      quorumOverride: input.quorumOverride,
                      fencing,
                    },
                    now,
                    parameters,
                  ),
          },
        ],
      ),
    );
  }
}

function namesById(nodes: readonly ClusterNode[]): Map<number, string> {
  return new Map(
    nodes.flatMap((node) => (node.spec.nodeId === undefined ? [] : [[node.spec.nodeId, node.metadata.name] as const])),
  );
}

/** Of a Lease, which does not change; the next renewal is another object. */
const reports = new WeakMap<Lease, { readonly report: NodeMembership | undefined }>();

function reportIn(lease: Lease): NodeMembership | undefined {
  const known = reports.get(lease);
  if (known !== undefined) return known.report;
  const report = parseNodeMembership(lease.metadata.annotations?.[MEMBERSHIP_ANNOTATION]);
  // Who changes a Lease in place, as no cache does, is read again.
  if (Object.isFrozen(lease)) reports.set(lease, { report });
  return report;
}

function sample(node: string, lease: Lease | undefined, names: ReadonlyMap<number, string>): LeaseSample | undefined {
  if (lease === undefined) return undefined;
  const token = `${leaseHolder(lease)} ${lease.spec?.renewTime ?? ""} ${leaseEpoch(lease)}`;
  const report = reportIn(lease);
  const name = leaseHolder(lease);
  const holder = name === CRM_HOLDER ? "crm" : name === "" ? "none" : "agent";
  return { node, token, holder, ...(report === undefined ? {} : { report: named(report, names) }) };
}

/** What an agent said of its corosync's membership, by names. Members that no object names are left out. */
function named(report: NodeMembership, names: ReadonlyMap<number, string>): MembershipReport {
  return { ...report, members: report.members.flatMap((id) => names.get(id) ?? []) };
}
