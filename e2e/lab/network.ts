import { type CommandPrefix, run } from "./run.ts";
import { hostNames } from "./state.ts";

/** Each host has one interface a link: eth0 on link 0, eth1 on link 1. */
export const LINKS = [0, 1] as const;
export type Link = (typeof LINKS)[number];

/** The control plane's address on link 0, and what pods know it by. */
export const CONTROL_PLANE_ADDRESS = "10.6.0.254";
export const SERVICE_CIDR = "10.96.0.0/16";
const SERVICE_ADDRESS = "10.96.0.1";
export const API_PORT = 6443;
const SERVICE_PORT = 443;
const KUBELET_PORT = 10250;

export function hostAddress(number: number, link: Link): string {
  return `10.6.${link}.${number}`;
}

/** Addresses of the pods of a host that do not use the host's network. */
export function podCidr(number: number): string {
  return `10.244.${number}.0/24`;
}

/** The lab's end of a host's cable: a port of the bridge of that link. */
export function portName(host: string, link: Link): string {
  return `${host}l${link}`;
}

/** What a cut takes away: a whole link, or only traffic of one kind on every link. */
export type Cut = { link: Link } | { traffic: "corosync" | "api" } | { from: string };

/**
 * Frames are dropped in the switch, as behind a dead switch port: the hosts keep their carrier and their addresses.
 * Every fault is an element of a set, so that it holds also while its host is off and after it came back.
 */
const RULES = `
table bridge faults {
  set link { type ifname; }
  set corosync { type ifname; }
  set api { type ifname; }
  set pair { type ifname . ifname; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname @link drop
    oifname @link drop
    iifname . oifname @pair drop
    iifname @corosync udp dport 5404-5412 drop
    oifname @corosync udp dport 5404-5412 drop
  }
  chain input {
    type filter hook input priority 0; policy accept;
    iifname @link drop
    iifname @api tcp dport { ${API_PORT}, ${SERVICE_PORT} } drop
  }
  chain output {
    type filter hook output priority 0; policy accept;
    oifname @link drop
    oifname @api tcp sport { ${API_PORT}, ${SERVICE_PORT} } drop
    oifname @api tcp dport ${KUBELET_PORT} drop
  }
}
table ip service {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr ${SERVICE_ADDRESS} tcp dport ${SERVICE_PORT} dnat to ${CONTROL_PLANE_ADDRESS}:${API_PORT}
  }
}
`;

/** Bridges, the control plane's address and the (empty) sets of faults, in the lab's network namespace. */
export async function createNetwork(inside: CommandPrefix, hosts: number): Promise<void> {
  const lines = [
    "link set lo up",
    ...LINKS.flatMap((link) => [
      // Its own address: else a bridge takes that of a port, and another one when that host is reset.
      `link add br${link} address 02:06:00:0${link}:00:fe type bridge forward_delay 0 mcast_snooping 0`,
      `addr add 10.6.${link}.254/24 dev br${link}`,
      `link set br${link} up`,
    ]),
    ...hostNames(hosts).map((_, index) => `route add ${podCidr(index + 1)} via ${hostAddress(index + 1, 0)}`),
  ];
  await run([...inside, "ip", "-batch", "-"], { input: `${lines.join("\n")}\n` });
  await run([...inside, "nft", "--file", "-"], { input: RULES });
}

/** Begins a fault; nothing happens when it is there already. */
export async function cut(inside: CommandPrefix, host: string, what: Cut): Promise<void> {
  await change(inside, "add", elements(host, what));
}

/** Ends a fault; nothing happens when it is not there. */
export async function heal(inside: CommandPrefix, host: string, what: Cut): Promise<void> {
  const present = await faults(inside);
  await change(
    inside,
    "delete",
    elements(host, what).filter(({ set, element }) => present.some((p) => p.set === set && p.element === element)),
  );
}

/** Ends every fault of one host, or of all. */
export async function healAll(inside: CommandPrefix, host?: string): Promise<void> {
  const present = await faults(inside);
  const ports = host && LINKS.map((link) => portName(host, link));
  await change(
    inside,
    "delete",
    present.filter(({ element }) => !ports || element.split(" . ").some((part) => ports.includes(part))),
  );
}

interface Fault {
  set: "link" | "corosync" | "api" | "pair";
  /** Port names, joined by " . " where the set has pairs. */
  element: string;
}

/** What is cut now. */
export async function faults(inside: CommandPrefix): Promise<Fault[]> {
  const { stdout } = await run([...inside, "nft", "--json", "list", "table", "bridge", "faults"]);
  const { nftables } = JSON.parse(stdout) as { nftables: { set?: { name: Fault["set"]; elem?: unknown[] } }[] };
  return nftables.flatMap(({ set }) =>
    (set?.elem ?? []).map((element) => ({ set: set?.name ?? "link", element: elementName(element) })),
  );
}

function elementName(element: unknown): string {
  if (typeof element === "string") return element;
  return ((element as { concat?: string[] }).concat ?? []).join(" . ");
}

function elements(host: string, what: Cut): Fault[] {
  if ("link" in what) return [{ set: "link", element: portName(host, what.link) }];
  if ("traffic" in what) return LINKS.map((link) => ({ set: what.traffic, element: portName(host, link) }));
  return LINKS.flatMap((link) => {
    const [one, other] = [portName(host, link), portName(what.from, link)];
    return [
      { set: "pair" as const, element: `${one} . ${other}` },
      { set: "pair" as const, element: `${other} . ${one}` },
    ];
  });
}

async function change(inside: CommandPrefix, verb: "add" | "delete", faults: readonly Fault[]): Promise<void> {
  if (faults.length === 0) return;
  const lines = faults.map(({ set, element }) => `${verb} element bridge faults ${set} { ${element} }`);
  // One transaction: all of it happens at the same instant.
  await run([...inside, "nft", "--file", "-"], { input: `${lines.join("\n")}\n` });
}
