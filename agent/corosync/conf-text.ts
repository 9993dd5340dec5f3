import { QuorateError } from "../../errors.ts";

/** What a corosync.conf says, as far as it matters before it is written. */
export interface ConfSummary {
  clusterName: string;
  configVersion: number;
  nodeIds: number[];
}

interface Section {
  name: string;
  values: Map<string, string>;
  sections: Section[];
}

/**
 * Checks what corosync does not check before it is too late: a reload of an empty or cut-off file ends a node's quorum
 * service for good. @throws QuorateError ConfigInvalid
 */
export function summarizeConf(text: string): ConfSummary {
  if (text.trim() === "") throw invalid("it is empty");
  if (!text.endsWith("\n")) throw invalid("its last line is not complete");
  const root = parseSections(text);
  const totem = only(root, "totem");
  const quorum = only(root, "quorum");
  const nodes = only(root, "nodelist").sections.filter(({ name }) => name === "node");
  if (totem.values.get("version") !== "2") throw invalid("totem.version is not 2");
  if (quorum.values.get("provider") !== "corosync_votequorum")
    throw invalid("quorum.provider is not corosync_votequorum");
  const clusterName = totem.values.get("cluster_name") ?? "";
  if (clusterName === "") throw invalid("totem.cluster_name is missing");
  const configVersion = positive(totem.values.get("config_version"), "totem.config_version");
  const nodeIds = nodes.map((node) => positive(node.values.get("nodeid"), "nodelist.node.nodeid"));
  if (nodeIds.length === 0) throw invalid("nodelist holds no node");
  if (new Set(nodeIds).size !== nodeIds.length)
    throw invalid(`a node id stands twice in nodelist: ${nodeIds.join(", ")}`);
  for (const node of nodes) {
    if (![...node.values.keys()].some((key) => /^ring[0-7]_addr$/.test(key)))
      throw invalid(`node ${node.values.get("nodeid")} has no address`);
  }
  return { clusterName, configVersion, nodeIds };
}

function parseSections(text: string): Section {
  const root: Section = { name: "", values: new Map(), sections: [] };
  const open = [root];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    const current = open.at(-1) ?? root;
    const begins = /^([a-z_]+)\s*\{$/.exec(line)?.[1];
    const [, key, value] = /^([a-z0-9_]+)\s*:\s*(.*)$/.exec(line) ?? [];
    if (line === "" || line.startsWith("#")) continue;
    if (begins !== undefined) {
      const section = { name: begins, values: new Map<string, string>(), sections: [] };
      current.sections.push(section);
      open.push(section);
    } else if (line === "}") {
      if (open.length === 1) throw invalid(`line ${index + 1} closes a section that was not opened`);
      open.pop();
    } else if (key !== undefined && value !== undefined && open.length > 1) {
      current.values.set(key, value);
    } else {
      throw invalid(`line ${index + 1} is neither a section nor a setting: ${line.slice(0, 80)}`);
    }
  }
  if (open.length > 1) throw invalid(`section ${open.at(-1)?.name} is not closed`);
  return root;
}

function only(root: Section, name: string): Section {
  const [section, second] = root.sections.filter((candidate) => candidate.name === name);
  if (section === undefined) throw invalid(`section ${name} is missing`);
  if (second !== undefined) throw invalid(`section ${name} stands there twice`);
  return section;
}

function positive(value: string | undefined, what: string): number {
  if (value === undefined || !/^[1-9]\d{0,9}$/.test(value))
    throw invalid(`${what} is ${value === undefined ? "missing" : `"${value}"`}, not a positive number`);
  return Number(value);
}

function invalid(what: string): QuorateError {
  return new QuorateError("bug", "ConfigInvalid", `corosync.conf is not written: ${what}`);
}
