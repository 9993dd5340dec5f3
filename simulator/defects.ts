/**
 * Known defects that can be planted in the event-driven world, one at a time: each takes one rule away that guests rely on. A search
 * that does not find the consequences of each of them would not find a new one either.
 */
import type { LrmState, LrmView } from "../agent/ha/index.ts";
import type { CrmEffect, CrmView, GateParameters, NodeView } from "../controllers/ha/index.ts";
import { QuorateError } from "../errors.ts";

/** What it changes in what the parts are given; absent: nothing. */
export interface Defect {
  readonly summary: string;
  readonly gate?: (right: GateParameters) => GateParameters;
  readonly crmView?: (view: CrmView) => CrmView;
  /** Effects of the CRM that are lost. */
  readonly loses?: CrmEffect["type"];
  readonly lrmView?: (view: LrmView, state: LrmState) => LrmView;
  readonly lrmState?: (state: LrmState) => LrmState;
  /** Whether the keeper pets now. */
  readonly pets?: (keeper: { proven: boolean; provenBefore: boolean; apiReachable: boolean }) => boolean;
  /** The end of a keeper closes the watchdog. */
  readonly keeperCloses?: boolean;
  /** A result that cannot be written is not written again. */
  readonly resultsOnce?: boolean;
  readonly overrideTimeCounts?: boolean;
}

export const DEFECTS: Readonly<Record<string, Defect>> = {
  "fence-delay-too-short": {
    summary: "the CRM takes a lease after a third of the time that the proof needs",
    gate: (right) => ({ ...right, fenceDelay: right.fenceDelay / 3, leaseDuration: right.leaseDuration / 3 }),
  },
  "recovery-before-fence": {
    summary: "a node that is no member counts as fenced at once",
    crmView: forNodes((node) => (node.member ? node : { ...node, fence: { proven: true, reasons: ["absent"] } })),
  },
  "fence-lost-agent": {
    summary: "a node whose agent is lost counts as gone, although it is a member",
    crmView: forNodes((node) =>
      node.agentAlive ? node : { ...node, member: false, fence: { proven: true, reasons: ["agent lost"] } },
    ),
  },
  "fence-on-api-outage": {
    summary: "the keeper pets only while the API server is reachable",
    pets: ({ proven, apiReachable }) => proven && apiReachable,
  },
  "stale-quorum-proof": {
    summary: "the keeper goes on petting with the last proof of quorum, however old",
    pets: ({ provenBefore }) => provenBefore,
  },
  "keeper-closes-on-exit": {
    summary: "a keeper that ends closes the watchdog in passing",
    keeperCloses: true,
  },
  "starts-unarmed": {
    summary: "the agent takes the watchdog for armed without asking",
    lrmView: (view) => ({ ...view, watchdog: { ...view.watchdog, armed: true } }),
  },
  "lock-ignored": {
    summary: "the agent starts guests whoever holds its node's lease, as long as anybody ever did",
    lrmView: (view, state) =>
      view.lease.epoch === 0 ? view : { ...view, lease: { holder: "self", epoch: state.epoch ?? view.lease.epoch } },
  },
  "lease-kept": {
    summary: "the CRM never gives the lease of a fenced node back",
    loses: "releaseLease",
  },
  "restart-counter-ignored": {
    summary: "the agent forgets how often it has tried to start a guest",
    lrmState: (state) => ({ ...state, startRetries: {} }),
  },
  "relocation-counter-ignored": {
    summary: "the CRM never has enough of moving a guest that does not start",
    crmView: (view) => ({
      ...view,
      services: Object.fromEntries(
        Object.entries(view.services).map(([id, service]) => [
          id,
          { ...service, maxRelocate: Number.MAX_SAFE_INTEGER },
        ]),
      ),
    }),
  },
  "result-lost": {
    summary: "an agent that cannot write a result does not write it again",
    resultsOnce: true,
  },
  "time-under-override-counts": {
    summary: "reports made under a quorum override count for the fence as soon as it ends",
    overrideTimeCounts: true,
  },
};

const NONE: Defect = { summary: "nothing is broken" };

/** @param name "none" or undefined: no defect. @throws QuorateError of class user for a name that is not one of DEFECTS. */
export function defectNamed(name: string | undefined): Defect {
  if (name === undefined || name === "none") return NONE;
  const defect = Object.hasOwn(DEFECTS, name) ? DEFECTS[name] : undefined;
  if (defect) return defect;
  throw new QuorateError(
    "user",
    "UnknownDefect",
    `"${name}" is no known defect; there are ${Object.keys(DEFECTS).join(", ")}`,
  );
}

function forNodes(change: (node: NodeView) => NodeView): (view: CrmView) => CrmView {
  return (view) => ({
    ...view,
    nodes: Object.fromEntries(Object.entries(view.nodes).map(([name, node]) => [name, change(node)])),
  });
}
