import { CommandError, type Host } from "../host/index.ts";
import { type Cmap, cmapNodeIds, cmapNumber, parseCmap } from "./cmap.ts";
import { type Quorum, readQuorum } from "./quorum.ts";

/** All that the agent reports of its host's corosync. What could not be read is absent. */
export interface CorosyncStatus {
  quorum: Quorum;
  /** Of the program, e.g. 3.1.7. */
  version?: string;
  /** Only while it runs and answers. */
  running?: {
    clusterName?: string;
    configVersion?: number;
    transport?: string;
    cipher?: string;
    hash?: string;
    /** As corosync derived them from its configuration and the number of nodes. */
    tokenMilliseconds?: number;
    consensusMilliseconds?: number;
    /** Node ids of the loaded nodelist, whether they are members now or not. */
    configuredNodes: number[];
    /** The config_version each member said it runs. */
    memberConfigVersions: { nodeId: number; configVersion: number }[];
    links: LinkStatus[];
  };
}

/** One network as this node sees it. */
export interface LinkStatus {
  number: number;
  address?: string;
  peers: PeerLink[];
}

export interface PeerLink {
  nodeId: number;
  connected: boolean;
  /** Mean round trip of knet's pings; absent before the first. */
  latencyMicroseconds?: number;
  /** How often the link went down since corosync started. */
  downCount: number;
}

/** Reads everything; at most about three times the time-out. A frozen corosync is asked once only. */
export async function readStatus(
  host: Host,
  options: { timeoutMs: number; signal?: AbortSignal },
): Promise<CorosyncStatus> {
  const quorum = await readQuorum(host, options);
  if (quorum.state === "NotInstalled") return { quorum };
  const version = parseVersion((await host.run("corosync", ["-v"], options)).stdout);
  const status: CorosyncStatus = { quorum, ...(version === undefined ? {} : { version }) };
  if (quorum.state !== "Running") return status;
  try {
    const [config, statistics] = await Promise.all([
      host.run("corosync-cmapctl", [], options),
      host.run("corosync-cmapctl", ["-m", "stats", "stats.knet.node"], options),
    ]);
    return {
      ...status,
      running: describeRunning(parseCmap(config.stdout), parseCmap(statistics.stdout), quorum.nodeId),
    };
  } catch (error) {
    // It stopped or froze since the first question: what is known already is still true of that moment.
    if (error instanceof CommandError) return status;
    throw error;
  }
}

/** From the two maps of corosync: its configuration and its statistics. */
export function describeRunning(
  config: Cmap,
  statistics: Cmap,
  nodeId: number,
): NonNullable<CorosyncStatus["running"]> {
  const text = (name: string, key: string) => {
    const value = config.get(key);
    return value === undefined ? {} : { [name]: value };
  };
  const number = (name: string, key: string) => {
    const value = cmapNumber(config, key);
    return value === undefined ? {} : { [name]: value };
  };
  return {
    ...text("clusterName", "totem.cluster_name"),
    ...number("configVersion", "totem.config_version"),
    ...text("transport", "totem.transport"),
    ...text("cipher", "totem.crypto_cipher"),
    ...text("hash", "totem.crypto_hash"),
    ...number("tokenMilliseconds", "runtime.config.totem.token"),
    ...number("consensusMilliseconds", "runtime.config.totem.consensus"),
    configuredNodes: cmapNodeIds(config),
    memberConfigVersions: memberConfigVersions(config),
    links: linksOf(config, statistics, nodeId),
  };
}

/** Reads `corosync -v`. */
export function parseVersion(output: string): string | undefined {
  return /version '([^']+)'/.exec(output)?.[1];
}

function memberConfigVersions(config: Cmap): { nodeId: number; configVersion: number }[] {
  const versions = [];
  for (const [key, value] of config) {
    const id = /^runtime\.members\.(\d+)\.status$/.exec(key)?.[1];
    const configVersion = cmapNumber(config, `runtime.members.${id}.config_version`);
    // Who has left keeps its last entry.
    if (id !== undefined && value === "joined" && configVersion !== undefined)
      versions.push({ nodeId: Number(id), configVersion });
  }
  return versions.sort((a, b) => a.nodeId - b.nodeId);
}

function linksOf(config: Cmap, statistics: Cmap, ownId: number): LinkStatus[] {
  const own = [...config].find(
    ([key, value]) => /^nodelist\.node\.\d+\.nodeid$/.test(key) && Number(value) === ownId,
  )?.[0];
  const links = new Map<number, LinkStatus>();
  for (const [key, value] of statistics) {
    const [, peer, number] = /^stats\.knet\.node(\d+)\.link(\d+)\.connected$/.exec(key) ?? [];
    if (peer === undefined || number === undefined || Number(peer) === ownId) continue;
    const prefix = `stats.knet.node${peer}.link${number}`;
    // A link that is not configured is listed too.
    if (cmapNumber(statistics, `${prefix}.enabled`) === 0) continue;
    const address = own === undefined ? undefined : config.get(own.replace(/nodeid$/, `ring${number}_addr`));
    const link = links.get(Number(number)) ?? {
      number: Number(number),
      ...(address === undefined ? {} : { address }),
      peers: [],
    };
    const samples = cmapNumber(statistics, `${prefix}.latency_samples`) ?? 0;
    const latency = cmapNumber(statistics, `${prefix}.latency_ave`);
    link.peers.push({
      nodeId: Number(peer),
      connected: value === "1",
      ...(samples > 0 && latency !== undefined ? { latencyMicroseconds: latency } : {}),
      downCount: cmapNumber(statistics, `${prefix}.down_count`) ?? 0,
    });
    links.set(link.number, link);
  }
  for (const link of links.values()) link.peers.sort((a, b) => a.nodeId - b.nodeId);
  return [...links.values()].sort((a, b) => a.number - b.number);
}
