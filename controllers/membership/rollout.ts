/**
 * How a running cluster gets from the configuration it has to the one it should have: one small change at a time, each
 * of which every member runs before the next is made. Pure.
 *
 * What keeps the vote count safe while nodes run different versions:
 * - A node joins and leaves without a vote; votes change by one at a time. So any majority by the old configuration and
 *   any majority by the new one have a node in common, and a join or a leave that fails costs nobody the quorum.
 * - Nothing changes without a quorate membership, except before the cluster was quorate for the first time, and by a
 *   quorum override.
 * - A member that has not loaded the current version holds everything up, as long as it is a member.
 */
import { type CorosyncConfig, normalize, sameConfig } from "./corosync-config.ts";
import { type Change, nextChange } from "./rollout-changes.ts";
import {
  type Desired,
  type DesiredNode,
  FORMING_PATIENCE_MS,
  FORMING_SETTLE_MS,
  LOAD_DEADLINE_MS,
  type Observed,
  type Published,
  type Step,
} from "./rollout-types.ts";

export interface Decision extends Step {
  /** What to publish now; undefined: as it is. */
  readonly publish?: Published;
}

export function decideRollout(published: Published | undefined, desired: Desired, observed: Observed): Decision {
  if (published === undefined) return form(desired, observed);
  const newest = newestVersion(observed, published.admitted);
  if (newest > published.version) {
    // Someone put back an older copy of what we publish. Versions only grow, or nodes would refuse to start.
    return say("Recover", `nodes run version ${newest}, newer than the published ${published.version}`, {
      ...published,
      version: newest + 1,
    });
  }
  const inSync = checkSync(published, observed);
  const overridden = applyOverride(published, desired);
  if (overridden !== undefined) return overridden;
  if (observed.membership === undefined) {
    if (published.formed)
      return {
        step: "WaitForQuorum",
        reason: "no change is made without quorum; bring nodes back, or see spec.quorumOverride",
      };
    return reform(published, desired, observed);
  }
  if (!published.formed)
    return say("Formed", "the cluster is quorate for the first time", { ...published, formed: true });
  if (desired.override !== undefined)
    return { step: "Overridden", reason: "no other change is made while spec.quorumOverride is active" };
  if (inSync !== undefined) return awaitSync(published, observed, inSync);

  const waiting = published.config.nodes.find(
    (node) => !published.admitted.includes(node.name) && wantsIn(desired, node.name),
  );
  if (waiting) {
    const admitted = [...published.admitted, waiting.name].sort();
    return say("Join", `all members know ${waiting.name}, so it may start`, { ...published, admitted }, waiting.name);
  }
  const change = nextChange(published, desired, observed);
  const deaf = published.config.nodes.find(
    ({ nodeId, name }) => observed.membership?.has(nodeId) && !observed.nodes.get(name)?.alive,
  );
  if (change.config !== undefined && deaf !== undefined) {
    const why = `the agent of ${deaf.name} is silent, but its corosync is a member and would not load the change; restart the agent, or power the host off`;
    return { step: change.step, node: deaf.name, reason: `${change.reason}: held, because ${why}` };
  }
  return apply(published, change);
}

function apply(published: Published, { step, reason, node, admitted, config, addedLinks }: Change): Decision {
  if (admitted !== undefined) return say(step, reason, { ...published, admitted }, node);
  if (config !== undefined) return say(step, reason, publishNext(published, normalize(config), addedLinks), node);
  return { step, reason, ...(node === undefined ? {} : { node }) };
}

function publishNext(published: Published, config: CorosyncConfig, addedLinks?: readonly number[]): Published {
  const names = new Set(config.nodes.map(({ name }) => name));
  return {
    version: published.version + 1,
    config,
    admitted: published.admitted.filter((name) => names.has(name)),
    formed: published.formed,
    highestNodeId: highest(published.highestNodeId, config),
    before: published.config,
    ...(addedLinks === undefined ? {} : { addedLinks }),
  };
}

function say(step: string, reason: string, publish: Published, node?: string): Decision {
  return { step, reason, publish, ...(node === undefined ? {} : { node }) };
}

function wantsIn(desired: Desired, name: string): boolean {
  const node = desired.nodes.find((one) => one.name === name);
  return node !== undefined && node.leaving === undefined;
}

function newestVersion(observed: Observed, names: readonly string[]): number {
  return Math.max(0, ...names.map((name) => observed.nodes.get(name)?.version ?? 0));
}

function highest(sofar: number, config: CorosyncConfig): number {
  return Math.max(sofar, ...config.nodes.map(({ nodeId }) => nodeId));
}

/** The first configuration: all nodes that are ready, at once, because nothing runs yet that could be split. */
function form(desired: Desired, observed: Observed): Decision {
  const newest = newestVersion(observed, [...observed.nodes.keys()]);
  const recovered = newest > 0 && observed.membership !== undefined;
  const staying = desired.nodes.filter(({ leaving }) => leaving === undefined);
  // Whoever is a member has to be in it, ready or not.
  const isMember = ({ name, nodeId }: DesiredNode) =>
    (observed.membership?.has(nodeId) ?? false) && isComplete(desired, name);
  const ready = staying.filter((node) => node.notReady === undefined || (recovered && isMember(node)));
  const late = staying.find((node) => !ready.includes(node));
  if (desired.settingsHeld !== undefined) return { step: "WaitForSettings", reason: desired.settingsHeld };
  if (ready.length === 0)
    return { step: "WaitForAgents", reason: late?.notReady ?? "there is no ClusterNode; apply one for each host" };
  if (late !== undefined && observed.agentsForMs < FORMING_PATIENCE_MS) {
    return { step: "WaitForAgents", node: late.name, reason: late.notReady ?? "" };
  }
  if (!recovered && desired.unnumbered !== undefined)
    return { step: "WaitForNodes", node: desired.unnumbered, reason: `${desired.unnumbered} is to have an id first` };
  if (!recovered && observed.declaredForMs < FORMING_SETTLE_MS)
    return { step: "WaitForNodes", reason: "a ClusterNode was just declared or deleted; more may follow" };
  const config = normalize(configOf(desired, ready));
  return say(
    recovered ? "Recover" : "Form",
    recovered
      ? `the published configuration was lost; nodes run version ${newest}`
      : `the cluster begins with ${ready.map(({ name }) => name).join(", ")}`,
    {
      version: newest + 1,
      config,
      admitted: ready.map(({ name }) => name).sort(),
      formed: recovered,
      highestNodeId: highest(0, config),
    },
  );
}

/** Not quorate yet, and never was: whatever the objects say now is taken at once, so that a mistake can be corrected. */
function reform(published: Published, desired: Desired, observed: Observed): Decision {
  const known = new Set(published.config.nodes.map(({ name }) => name));
  const wanted = desired.nodes.filter(
    ({ name, notReady, leaving }) => leaving === undefined && (notReady === undefined || known.has(name)),
  );
  const complete = wanted.filter(({ name }) => isComplete(desired, name));
  const waiting: Step = { step: "Form", reason: "waiting for the first quorum of the nodes" };
  if (complete.length === 0 || desired.settingsHeld !== undefined)
    return { ...waiting, reason: desired.settingsHeld ?? waiting.reason };
  const config = normalize(configOf(desired, complete));
  if (!sameConfig(config, published.config)) {
    return say("Form", "the objects changed before the first quorum", {
      ...publishNext(published, config),
      admitted: complete.map(({ name }) => name).sort(),
    });
  }
  const behind = checkSync(published, observed);
  return behind === undefined ? waiting : { ...waiting, ...behind };
}

function isComplete(desired: Desired, name: string): boolean {
  return desired.links.every(({ addresses }) => addresses.has(name));
}

function configOf(desired: Desired, nodes: readonly DesiredNode[]): CorosyncConfig {
  const { clusterName, cipher, hash, tokenMilliseconds, tokenCoefficientMilliseconds, realtime } = desired;
  return {
    clusterName,
    cipher,
    hash,
    tokenMilliseconds,
    tokenCoefficientMilliseconds,
    realtime,
    links: desired.links.map(({ number, priority }) => ({ number, priority })),
    nodes: nodes.map(({ name, nodeId, votes }) => ({
      name,
      nodeId,
      votes,
      addresses: desired.links.flatMap(({ number, addresses }) => {
        const found = addresses.get(name);
        return found === undefined ? [] : [{ link: number, ...found }];
      }),
    })),
  };
}

/** The vote count by order of a person: at once, whatever else is the case, and taken back likewise. */
function applyOverride(published: Published, desired: Desired): Decision | undefined {
  const wanted = desired.override?.expectedVotes;
  const { expectedVotes, ...rest } = published.config;
  if (expectedVotes === wanted) return undefined;
  const { version, config, admitted, formed, highestNodeId } = {
    ...published,
    version: published.version + 1,
    config: normalize(wanted === undefined ? rest : { ...rest, expectedVotes: wanted }),
  };
  const reason = wanted === undefined ? "the quorum override has ended" : `the quorum override expects ${wanted} votes`;
  return say("Override", reason, { version, config, admitted, formed, highestNodeId });
}

/** The first member that does not run the published version as it should, or undefined when all do. */
function checkSync(published: Published, observed: Observed): { node: string; reason: string } | undefined {
  const { config, version, admitted } = published;
  for (const { name, nodeId, addresses } of config.nodes) {
    const node = observed.nodes.get(name);
    const member = observed.membership?.has(nodeId) ?? false;
    if (!admitted.includes(name)) continue;
    // One that is off reads the current version before it starts.
    if (!member && !(node?.alive && node.running)) continue;
    const silent = node?.alive ? "" : "its agent is silent, so restart that, or power the host off; ";
    if (node?.version !== version) {
      const failed = node?.loadProblem?.version === version ? node.loadProblem.message : undefined;
      const why = failed ?? `it runs version ${node?.version ?? "unknown"}`;
      return { node: name, reason: `${name} has not loaded version ${version}: ${silent}${why}` };
    }
    const notUp = published.addedLinks?.find(
      (link) => node.linksUp.get(link) !== addresses.find((one) => one.link === link)?.address,
    );
    if (member && notUp !== undefined && (observed.membership?.size ?? 0) > 1) {
      return { node: name, reason: `link ${notUp} of ${name} does not reach all members` };
    }
  }
  return undefined;
}

function awaitSync(published: Published, observed: Observed, behind: { node: string; reason: string }): Decision {
  const { before } = published;
  const alive = observed.nodes.get(behind.node)?.alive ?? false;
  // Whose agent is silent has failed nothing; going back would not reach it either.
  if (before === undefined || !alive || observed.publishedForMs < LOAD_DEADLINE_MS) return { step: "Load", ...behind };
  const { version, config, admitted, formed, highestNodeId } = published;
  const names = new Set(before.nodes.map(({ name }) => name));
  return say(
    "Revert",
    behind.reason,
    {
      version: version + 1,
      config: before,
      admitted: admitted.filter((name) => names.has(name)),
      formed,
      highestNodeId,
      refused: { config, ...behind },
    },
    behind.node,
  );
}
