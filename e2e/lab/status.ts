import Table from "cli-table3";
import type { LabHost } from "./host.ts";
import type { Lab } from "./lab.ts";
import { layout } from "./state.ts";

type Fault = Awaited<ReturnType<Lab["faults"]>>[number];

/** What an administrator of the lab wants to see at a glance. */
export async function describeLab(lab: Lab): Promise<string> {
  const faults = await lab.faults();
  const nodes = await nodeStates(lab);
  const table = new Table({ head: ["HOST", "ADDRESSES", "POWER", "CUT", "WATCHDOG", "NODE"], ...PLAIN });
  for (const host of lab.hosts) {
    const cuts = faults.filter(({ ports }) => ports[0]?.startsWith(`${host.name}l`)).map(cutText);
    table.push([
      host.name,
      `${host.address(0)} ${host.address(1)}`,
      powerText(host),
      [...new Set(cuts)].join(", ") || "-",
      watchdogText(host),
      nodes.get(host.name) ?? "-",
    ]);
  }
  const { record } = lab;
  return [
    `lab ${lab.name}: ${record.hosts} hosts, agent as ${record.agent}, up since ${record.createdAt}`,
    "",
    table.toString(),
    "",
    `/srv/shared of every host: ${layout(lab.name).shared}`,
    `export KUBECONFIG=${lab.kubeconfig}`,
    `kubectl: ${record.kubectl}`,
  ].join("\n");
}

/** Columns apart by two spaces, no lines. */
const PLAIN = {
  style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
  chars: {
    ...{ top: "", "top-mid": "", "top-left": "", "top-right": "", mid: "", "left-mid": "", "mid-mid": "" },
    ...{ "right-mid": "", bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
    ...{ left: "", right: "", middle: "" },
  },
};

function powerText(host: LabHost): string {
  if (!host.isOn()) return "off";
  return host.isFrozen() ? "frozen" : "on";
}

function watchdogText(host: LabHost): string {
  const { armed, timeoutSeconds, timeLeftSeconds } = host.watchdog();
  return armed ? `${timeoutSeconds} s, ${timeLeftSeconds.toFixed(1)} s left` : "closed";
}

function cutText({ kind, ports }: Fault): string {
  if (kind === "link") return `link ${ports[0]?.split("l")[1]}`;
  return kind === "pair" ? `from ${ports[1]?.split("l")[0]}` : kind;
}

/** Ready, NotReady or Unknown for each Kubernetes node; none when the API server does not answer. */
async function nodeStates(lab: Lab): Promise<Map<string, string>> {
  const condition = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}';
  const words = { True: "Ready", False: "NotReady", Unknown: "Unknown" } as Record<string, string>;
  try {
    const command = ["get", "nodes", `--output=jsonpath=${condition}`, "--request-timeout=3s"];
    const nodes = (await lab.kubectl(command, { timeoutMs: 5_000 })).trim().split(" ").filter(Boolean);
    return new Map(
      nodes.map((node) => {
        const [name = "", status = ""] = node.split("=");
        return [name, words[status] ?? status];
      }),
    );
  } catch {
    return new Map(lab.hosts.map((host) => [host.name, "API down"]));
  }
}
