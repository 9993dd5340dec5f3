import ipaddr from "ipaddr.js";

/** One link as a node has to find its address on it. */
export interface LinkQuestion {
  node: string;
  link: number;
  /** CIDR. Without it the address must be given. */
  network: string | undefined;
  /** ClusterNode.spec.links: an IP address, or a name. */
  given: string | undefined;
  /** What the given name resolves to now; absent while that is not known. */
  resolved: string | undefined;
  /** What the node has, with or without prefix length. */
  reported: readonly string[];
  /** In force now. It stays as long as nothing it was chosen by has changed. */
  current: { address: string; hostName?: string } | undefined;
}

export type LinkAnswer =
  | { address: string; hostName?: string; resolvesTo?: string }
  | { problem: "NoAddress" | "AmbiguousAddress" | "NameUnresolved"; message: string };

/** The one address of a node on a link, or why there is none. */
export function chooseAddress(question: LinkQuestion): LinkAnswer {
  const { node, link, network, given, current } = question;
  const place = `ClusterNode "${node}", link ${link}`;
  if (given !== undefined && ipaddr.isValid(given)) return { address: canonical(given) };
  if (given !== undefined) return chooseNamed(question, given, place);
  if (network === undefined) {
    return {
      problem: "NoAddress",
      message: `${place}: the link has no network, so the address must be given; set spec.links[number ${link}].address`,
    };
  }
  // A member keeps its address when its agent is silent, or reports a second one: changing it is a decision of a person.
  if (current !== undefined && current.hostName === undefined && isInside(current.address, network)) {
    return { address: current.address };
  }
  const addresses = question.reported.map(withoutPrefix).filter((address) => ipaddr.isValid(address));
  const inside = [...new Set(addresses.filter((address) => isInside(address, network)).map(canonical))];
  const [only, ...more] = inside;
  if (only === undefined) {
    const has = addresses.length === 0 ? "its agent has reported no addresses yet" : `it has ${addresses.join(", ")}`;
    return {
      problem: "NoAddress",
      message: `${place}: no address in ${network}; ${has}; give the host one there, or set spec.links[number ${link}].address`,
    };
  }
  if (more.length > 0) {
    return {
      problem: "AmbiguousAddress",
      message: `${place}: ${inside.join(" and ")} are both in ${network}; set spec.links[number ${link}].address to the one to use`,
    };
  }
  return { address: only };
}

/** A name is resolved once; what it says later is only compared. */
function chooseNamed({ resolved, current }: LinkQuestion, name: string, place: string): LinkAnswer {
  const now = resolved === undefined ? undefined : canonical(resolved);
  if (current?.hostName === name) {
    const drift = now !== undefined && now !== current.address ? { resolvesTo: now } : {};
    return { address: current.address, hostName: name, ...drift };
  }
  if (now !== undefined) return { address: now, hostName: name };
  return {
    problem: "NameUnresolved",
    message: `${place}: the name "${name}" does not resolve to an address; correct it, or give an IP address`,
  };
}

/** Whether the address lies in the network (CIDR); false for two families. */
export function isInside(address: string, network: string): boolean {
  const parsed = ipaddr.parse(address);
  const [base, bits] = ipaddr.parseCIDR(network);
  return parsed.kind() === base.kind() && parsed.match(base, bits);
}

export function addressFamily(address: string): "ipv4" | "ipv6" {
  return ipaddr.parse(address).kind();
}

function withoutPrefix(address: string): string {
  return address.split("/", 1)[0] ?? address;
}

/** One spelling for one address. */
function canonical(address: string): string {
  const parsed = ipaddr.parse(address);
  return parsed instanceof ipaddr.IPv6 ? parsed.toRFC5952String() : parsed.toString();
}
