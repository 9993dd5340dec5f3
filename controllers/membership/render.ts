import { isIP } from "node:net";
import { QuorateError } from "../../errors.ts";
import type { ConfigNode, ConfigQDevice, CorosyncConfig } from "./corosync-config.ts";

/** The first port of knet; link n uses this + n. */
export const FIRST_LINK_PORT = 5405;

/**
 * The text of corosync.conf. Of equal content and version it is equal to the byte, so that nodes can compare it.
 *
 * `two_node` is never written: with it both halves of a cut pair would be quorate for a moment at their start, and each
 * would fence the other. Two nodes without a QDevice stop when one is lost, and say so (condition TopologySound).
 * @throws QuorateError class bug for content that would not read back as what it says; it is checked before.
 */
export function renderCorosync(config: CorosyncConfig, version: number): string {
  const totem: Item[] = [
    ["version", 2],
    ["cluster_name", word(config.clusterName)],
    ["config_version", version],
    ["transport", "knet"],
    ["link_mode", "passive"],
    ["crypto_cipher", config.cipher],
    ["crypto_hash", config.hash],
    ["token", config.tokenMilliseconds],
    ["token_coefficient", config.tokenCoefficientMilliseconds],
    ...config.links.map(
      ({ number, priority }): Item => [
        "interface",
        [
          ["linknumber", number],
          ["knet_link_priority", priority],
          ["mcastport", FIRST_LINK_PORT + number],
        ],
      ],
    ),
  ];
  const quorum: Item[] = [["provider", "corosync_votequorum"]];
  if (config.expectedVotes !== undefined) quorum.push(["expected_votes", config.expectedVotes]);
  if (config.qdevice !== undefined) quorum.push(["device", device(config.qdevice)]);
  const sections: Item[] = [
    ["totem", totem],
    ["nodelist", config.nodes.map((node): Item => ["node", nodeItems(node)])],
    ["quorum", quorum],
    [
      "logging",
      [
        ["to_stderr", "no"],
        ["to_logfile", "no"],
        ["to_syslog", "yes"],
        ["debug", "off"],
      ],
    ],
  ];
  if (!config.realtime) sections.push(["system", [["sched_rr", "no"]]]);
  return `# Written by Quorate; changes made here are lost.\n${block(sections, "")}`;
}

type Item = readonly [key: string, value: string | number | readonly Item[]];

function nodeItems({ name, nodeId, votes, addresses }: ConfigNode): Item[] {
  return [
    ["name", word(name)],
    ["nodeid", nodeId],
    ["quorum_votes", votes],
    ...addresses.map(({ link, address }): Item => {
      if (isIP(address) === 0) throw unfit(`address ${JSON.stringify(address)} of node ${name}`);
      return [`ring${link}_addr`, address];
    }),
  ];
}

function device({ host, port, algorithm, tieBreaker, votes }: ConfigQDevice): Item[] {
  return [
    ["model", "net"],
    ["votes", votes],
    [
      "net",
      [
        ["host", isIP(host) === 0 ? word(host) : host],
        ["port", port],
        // `required`: never a vote in the clear, never a silent fall-back to it.
        ["tls", "required"],
        ["algorithm", algorithm],
        ...(algorithm === "ffsplit" ? [["tie_breaker", word(tieBreaker)] as const] : []),
      ],
    ],
  ];
}

function block(items: readonly Item[], indent: string): string {
  return items
    .map(([key, value]) => {
      if (typeof value === "string") return `${indent}${key}: ${value}\n`;
      if (typeof value === "number") {
        if (!Number.isSafeInteger(value) || value < 0) throw unfit(`${key} ${value}`);
        return `${indent}${key}: ${value}\n`;
      }
      return `${indent}${key} {\n${block(value, `${indent}  `)}${indent}}\n`;
    })
    .join("");
}

/** Host, node and cluster names, and words: nothing that could end a line or a section. */
function word(text: string): string {
  if (!/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text)) throw unfit(JSON.stringify(text));
  return text;
}

function unfit(what: string): QuorateError {
  return new QuorateError("bug", "UnfitConfig", `corosync.conf cannot hold ${what}`);
}
