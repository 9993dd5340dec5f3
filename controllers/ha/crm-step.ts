/**
 * One step of the CRM, pure: no clock, no I/O, no randomness. Nodes, adopted and dropped services, usage and rules, requests,
 * balancing, then the services again and again until nothing changes: Fence -> Recovery -> Started can be one step.
 *
 * Order contract: see CrmEffect. A lease that `takeLease` took is seen in the view of the next step (`sameRound`), never assumed.
 */
import { takeRequests } from "./commands.ts";
import { servicesSuspended, updateDisarm } from "./disarm.ts";
import { fenceNodes, forgetNodes, releaseLeases, updateNodes } from "./nodes.ts";
import { rebalance } from "./rebalance.ts";
import { Round } from "./round.ts";
import { compileRules, type RuleSet } from "./rules.ts";
import { stepService } from "./services.ts";
import type {
  CrmParameters,
  CrmState,
  CrmStepResult,
  CrmView,
  Milliseconds,
  NodeRecord,
  ServiceRecord,
  ServiceView,
} from "./types.ts";

export const DEFAULT_CRM_PARAMETERS: CrmParameters = {
  behaviour: "default",
  fenceDelay: 0,
  roundLength: 10_000,
  idleRounds: 90,
  startGrace: 10_000,
  forgetNodeAfter: 3_600_000,
  moveRetryDelay: 10_000,
};

/** What a leader begins with: records rebuilt from objects, every volatile clock starting at `now`. */
export function initialCrmState(
  services: Readonly<Record<string, ServiceRecord>>,
  nodes: Readonly<Record<string, NodeRecord["state"]>>,
  now: Milliseconds,
  disarm?: CrmState["disarm"],
): CrmState {
  return {
    services,
    nodes: Object.fromEntries(Object.entries(nodes).map(([name, state]) => [name, { state, lastOnline: now }])),
    ...(disarm === undefined ? {} : { disarm }),
    commandCount: 0,
    imbalancedRounds: 0,
    idleRounds: 0,
    lastRoundAt: now,
    goneSince: {},
  };
}

/** A service's state can change this often in one step before it is taken for a loop of ours. */
const PASSES = 16;

export function crmStep(state: CrmState, view: CrmView, now: Milliseconds, parameters: CrmParameters): CrmStepResult {
  const rules = rulesOf(view);
  const round = new Round(state, view, rules.compiled, parameters, now);
  if (!view.quorate) return { state, effects: [], events: [], droppedRules: rules.dropped, idle: false };

  const newRound = !view.sameRound && now - state.lastRoundAt >= parameters.roundLength;
  round.newRound = newRound;
  updateNodes(round);
  adoptAndDrop(round);
  round.recount();
  if (!view.sameRound) takeRequests(round, view.requests);
  if (updateDisarm(round)) round.recount();
  if (newRound) rebalance(round);
  if (!servicesSuspended(round)) stepServices(round);
  releaseLeases(round);

  const idleRounds = round.serviceIds().length > 0 ? 0 : state.idleRounds + (newRound ? 1 : 0);
  const idle = idleRounds > parameters.idleRounds;
  if (idle && state.idleRounds <= parameters.idleRounds)
    round.event("role.idle", "cluster", undefined, { rounds: parameters.idleRounds });
  const finished = round.finish(idleRounds, newRound ? now : state.lastRoundAt, forgetNodes(round, state.goneSince));
  return { ...finished, events: round.events, droppedRules: rules.dropped, idle };
}

function adoptAndDrop(round: Round): void {
  const unknown: string[] = [];
  for (const id in round.view.services) if (!round.services.has(id)) unknown.push(id);
  for (const id of unknown.sort()) {
    const view = round.view.services[id];
    if (view && view.requested !== "Ignored") adopt(round, id, view);
  }
  for (const id of round.serviceIds()) {
    const view = round.view.services[id];
    if (!view) dropUnlessGuestIsAway(round, id);
    else if (view.requested === "Ignored") round.drop(id, "ignored");
    else identify(round, id, view);
  }
}

/** An HAResource that was deleted and made anew between two looks is another service: its status is empty, and its agent knows no command. */
function identify(round: Round, id: string, view: ServiceView): void {
  const record = round.services.get(id);
  if (!record) return;
  if (isAnother(record.uid, view.uid)) {
    round.forget(id, "deleted");
    adopt(round, id, view);
  } else if (view.guestUid !== undefined && view.guestUid !== record.guestUid) {
    round.amend(id, { guestUid: view.guestUid });
  }
}

function isAnother(known: string | undefined, seen: string | undefined): boolean {
  return known !== undefined && seen !== undefined && known !== seen;
}

/**
 * The binding says where it is. Where it was left on another node and is bound elsewhere now, or its Guest was made anew meanwhile, it
 * may run on either, unless it has been seen to run where it is bound.
 */
function adopt(round: Round, id: string, view: ServiceView): void {
  const { owner, uid, guestUid } = view;
  const left = round.left.get(id);
  const last = view.lastNode ?? (left?.guestUid === guestUid ? undefined : left?.node) ?? owner;
  const known = { ...(uid === undefined ? {} : { uid }), ...(guestUid === undefined ? {} : { guestUid }) };
  round.event("service.adopt", "service", id, { node: owner });
  if (last === owner || view.running) {
    round.adopt(id, { ...known, node: owner, state: view.requested === "Started" ? "RequestStart" : "RequestStop" });
  } else {
    round.event("service.bound-elsewhere", "service", id, { node: last, owner });
    round.adopt(id, { ...known, node: last, state: "Error" });
  }
}

/**
 * A Guest that is deleted still runs where it ran, and one that is made anew may name another node: the record of where it is must
 * outlive it. Only the end of the HAResource says that nobody is to care any more.
 */
function dropUnlessGuestIsAway(round: Round, id: string): void {
  if (round.view.withoutGuest?.has(id) !== true) round.drop(id, "deleted");
  else if (round.newRound) round.event("service.guest-away", "service", id, { node: round.services.get(id)?.node });
}

function stepServices(round: Round): void {
  for (let pass = 0; pass < PASSES; pass += 1) {
    let changed = false;
    for (const id of round.serviceIds()) {
      const before = round.services.get(id)?.state;
      stepOne(round, id);
      if (round.services.get(id)?.state !== before) changed = true;
    }
    if (!changed && !fenceNodes(round)) return;
  }
}

/** One failing service must not keep the others from being recovered. */
function stepOne(round: Round, id: string): void {
  try {
    stepService(round, id);
  } catch (thrown) {
    round.event("service.skipped", "service", id, { error: thrown instanceof Error ? thrown.message : String(thrown) });
  }
}

/** Rules change rarely and steps are many: the last result for a list of rules is kept, as long as all it depends on is the same. */
const compiled = new WeakMap<CrmView["rules"], { key: string; groups: CrmView["groups"]; rules: RuleSet }>();

function rulesOf(view: CrmView): RuleSet {
  const groups = groupsOf(view);
  const nodes = Object.keys(view.nodes).length;
  const key = `${nodes} ${[...groups].join()}`;
  const known = compiled.get(view.rules);
  if (known?.key === key && known.groups === view.groups) return known.rules;
  const rules = compileRules(view.rules, nodes, view.groups, groups);
  compiled.set(view.rules, { key, groups: view.groups, rules });
  return rules;
}

function groupsOf(view: CrmView): Map<string, string> {
  const groups = new Map<string, string>();
  if (Object.keys(view.groups).length === 0) return groups; // a group that is not there prefers nothing
  for (const id in view.services) {
    const group = view.services[id]?.group;
    if (group !== undefined) groups.set(id, group);
  }
  return groups;
}
