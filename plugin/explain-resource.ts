import type { Guest, HAResource } from "../crds/index.ts";
import type { Event } from "../kube/index.ts";
import { ageOf } from "./age.ts";
import { isBad } from "./attention.ts";
import { type ClusterView, conditionOf, timeOfEvent } from "./cluster-view.ts";
import { nodeVerdicts } from "./node-verdicts.ts";
import { type Palette, paintOfState } from "./palette.ts";
import { reasonsOf } from "./reasons.ts";
import type { Look } from "./show-status.ts";
import { table } from "./table.ts";

/**
 * Why a guest under HA is where it is and as it is: what was asked, what holds it, and what each node and rule says.
 * @param warnings events about it, oldest first
 */
export function explainResource(
  view: ClusterView,
  resource: HAResource,
  warnings: readonly Event[],
  look: Look,
): string {
  const guest = view.guests.find(({ metadata }) => metadata.name === resource.metadata.name);
  const parts = [
    headline(view, resource, guest, look.colours),
    titled(
      "why",
      reasonsOf(view, resource, guest)
        .map((reason) => `- ${reason}`)
        .join("\n"),
      look,
    ),
    titled("conditions", conditionLines(resource, look.colours), look),
    titled("nodes", verdictTable(view, resource, guest, look), look),
    titled("rules", ruleTable(view, resource, look), look),
    titled("last failover", failoverLine(resource), look),
    titled("latest warnings", warningTable(view, warnings, look), look),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function titled(title: string, body: string, { colours }: Look): string {
  return body === "" ? "" : `${colours.strong(title.toUpperCase())}\n${body}`;
}

function headline(view: ClusterView, resource: HAResource, guest: Guest | undefined, colours: Palette): string {
  const { name } = resource.metadata;
  const { state = "Queued", node, target, since, command, result, home } = resource.status ?? {};
  const age = ageOf(since, view.nowMs);
  const where = node === undefined ? "" : ` on ${node}${target === undefined ? "" : `, going to ${target}`}`;
  const lines: [string, string][] = [
    ["resource", `${colours.strong(name)} in namespace ${view.namespace}`],
    ["wanted", resource.spec.state],
    ["is", `${paintOfState(state, colours)(state)}${where}${age === undefined ? "" : ` for ${age}`}`],
    ["guest", guestText(guest)],
  ];
  if (home !== undefined) lines.push(["home", `${home}, which it left for maintenance and goes back to`]);
  if (command !== undefined) {
    const aim = command.target === undefined ? "" : ` to ${command.target}`;
    lines.push(["command", `${command.action}${aim} (${command.uid})`]);
    lines.push(["result", resultText(command.uid, result)]);
  }
  return lines.map(([label, text]) => `${label.padEnd(10)}${text}`).join("\n");
}

function guestText(guest: Guest | undefined): string {
  if (guest === undefined) return "there is none of this name";
  const { state = "not reported yet", node, lock, message } = guest.status ?? {};
  const owner = guest.spec.nodeName === undefined ? "bound to no node" : `bound to ${guest.spec.nodeName}`;
  const told = node === undefined || node === guest.spec.nodeName ? "" : `, last reported by ${node}`;
  const held = lock === undefined ? "" : `, locked: ${lock}`;
  return `${state}, ${owner}${told}${held}${message === undefined ? "" : `: ${message}`}`;
}

/** A result counts for the command whose uid it echoes. */
function resultText(uid: string, result: NonNullable<HAResource["status"]>["result"]): string {
  if (result === undefined || result.uid !== uid) return "none yet for this command";
  return `${result.outcome}${result.message === undefined || result.message === "" ? "" : `: ${result.message}`}`;
}

function conditionLines(resource: HAResource, colours: Palette): string {
  return (resource.status?.conditions ?? [])
    .map((condition) => {
      const { type, status, reason, message } = condition;
      const paint = isBad(condition) ? colours.bad : colours.good;
      return `${paint(`${type}=${status}`)} ${reason}${message === "" ? "" : `: ${message}`}`;
    })
    .join("\n");
}

function verdictTable(view: ClusterView, resource: HAResource, guest: Guest | undefined, look: Look): string {
  const { colours } = look;
  const rows = nodeVerdicts(view, resource, guest).map(({ node, state, priority, data, verdict, possible }) => [
    node,
    { text: state, paint: paintOfState(state, colours) },
    priority === undefined ? "" : String(priority),
    data,
    { text: verdict, paint: possible ? colours.good : colours.dim },
  ]);
  const headings = ["NAME", "STATE", "PRIORITY", "DATA", "VERDICT"];
  return rows.length === 0 ? "" : table(headings, rows, { heading: colours.dim, width: look.width });
}

function ruleTable(view: ClusterView, resource: HAResource, { colours, width }: Look): string {
  const { name } = resource.metadata;
  const rows = view.rules.flatMap((rule) => {
    const { nodeAffinity, resourceAffinity, enabled } = rule.spec;
    if (!(nodeAffinity ?? resourceAffinity)?.resources.includes(name)) return [];
    const ready = conditionOf(rule, "Ready");
    const inForce = enabled && ready?.status === "True";
    const state = enabled ? (ready?.status === "True" ? "yes" : "no") : "disabled";
    const others = (resourceAffinity?.resources ?? []).filter((other) => other !== name).join(", ");
    const says =
      nodeAffinity === undefined
        ? `${resourceAffinity?.affinity === "Together" ? "together with" : "apart from"} ${others}`
        : `${nodeAffinity.strict ? "only on" : "rather on"} ${nodeAffinity.nodes.map((node) => node.name).join(", ")}`;
    const why =
      ready === undefined ? "not looked at yet" : ready.status === "True" ? "" : `${ready.reason}: ${ready.message}`;
    return [[rule.metadata.name, says, { text: state, paint: inForce ? colours.good : colours.warn }, why]];
  });
  return rows.length === 0 ? "" : table(["NAME", "SAYS", "IN FORCE", "WHY NOT"], rows, { heading: colours.dim, width });
}

function failoverLine({ status }: HAResource): string {
  const failover = status?.lastFailover;
  if (failover?.from === undefined) return "";
  const { from, to, reason, cutAt, fencedAt, startedAt, ageOfDataSeconds } = failover;
  const facts = [
    cutAt === undefined ? undefined : `last seen ${cutAt}`,
    fencedAt === undefined ? undefined : `proven off ${fencedAt}`,
    startedAt === undefined ? undefined : `running again ${startedAt}`,
    ageOfDataSeconds === undefined ? undefined : `data ${ageOfDataSeconds}s old`,
  ].filter((fact) => fact !== undefined);
  const why = reason === undefined ? "" : ` (${reason})`;
  return `from ${from} to ${to ?? "?"}${why}${facts.length === 0 ? "" : `: ${facts.join(", ")}`}`;
}

/** What is shown of them: the newest, which tell of moves and starts that were tried and failed. */
const SHOWN_WARNINGS = 5;

function warningTable(view: ClusterView, warnings: readonly Event[], { colours, width }: Look): string {
  const rows = warnings
    .slice(-SHOWN_WARNINGS)
    .map((event) => [ageOf(timeOfEvent(event), view.nowMs) ?? "", event.reason, event.note ?? ""]);
  return rows.length === 0 ? "" : table(["AGE", "REASON", "MESSAGE"], rows, { heading: colours.dim, width });
}
