/** The one next change of a configuration that all members run. Pure; `rollout.ts` decides whether it may be made. */
import {
  type ConfigAddress,
  type ConfigNode,
  type CorosyncConfig,
  neededVotes,
  normalize,
  presentVotes,
  sameConfig,
  totalVotes,
} from "./corosync-config.ts";
import { deviceFor } from "./qdevice.ts";
import {
  type Desired,
  type DesiredLink,
  type DesiredNode,
  LOAD_DEADLINE_MS,
  type Observed,
  type Published,
  REFUSED_FOR_MS,
  type Step,
} from "./rollout-types.ts";

/** A step, and what it changes; with neither `config` nor `admitted` it waits. */
export interface Change extends Step {
  readonly config?: CorosyncConfig;
  readonly admitted?: readonly string[];
  readonly addedLinks?: readonly number[];
}

const STABLE: Change = { step: "Stable", reason: "all members run what the objects ask for" };

/**
 * Leaving comes first, then what concerns all nodes, then joining; one thing at a time. What has to wait does not hold
 * up what comes after it.
 */
export function nextChange(published: Published, desired: Desired, observed: Observed): Change {
  const { config } = published;
  const changes = [
    ...config.nodes.filter(({ name }) => goes(desired, name)).map((node) => leave(published, desired, observed, node)),
    settings(config, desired),
    links(config, desired, observed),
    votes(config, desired, observed),
    ...desired.nodes.filter((node) => isNew(config, node)).map((node) => join(config, desired, observed, node)),
  ]
    .filter((change) => change !== undefined)
    .map((change) => held(change, published, observed));
  const possible = changes.find((change) => change.config !== undefined || change.admitted !== undefined);
  const device = qdevice(config, desired, observed, possible);
  return (device && held(device, published, observed)) ?? possible ?? changes[0] ?? STABLE;
}

/** The change as it is, or why it must not be made now. */
function held(change: Change, { config: now, refused }: Published, observed: Observed): Change {
  if (change.config === undefined) return change;
  const { step, node, reason } = change;
  if (
    refused !== undefined &&
    observed.publishedForMs < REFUSED_FOR_MS &&
    sameConfig(refused.config, normalize(change.config))
  ) {
    const minutes = Math.ceil((REFUSED_FOR_MS - observed.publishedForMs) / 60_000);
    const again = `it is tried again in ${minutes} min, or when something else changes`;
    return { step: "Reverted", node: refused.node, reason: `${step} was reverted: ${refused.reason}; ${again}` };
  }
  if (staysQuorate(now, change.config, observed)) return change;
  const why = "held, because the nodes that are there would no longer be a majority; bring the missing ones back first";
  return { step, ...(node === undefined ? {} : { node }), reason: `${reason}: ${why}` };
}

/** Whether the members that are there have the majority by the next configuration too. */
function staysQuorate(now: CorosyncConfig, next: CorosyncConfig, { membership }: Observed): boolean {
  const isMember = ({ nodeId }: ConfigNode) => membership?.has(nodeId) ?? false;
  // Quorate although the nodes alone would not be: then, and only then, it is certain that the QDevice votes.
  const deviceVotes = presentVotes(now, isMember) < neededVotes(now) ? (now.qdevice?.votes ?? 0) : 0;
  const deviceStays = next.qdevice !== undefined && next.qdevice.votes === deviceVotes;
  return presentVotes(next, isMember) + (deviceStays ? deviceVotes : 0) >= neededVotes(next);
}

function goes(desired: Desired, name: string): boolean {
  return (
    desired.nodes.find((node) => node.name === name)?.leaving !== undefined ||
    !desired.nodes.some((node) => node.name === name)
  );
}

function isNew(config: CorosyncConfig, node: DesiredNode): boolean {
  return node.leaving === undefined && !config.nodes.some(({ name }) => name === node.name);
}

/** Votes down to none, then its corosync stops, then it is proven off, then it is out of the configuration. */
function leave(published: Published, desired: Desired, observed: Observed, node: ConfigNode): Change {
  const { config, admitted } = published;
  const { name, nodeId } = node;
  // Whose object was taken away without its finalizer: that it is not a member has to do for a proof.
  const leaving = desired.nodes.find((one) => one.name === name)?.leaving ?? {};
  const step = { step: "Leave", node: name };
  if (leaving.neededBy !== undefined) return { ...step, reason: leaving.neededBy };
  if (config.nodes.length === 1) return { ...step, reason: `${name} is the last node; delete the Cluster to end it` };
  if (node.votes > 0) {
    const fewer = withVotes(config, name, node.votes - 1);
    if (totalVotes(fewer) === 0) return { ...step, reason: `${name} has the last vote; give another node votes first` };
    return { ...step, reason: `${name} gives up a vote`, config: fewer };
  }
  if (admitted.includes(name)) {
    return { ...step, reason: `corosync of ${name} stops`, admitted: admitted.filter((one) => one !== name) };
  }
  const member = observed.membership?.has(nodeId) ?? false;
  const alive = observed.nodes.get(name)?.alive ?? false;
  // One whose agent works but does not stop it is cut off instead: without a vote it can do no harm.
  if (member && !(alive && observed.publishedForMs >= LOAD_DEADLINE_MS)) {
    const silent = alive ? "" : "; its agent is silent, so power the host off";
    return { ...step, reason: `waiting for corosync of ${name} to stop${silent}` };
  }
  if (!member && leaving.notOff !== undefined) return { ...step, reason: leaving.notOff };
  const nodes = config.nodes.filter((one) => one.name !== name);
  return { ...step, reason: `${name} is taken out of the configuration`, config: { ...config, nodes } };
}

function settings(config: CorosyncConfig, desired: Desired): Change | undefined {
  const step = "ChangeSettings";
  const { tokenMilliseconds, tokenCoefficientMilliseconds, realtime, cryptoHeld } = desired;
  const { cipher, hash } = cryptoHeld === undefined ? desired : config;
  const links = config.links.map(({ number, priority }) => ({
    number,
    priority: desired.links.find((link) => link.number === number)?.priority ?? priority,
  }));
  const next = { ...config, cipher, hash, tokenMilliseconds, tokenCoefficientMilliseconds, realtime, links };
  if (JSON.stringify(next) !== JSON.stringify(config)) {
    if (desired.settingsHeld !== undefined) return { step, reason: desired.settingsHeld };
    return { step, reason: "settings of the whole cluster change", config: next };
  }
  const waits = cipher !== desired.cipher || hash !== desired.hash;
  return waits ? { step, reason: cryptoHeld ?? "" } : undefined;
}

/**
 * Corosync cannot change the address of a link, only drop and add links while another one works. So a link moves by being
 * dropped and added again, and the only link by way of a spare one: the membership lasts through all of it.
 */
function links(config: CorosyncConfig, desired: Desired, observed: Observed): Change | undefined {
  const present = config.links.map(({ number }) => number);
  const isComplete = ({ addresses }: DesiredLink) => config.nodes.every(({ name }) => addresses.has(name));
  const usable = desired.links.filter(isComplete);
  const added = usable.find(({ number }) => !present.includes(number));
  if (added) return addLink(config, added, added.number, "AddLink", `link ${added.number} is added`);
  const moved = usable.find((link) => isMoved(config, link));
  if (moved) {
    const others = present.filter((number) => number !== moved.number);
    const reason = `link ${moved.number} moves to other addresses`;
    if (others.length > 0) return dropLink(config, moved.number, others, observed, "MoveLink", reason);
    const spare = moved.number === 7 ? 6 : 7;
    return addLink(config, moved, spare, "MoveLink", `${reason}; meanwhile link ${spare} carries the traffic`);
  }
  const incomplete = desired.links.find(
    (link) => !isComplete(link) && (!present.includes(link.number) || isMoved(config, link)),
  );
  if (incomplete) {
    const without = config.nodes.find(({ name }) => !incomplete.addresses.has(name));
    const reason = `link ${incomplete.number} changes when every node has an address on it; ${without?.name} has none`;
    return { step: "ChangeLink", ...(without ? { node: without.name } : {}), reason };
  }
  const dropped = present.find((number) => !desired.links.some((link) => link.number === number));
  if (dropped === undefined) return undefined;
  const others = present.filter((number) => number !== dropped);
  return dropLink(config, dropped, others, observed, "RemoveLink", `link ${dropped} is removed`);
}

function isMoved(config: CorosyncConfig, { number, addresses }: DesiredLink): boolean {
  return config.nodes.some((node) => {
    const now = node.addresses.find(({ link }) => link === number)?.address;
    const then = addresses.get(node.name)?.address;
    return now !== undefined && then !== undefined && now !== then;
  });
}

function addLink(
  config: CorosyncConfig,
  { priority, addresses }: DesiredLink,
  number: number,
  step: string,
  reason: string,
): Change {
  const nodes = config.nodes.map((node) => {
    const found = addresses.get(node.name);
    return found === undefined ? node : { ...node, addresses: [...node.addresses, { link: number, ...found }] };
  });
  const links = [...config.links, { number, priority }];
  return { step, reason, config: { ...config, links, nodes }, addedLinks: [number] };
}

function dropLink(
  config: CorosyncConfig,
  number: number,
  others: readonly number[],
  observed: Observed,
  step: string,
  reason: string,
): Change {
  const members = config.nodes.filter(({ nodeId }) => observed.membership?.has(nodeId));
  const carries = (other: number) =>
    members.length < 2 || members.every(({ name }) => observed.nodes.get(name)?.linksUp.has(other));
  if (!others.some(carries)) {
    return {
      step,
      reason: `${reason} as soon as another link reaches all members; repair link ${others.join(" or ")} first`,
    };
  }
  const links = config.links.filter((link) => link.number !== number);
  const nodes = config.nodes.map((node) => ({
    ...node,
    addresses: node.addresses.filter(({ link }) => link !== number),
  }));
  return { step, reason, config: { ...config, links, nodes } };
}

/** One vote at a time, and to members only: a vote of a node that is not there would only make a majority harder. */
function votes(config: CorosyncConfig, desired: Desired, observed: Observed): Change | undefined {
  const wish = (name: string) => desired.nodes.find((node) => node.name === name && node.leaving === undefined)?.votes;
  const isMember = ({ nodeId }: ConfigNode) => observed.membership?.has(nodeId) ?? false;
  const more = config.nodes.find((node) => node.votes < (wish(node.name) ?? 0) && isMember(node));
  const fewer = config.nodes.find((node) => node.votes > (wish(node.name) ?? node.votes));
  const node = more ?? fewer;
  if (node === undefined) return undefined;
  const next = withVotes(config, node.name, node.votes + (node === more ? 1 : -1));
  if (totalVotes(next) === 0)
    return { step: "ChangeVotes", node: node.name, reason: "no node would have a vote; give at least one node a vote" };
  return {
    step: "ChangeVotes",
    node: node.name,
    reason: `${node.name} is to have ${wish(node.name)} votes`,
    config: next,
  };
}

function withVotes(config: CorosyncConfig, name: string, votes: number): CorosyncConfig {
  return { ...config, nodes: config.nodes.map((node) => (node.name === name ? { ...node, votes } : node)) };
}

/** Into the configuration without a vote; the votes follow when it is a member. */
function join(config: CorosyncConfig, desired: Desired, observed: Observed, node: DesiredNode): Change {
  const step = { step: "Join", node: node.name };
  if (node.notReady !== undefined) return { ...step, reason: node.notReady };
  const missing = config.nodes.find(({ nodeId, name }) => !goes(desired, name) && !observed.membership?.has(nodeId));
  if (missing) return { ...step, reason: `${node.name} joins when all nodes are members; ${missing.name} is not` };
  const addresses: ConfigAddress[] = [];
  for (const { number } of config.links) {
    const found = desired.links.find((link) => link.number === number)?.addresses.get(node.name);
    if (found === undefined) return { ...step, reason: `${node.name} has no address on link ${number}` };
    addresses.push({ link: number, ...found });
  }
  const nodes = [...config.nodes, { name: node.name, nodeId: node.nodeId, votes: 0, addresses }];
  return { ...step, reason: `${node.name} is made known to the members`, config: { ...config, nodes } };
}

/** The QDevice counts nodes, so it is out while they or their votes change, and back when all is settled. */
function qdevice(
  config: CorosyncConfig,
  desired: Desired,
  observed: Observed,
  possible: Change | undefined,
): Change | undefined {
  const wanted = desired.qdevice === undefined ? undefined : deviceFor(desired.qdevice, config.nodes);
  if (config.qdevice !== undefined) {
    const settled =
      wanted !== undefined && !("problem" in wanted) && JSON.stringify(wanted) === JSON.stringify(config.qdevice);
    const countsChange = possible !== undefined && ["Leave", "Join", "ChangeVotes"].includes(possible.step);
    if (settled && !countsChange) return undefined;
    const { qdevice: _, ...without } = config;
    return {
      step: "SuspendQDevice",
      reason: "the QDevice is out while nodes, votes or its settings change",
      config: without,
    };
  }
  if (wanted === undefined || possible !== undefined) return undefined;
  if ("problem" in wanted) return { step: "AddQDevice", reason: wanted.message };
  const step = "AddQDevice";
  const unsettled = config.nodes.find(({ name, nodeId }) => goes(desired, name) || !observed.membership?.has(nodeId));
  if (unsettled)
    return {
      step,
      node: unsettled.name,
      reason: `the QDevice is added when all nodes are members and stay; ${unsettled.name} does not`,
    };
  return { step, reason: "the QDevice gets its votes", config: { ...config, qdevice: wanted } };
}
