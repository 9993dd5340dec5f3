import type { ClusterNode } from "../crds/index.ts";
import { isBad } from "./attention.ts";
import { type ClusterView, conditionOf } from "./cluster-view.ts";
import { heartbeat, type Look, nodeState } from "./show-status.ts";
import { table } from "./table.ts";

/** Everything of the hosts that an administrator compares between them, and below it what is wrong with each. */
export function showNodes(view: ClusterView, { colours, width }: Look): string {
  if (view.nodes.length === 0) return `namespace ${view.namespace} has no ClusterNode yet; apply one for each host\n`;
  const headings = [
    "NAME",
    "ID",
    "VOTES",
    "STATE",
    "GUESTS",
    "ADDRESSES",
    "LINKS",
    "COROSYNC",
    "CONFIG",
    "AGENT",
    "HEARTBEAT",
    "WATCHDOG",
  ];
  const rows = view.nodes.map((node) => {
    const { status, metadata } = node;
    return [
      metadata.name,
      String(status?.nodeId ?? node.spec.nodeId ?? ""),
      String(status?.votes ?? node.spec.votes),
      nodeState(node, colours),
      String(view.guests.filter(({ spec }) => spec.nodeName === metadata.name).length),
      (status?.links ?? []).map(({ address }) => address ?? "?").join(","),
      status?.linksUp ?? "",
      corosync(node),
      String(status?.corosync?.configVersion ?? ""),
      [status?.agent?.version, status?.agent?.mode].filter((part) => part !== undefined).join(" "),
      heartbeat(view, metadata.name),
      status?.watchdog?.summary ?? "",
    ];
  });
  const problems = view.nodes.flatMap((node) => problemsOf(node).map((line) => `${node.metadata.name}: ${line}`));
  const below = problems.length === 0 ? "" : `\n\n${problems.map((line) => colours.warn(line)).join("\n")}`;
  return `${table(headings, rows, { heading: colours.dim, width })}${below}\n`;
}

function corosync({ status }: ClusterNode): string {
  const { version, running } = status?.corosync ?? {};
  if (running === false) return version === undefined ? "stopped" : `${version} stopped`;
  return version ?? "";
}

function problemsOf(node: ClusterNode): string[] {
  const conditions = (node.status?.conditions ?? [])
    .filter((condition) => condition.type !== "Ready" && isBad(condition))
    .map(({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`);
  const checks = (node.status?.prechecks ?? [])
    .filter(({ passed }) => !passed)
    .map(({ name, message }) => `check ${name} failed: ${message ?? "no message"}`);
  const load = node.status?.corosync?.lastLoad;
  const notLoaded =
    load === undefined || load.outcome === "Loaded" || load.outcome === undefined
      ? []
      : [`configuration ${load.configVersion ?? "?"} ${load.outcome.toLowerCase()}: ${load.message ?? "no message"}`];
  const watchdog = node.status?.watchdog?.message;
  const leaving = node.metadata.deletionTimestamp === undefined ? undefined : conditionOf(node, "Removable");
  return [
    ...conditions,
    ...checks,
    ...notLoaded,
    ...(watchdog === undefined || watchdog === "" ? [] : [`watchdog: ${watchdog}`]),
    ...(leaving === undefined ? [] : [`is being removed: ${leaving.reason}: ${leaving.message}`]),
  ];
}
