import type { ClusterNode, Guest, HAResource, ReplicationJob } from "../crds/index.ts";
import { ageOf, duration, until } from "./age.ts";
import { concerns } from "./attention.ts";
import { type ClusterView, conditionOf, leaseOfNode } from "./cluster-view.ts";
import { type Palette, paintOfState } from "./palette.ts";
import { type Cell, table } from "./table.ts";

export interface Look {
  readonly colours: Palette;
  /** Columns of the terminal; absent: as wide as it needs. */
  readonly width?: number | undefined;
}

/** The cluster on one screen: quorum, nodes, guests, replication, and what needs a look. */
export function showStatus(view: ClusterView, look: Look): string {
  const sections = [
    clusterFacts(view, look),
    section("nodes", nodeTable(view, look), look),
    section("guests", guestTable(view, look), look),
    section("replication", jobTable(view, look), look),
    section("needs a look", concernLines(view, look), look),
  ];
  return `${sections.filter((text) => text !== "").join("\n\n")}\n`;
}

function section(title: string, body: string, { colours }: Look): string {
  return body === "" ? "" : `${colours.strong(title.toUpperCase())}\n${body}`;
}

function clusterFacts(view: ClusterView, { colours }: Look): string {
  const { cluster } = view;
  const { quorum, config, leader, timings, rollout } = cluster.status ?? {};
  const armed = conditionOf(cluster, "Armed");
  const ha = armed?.reason ?? "not known yet";
  const lines: [string, string][] = [
    ["cluster", `${colours.strong(cluster.metadata.name)} in namespace ${view.namespace}`],
    ["quorum", quorumText(view, colours)],
    ["ha", `${paintOfState(ha, colours)(ha)}${leader === undefined ? "" : `, led by ${leader}`}`],
  ];
  if (config?.version !== undefined) {
    const synced = conditionOf(cluster, "ConfigInSync");
    const where = synced?.status === "True" ? "everywhere" : colours.warn(synced?.message ?? "not everywhere yet");
    lines.push(["config", `version ${config.version}, ${where}`]);
  }
  if (rollout?.step !== undefined) {
    const place = rollout.node === undefined ? "" : ` on ${rollout.node}`;
    const why = rollout.reason === undefined ? "" : `: ${rollout.reason}`;
    lines.push(["rollout", colours.warn(`${rollout.step}${place}${why}`)]);
  }
  const bound = timings?.recoveryBound?.milliseconds;
  if (bound !== undefined) lines.push(["recovery", `begins at most ${duration(bound)} after a host is cut off`]);
  if (quorum?.ringId !== undefined) lines.push(["ring", quorum.ringId]);
  return lines.map(([name, text]) => `${name.padEnd(10)}${text}`).join("\n");
}

function quorumText({ cluster }: ClusterView, colours: Palette): string {
  const { quorum } = cluster.status ?? {};
  if (quorum?.quorate === undefined) return colours.bad("no node has reported");
  const { quorate, totalVotes = 0, expectedVotes = 0, neededVotes = 0, flags = [] } = quorum;
  const votes = `${totalVotes} of ${expectedVotes} votes, ${neededVotes} needed`;
  const others = flags.filter((flag) => flag !== "Quorate");
  const device = others.length === 0 ? "" : `, ${others.join(", ")}`;
  return `${quorate ? colours.good("quorate") : colours.bad("NOT QUORATE")}, ${votes}${device}`;
}

function nodeTable(view: ClusterView, { colours, width }: Look): string {
  if (view.nodes.length === 0) return "none; apply a ClusterNode for each host";
  const headings = ["NAME", "ID", "VOTES", "STATE", "MEMBER", "LINKS", "AGENT", "HEARTBEAT", "WATCHDOG"];
  const rows = view.nodes.map((node) => [
    node.metadata.name,
    String(node.status?.nodeId ?? node.spec.nodeId ?? ""),
    String(node.status?.votes ?? node.spec.votes),
    nodeState(node, colours),
    membership(node, colours),
    links(node, colours),
    agent(node, colours),
    heartbeat(view, node.metadata.name),
    node.status?.watchdog?.summary ?? "",
  ]);
  return table(headings, rows, { heading: colours.dim, width });
}

/** What HA takes the node for; a wish for maintenance that is not fulfilled yet is shown too. */
export function nodeState(node: ClusterNode, colours: Palette): Cell {
  const state = node.status?.state ?? "";
  if (state === "") return { text: "not joined", paint: colours.warn };
  if (node.spec.maintenance && state === "Online") return { text: "Online, leaving", paint: colours.warn };
  return { text: state, paint: paintOfState(state, colours) };
}

function membership(node: ClusterNode, colours: Palette): Cell {
  const member = conditionOf(node, "Member")?.status;
  if (member === undefined) return "";
  return member === "True" ? { text: "yes", paint: colours.good } : { text: "no", paint: colours.bad };
}

function links(node: ClusterNode, colours: Palette): Cell {
  const up = node.status?.linksUp ?? "";
  const [reached, all] = up.split("/");
  return { text: up, paint: reached === all ? colours.good : colours.bad };
}

function agent(node: ClusterNode, colours: Palette): Cell {
  const ready = conditionOf(node, "AgentReady");
  const mode = node.status?.lrm?.mode ?? "";
  if (ready?.status === "False") return { text: ready.reason, paint: colours.bad };
  return { text: mode, paint: paintOfState(mode, colours) };
}

/** Since the agent last renewed its Lease; "" when that is not known, or when the last to write it was no agent of the node. */
export function heartbeat(view: ClusterView, node: string): string {
  const { holderIdentity, renewTime } = leaseOfNode(view, node)?.spec ?? {};
  return holderIdentity?.startsWith(`${node}/`) === true ? (ageOf(renewTime, view.nowMs) ?? "") : "";
}

function guestTable(view: ClusterView, { colours, width }: Look): string {
  const headings = ["NAME", "VMID", "KIND", "STATE", "NODE", "WANTED", "HA", "SINCE", "MESSAGE"];
  const resources = new Map(view.resources.map((resource) => [resource.metadata.name, resource]));
  const guests = new Set(view.guests.map(({ metadata }) => metadata.name));
  const rows = view.guests.map((guest) => {
    const resource = resources.get(guest.metadata.name);
    return [
      guest.metadata.name,
      String(guest.spec.vmid ?? ""),
      guest.status?.kind ?? "",
      guestState(guest, colours),
      placeOf(guest, resource),
      ...haCells(resource, view.nowMs, colours, guest.status?.message),
    ];
  });
  const orphans = view.resources
    .filter(({ metadata }) => !guests.has(metadata.name))
    .map((resource) => [
      resource.metadata.name,
      "",
      "",
      { text: "no Guest", paint: colours.bad },
      resource.status?.node ?? "",
      ...haCells(resource, view.nowMs, colours, undefined),
    ]);
  const all = [...rows, ...orphans];
  return all.length === 0 ? "" : table(headings, all, { heading: colours.dim, width });
}

function guestState(guest: Guest, colours: Palette): Cell {
  const state = guest.status?.state ?? "";
  return { text: state, paint: paintOfState(state, colours) };
}

/** While it moves: from where to where. */
function placeOf(guest: Guest, resource: HAResource | undefined): string {
  const { node, target } = resource?.status ?? {};
  const owner = guest.spec.nodeName ?? node ?? "";
  return target === undefined || target === owner ? owner : `${owner} → ${target}`;
}

function haCells(
  resource: HAResource | undefined,
  nowMs: number,
  colours: Palette,
  guestMessage: string | undefined,
): Cell[] {
  if (resource === undefined) return ["", { text: "not under HA", paint: colours.dim }, "", guestMessage ?? ""];
  const state = resource.status?.state ?? "Queued";
  return [
    resource.spec.state,
    { text: state, paint: paintOfState(state, colours) },
    ageOf(resource.status?.since, nowMs) ?? "",
    resource.status?.message ?? guestMessage ?? "",
  ];
}

/** The jobs with the age of what the target has. */
export function jobTable(view: ClusterView, { colours, width }: Look): string {
  if (view.jobs.length === 0) return "";
  const headings = ["NAME", "JOB", "GUEST", "FROM", "TO", "SCHEDULE", "AGE", "NEXT", "STATE", "MESSAGE"];
  const rows = view.jobs.map((job) => [
    job.metadata.name,
    job.status?.jobId ?? "",
    job.spec.guest,
    job.status?.source ?? "",
    job.status?.target ?? job.spec.target,
    job.spec.schedule,
    dataAge(job, view.nowMs, colours),
    until(job.status?.nextSync, view.nowMs) ?? "",
    jobState(job, colours),
    jobMessage(job),
  ]);
  return table(headings, rows, { heading: colours.dim, width });
}

function dataAge(job: ReplicationJob, nowMs: number, colours: Palette): Cell {
  const age = ageOf(job.status?.lastSync, nowMs);
  const fresh = conditionOf(job, "Fresh")?.status;
  if (age === undefined) return { text: "never", paint: colours.warn };
  return { text: age, paint: fresh === "False" ? colours.bad : (text) => text };
}

function jobState(job: ReplicationJob, colours: Palette): Cell {
  const state = job.status?.state ?? "";
  return { text: state, paint: paintOfState(state, colours) };
}

function jobMessage(job: ReplicationJob): string {
  const { status } = job;
  const ready = conditionOf(job, "Ready");
  if (status?.state === "Running" && status.progress?.bytes !== undefined && (status.progress.total ?? 0) > 0) {
    return `${Math.floor((status.progress.bytes / (status.progress.total ?? 1)) * 100)} % sent`;
  }
  if (ready?.reason === "TargetIsSource") return "waits: the guest is there";
  if (status?.state !== "Failed") return ready?.status === "False" ? ready.message : "";
  const { reason, message } = status.lastRun ?? {};
  const tries = status.failCount === undefined ? "" : `${status.failCount}x `;
  return `${tries}${[reason, message].filter((text) => text !== undefined).join(": ")}`;
}

/** Conditions of one object that say the same are one line. */
function concernLines(view: ClusterView, { colours }: Look): string {
  const lines = new Map<string, string[]>();
  for (const { object, condition } of concerns(view)) {
    const { type, status, reason, message } = condition;
    const key = JSON.stringify([object, reason, message]);
    lines.set(key, [...(lines.get(key) ?? []), `${type}=${status}`]);
  }
  return [...lines]
    .map(([key, conditions]) => {
      const [object, reason, message] = JSON.parse(key) as [string, string, string];
      return `${object}  ${colours.bad(conditions.join(", "))} ${reason}${message === "" ? "" : `: ${message}`}`;
    })
    .join("\n");
}
