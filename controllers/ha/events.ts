/**
 * Events of the CRM: what happened, for machines (`kind`, `data`) and for people (`reason`, `message`). One place makes them, so
 * that a reason means the same everywhere.
 */
import type { EventLevel, HaEvent } from "./types.ts";

type Data = Readonly<Record<string, unknown>>;

const REASONS: Readonly<
  Record<string, { reason: string; level?: EventLevel; message: (subject: string, data: Data) => string }>
> = {
  "service.adopt": { reason: "Adopted", message: (s, d) => `service ${s} on node ${d.node} is under HA now` },
  "service.drop": { reason: "Dropped", message: (s, d) => `service ${s} is no longer under HA (${d.reason})` },
  "service.state": {
    reason: "StateChanged",
    message: (s, d) => `service ${s}: ${d.from} -> ${d.to}${where(d)}${meaning(d)}`,
  },
  "service.place": { reason: "Placed", message: (s, d) => `service ${s} shall start on node ${d.node}` },
  "service.move.chosen": {
    reason: "MoveChosen",
    message: (s, d) => `service ${s} goes to node ${d.target} (${d.mode}, because of ${d.cause})`,
  },
  "service.move.back": {
    reason: "MovesHome",
    message: (s, d) => `service ${s} returns to node ${d.target}: its maintenance has ended`,
  },
  "service.move.balance": {
    reason: "Rebalanced",
    message: (s, d) => `service ${s} goes to node ${d.target} to balance the load`,
  },
  "service.move.postponed": {
    reason: "MovePostponed",
    level: "warning",
    message: (s, d) => `service ${s}: ${d.failures} moves failed in a row; the next is tried in ${d.seconds} s`,
  },
  "service.recover": {
    reason: "Recovered",
    level: "notice",
    message: (s, d) => `service ${s} of the fenced node ${d.node} is recovered on node ${d.target}`,
  },
  "service.recover.no-target": {
    reason: "NoRecoveryNode",
    level: "err",
    message: (s, d) =>
      `service ${s} of the fenced node ${d.node} has no node to recover on; it is tried again until one is online that its rules allow`,
  },
  "service.start-failed": {
    reason: "StartFailed",
    level: "err",
    message: (s, d) =>
      `service ${s} did not start${d.node === undefined ? "" : ` on node ${d.node}`}: ${NEXT[String(d.next)] ?? d.next}`,
  },
  "service.start-ok-after-failures": {
    reason: "StartedAfterFailures",
    message: (s, d) => `service ${s} runs on node ${d.node} after failed starts`,
  },
  "service.failed": {
    reason: "CommandFailed",
    level: "err",
    message: (s, d) => `service ${s}: ${d.what} failed${d.reason === undefined ? "" : ` (${d.reason})`}`,
  },
  "service.home.cleared": {
    reason: "HomeAgain",
    message: (s, d) => `service ${s} is on its own node ${d.node} again`,
  },
  "service.lock.removed": {
    reason: "LockRemoved",
    level: "warning",
    message: (s, d) => `service ${s}: lock ${d.lock}, left by the fenced node, was removed`,
  },
  "service.relocated-outside": {
    reason: "MovedOutside",
    level: "notice",
    message: (s, d) => `service ${s} was moved from node ${d.node} to ${d.target} while HA was disarmed`,
  },
  "service.stop.requested": {
    reason: "StopRequested",
    message: (s, d) => `service ${s} shall stop within ${d.timeout} s`,
  },
  "service.unguarded": {
    reason: "NotGuarded",
    level: "err",
    message: (s, d) =>
      `service ${s} stays on the lost node ${d.node}: it may run there without an armed watchdog, so only a fence device, or the node's return, can free it`,
  },
  "service.guest-away": {
    reason: "GuestNotFound",
    level: "warning",
    message: (s, d) =>
      `Guest ${s} is gone, or bound to no node; it belongs to node ${d.node} and may run there: apply it with spec.nodeName ${d.node}, or delete the HAResource`,
  },
  "service.bound-elsewhere": {
    reason: "BoundElsewhere",
    level: "err",
    message: (s, d) =>
      `Guest ${s} is bound to node ${d.owner}, but it belongs to node ${d.node} and may run there: it is started on neither; the condition Error says the way out`,
  },
  "service.suspended": { reason: "Suspended", message: (s) => `service ${s} is left alone while HA is disarmed` },
  "service.skipped": {
    reason: "DecisionFailed",
    level: "err",
    message: (s, d) => `service ${s} was left out of this round: ${d.error}`,
  },
  "command.accepted": { reason: "CommandAccepted", message: (s, d) => `${d.op} of ${s || "the cluster"} accepted` },
  "command.extended": {
    reason: "CommandExtended",
    message: (s, d) => `service ${s} goes to node ${d.target} too: it must be with ${d.because}`,
  },
  "command.rejected": {
    reason: "CommandRejected",
    level: "err",
    message: (s, d) =>
      `${d.op} of ${s} to ${d.target} refused: ${d.reason}${d.because === undefined ? "" : ` (${d.because})`}`,
  },
  "command.ignored": { reason: "CommandIgnored", message: (s, d) => `${d.op} of ${s} ignored: ${d.reason}` },
  "node.state": {
    reason: "NodeStateChanged",
    level: "notice",
    message: (s, d) => `node ${s}: ${d.from} -> ${d.to}`,
  },
  "fence.acknowledged": {
    reason: "Fenced",
    level: "notice",
    message: (s) => `node ${s} is fenced: the CRM holds its lease`,
  },
  "fence.cancelled": {
    reason: "FenceCancelled",
    level: "notice",
    message: (s) => `node ${s} came back with its own lease before it was fenced: its guests go on`,
  },
  "fence.without-services": {
    reason: "FenceWithoutServices",
    level: "notice",
    message: (s) => `node ${s} was to be fenced but has no service left`,
  },
  "notify.fence-started": {
    reason: "FenceStarted",
    level: "notice",
    message: (s) => `node ${s} is gone and has guests under HA: it is being fenced`,
  },
  "notify.fence-done": {
    reason: "FenceDone",
    level: "notice",
    message: (s) => `node ${s} is fenced, its guests can be recovered`,
  },
  "disarm.deferred": {
    reason: "DisarmDeferred",
    level: "warning",
    message: (s, d) => `disarming waits: service ${s} is in ${d.state}`,
  },
  "disarm.complete": { reason: "Disarmed", level: "notice", message: () => "HA is disarmed: no node is guarded" },
  "disarm.ended": { reason: "Armed", level: "notice", message: () => "HA is armed again" },
  "role.idle": { reason: "Idle", message: (_, d) => `nothing to guard for ${d.rounds} rounds` },
};

const REPEATING = new Set(["service.recover.no-target", "service.guest-away", "disarm.deferred"]);

/** @param kind one of the kinds above; @param data what machines compare, `level` overrides the kind's own. */
export function haEvent(
  kind: string,
  about: HaEvent["about"],
  subject: string | undefined,
  data: Data = {},
  level?: EventLevel,
): HaEvent {
  const known = REASONS[kind];
  const shown = level ?? known?.level ?? "info";
  return {
    class: kind.startsWith("notify.") ? "notice" : kind.startsWith("role.") ? "role" : "decision",
    kind,
    ...(subject === undefined ? {} : { subject }),
    about,
    level: shown,
    reason: known?.reason ?? "Decided",
    message: known?.message(subject ?? "", data) ?? kind,
    data: REPEATING.has(kind) ? { ...data, repeats: true } : data,
  };
}

const NEXT: Readonly<Record<string, string>> = {
  "try-next-node": "another node is tried",
  "retry-here": "every allowed node was tried, so it is tried there again",
  error: "it is given up",
};

/** What a state that nobody asked for means, and what comes next. */
const MEANINGS: Readonly<Record<string, string>> = {
  Fence: "its node is lost; it starts elsewhere once that is proven off",
  Recovery: "its node is fenced; a node that may take it is chosen now",
  Freeze: "it is left as it is until its agent is back, or HA is armed again",
  Error: "it is given up and left alone; the condition Error says what to do",
};

function meaning(data: Data): string {
  const text = MEANINGS[String(data.to)];
  return text === undefined ? "" : `: ${text}`;
}

function where(data: Data): string {
  const node = data.node === undefined ? "" : ` on ${data.node}`;
  return data.target === undefined ? node : `${node}, to ${data.target}`;
}
