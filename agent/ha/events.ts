/** Events of the LRM: `kind` and `data` for machines, `reason` and `message` for people. */
import type { LrmEvent } from "./types.ts";

type Data = Readonly<Record<string, unknown>>;
type Known = {
  class: LrmEvent["class"];
  reason: string;
  level?: LrmEvent["level"];
  message: (subject: string, data: Data) => string;
};

const KNOWN: Readonly<Record<string, Known>> = {
  "start.begin": { class: "action", reason: "Starting", message: (s) => `starting ${s}` },
  "start.ok": { class: "action", reason: "Started", message: (s) => `${s} runs` },
  "start.fail": {
    class: "action",
    reason: "StartFailed",
    level: "warning",
    message: (s, d) => `${s} did not start${why(d)}`,
  },
  "start.retry-here": {
    class: "action",
    reason: "StartRetry",
    level: "warning",
    message: (s, d) => `${s} is tried again here (retry ${d.n})`,
  },
  "start.give-up": {
    class: "action",
    reason: "StartGivenUp",
    level: "err",
    message: (s, d) => `${s} did not start here after ${d.retries} retries`,
  },
  "stop.begin": { class: "action", reason: "Stopping", message: (s) => `stopping ${s}` },
  "stop.ok": { class: "action", reason: "Stopped", message: (s) => `${s} is stopped` },
  "stop.fail": {
    class: "action",
    reason: "StopFailed",
    level: "err",
    message: (s, d) => `${s} could not be stopped${why(d)}`,
  },
  "move.begin": {
    class: "action",
    reason: "Moving",
    message: (s, d) => `moving ${s} to node ${d.target} (${d.mode})`,
  },
  "move.ok": { class: "action", reason: "Moved", message: (s, d) => `${s} is on node ${d.target}` },
  "move.fail": {
    class: "action",
    reason: "MoveFailed",
    level: "err",
    message: (s, d) => `${s} could not be moved to node ${d.target}${why(d)}`,
  },
  refused: {
    class: "action",
    reason: "WrongNode",
    level: "err",
    message: (s) =>
      `command for ${s} refused: the guest does not belong to this node; look where it is, then disable and enable the service`,
  },
  "role.state": { class: "role", reason: "ModeChanged", message: (_, d) => `agent ${d.from} -> ${d.to}` },
  "role.idle": { class: "role", reason: "Idle", message: (_, d) => `no work for ${d.rounds} rounds` },
  "role.exit": { class: "role", reason: "Exit", message: () => "the agent has done what its stop needed" },
  "role.stop-blocked": {
    class: "role",
    reason: "StopBlocked",
    level: "err",
    message: (_, d) =>
      `cannot stop in order: ${d.services} guests still run here, so lease and watchdog stay as they are`,
  },
  "lease.released": { class: "role", reason: "LeaseReleased", message: (_, d) => `lease given back (${d.cause})` },
  "lease.lost": {
    class: "notice",
    reason: "LeaseLost",
    level: "err",
    message: (_, d) => `the lease of this node was taken (${d.why}): this host must reset`,
  },
  "guest.stray": {
    class: "notice",
    reason: "StrayGuest",
    level: "err",
    message: (s) => `guest ${s} runs here but belongs to another node; stop it here`,
  },
  "shutdown.requested": {
    class: "decision",
    reason: "ShutdownRequested",
    level: "notice",
    message: (_, d) => `host goes down (policy ${d.policy})`,
  },
  "shutdown.plan": {
    class: "decision",
    reason: "ShutdownPlan",
    level: "notice",
    message: (_, d) => `plan for ${d.op}: ${d.plan}`,
  },
  "shutdown.given-up": {
    class: "decision",
    reason: "ShutdownNotWaited",
    level: "warning",
    message: (_, d) =>
      `plan ${d.plan} is given up: ${d.heard === true ? `the controllers have not done their part for ${d.services} services` : "without API server, lease or quorum"}; guests are stopped here`,
  },
  "notify.error-state": {
    class: "notice",
    reason: "ServiceInError",
    level: "err",
    message: (s) => `service ${s} is in error and left alone; disable it to get it out`,
  },
};

export function lrmEvent(kind: string, subject: string | undefined, data: Data = {}): LrmEvent {
  const known = KNOWN[kind];
  return {
    class: known?.class ?? "notice",
    kind,
    ...(subject === undefined ? {} : { subject }),
    about: subject === undefined ? "node" : "service",
    level: known?.level ?? "info",
    reason: known?.reason ?? "Agent",
    message: known?.message(subject ?? "", data) ?? kind,
    data,
  };
}

function why(data: Data): string {
  return data.message === undefined ? "" : `: ${data.message}`;
}
