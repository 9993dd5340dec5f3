/**
 * What a corosync configuration says, apart from its version: the unit in which changes are planned, compared and
 * reverted. It is kept as JSON beside the rendered text, so everything in it is plain data.
 */
export interface CorosyncConfig {
  readonly clusterName: string;
  readonly cipher: "aes256" | "aes192" | "aes128";
  readonly hash: "sha256" | "sha384" | "sha512";
  readonly tokenMilliseconds: number;
  /** Added to the token for every node beyond two. */
  readonly tokenCoefficientMilliseconds: number;
  /** Real-time scheduling of corosync; off only on hosts that have no budget for it. */
  readonly realtime: boolean;
  /** In order of their number. */
  readonly links: readonly ConfigLink[];
  /** In order of their id. */
  readonly nodes: readonly ConfigNode[];
  readonly qdevice?: ConfigQDevice;
  /** Break glass: the votes to expect instead of the sum of all. */
  readonly expectedVotes?: number;
}

export interface ConfigLink {
  readonly number: number;
  readonly priority: number;
}

export interface ConfigNode {
  readonly name: string;
  readonly nodeId: number;
  readonly votes: number;
  /** In order of the link's number. */
  readonly addresses: readonly ConfigAddress[];
}

export interface ConfigAddress {
  readonly link: number;
  /** An IP address, never a name: what a name means must not change under a running cluster. */
  readonly address: string;
  /** The name it was resolved from. */
  readonly hostName?: string;
}

export interface ConfigQDevice {
  readonly host: string;
  readonly port: number;
  readonly algorithm: "ffsplit" | "lms";
  /** `lowest`, `highest` or a node id. */
  readonly tieBreaker: string;
  readonly votes: number;
}

export function sameConfig(a: CorosyncConfig, b: CorosyncConfig): boolean {
  return JSON.stringify(normalize(a)) === JSON.stringify(normalize(b));
}

/** The same content in one order of keys and list items. */
export function normalize(config: CorosyncConfig): CorosyncConfig {
  const { qdevice, expectedVotes } = config;
  return {
    clusterName: config.clusterName,
    cipher: config.cipher,
    hash: config.hash,
    tokenMilliseconds: config.tokenMilliseconds,
    tokenCoefficientMilliseconds: config.tokenCoefficientMilliseconds,
    realtime: config.realtime,
    links: config.links.map(({ number, priority }) => ({ number, priority })).sort((a, b) => a.number - b.number),
    nodes: config.nodes
      .map(({ name, nodeId, votes, addresses }) => ({
        name,
        nodeId,
        votes,
        addresses: addresses
          .map(({ link, address, hostName }) => ({ link, address, ...(hostName === undefined ? {} : { hostName }) }))
          .sort((a, b) => a.link - b.link),
      }))
      .sort((a, b) => a.nodeId - b.nodeId),
    ...(qdevice === undefined
      ? {}
      : {
          qdevice: {
            host: qdevice.host,
            port: qdevice.port,
            algorithm: qdevice.algorithm,
            tieBreaker: qdevice.tieBreaker,
            votes: qdevice.votes,
          },
        }),
    ...(expectedVotes === undefined ? {} : { expectedVotes }),
  };
}

/** The part of a configuration that says who votes. */
export type VotingConfig = Pick<CorosyncConfig, "nodes" | "qdevice" | "expectedVotes">;

/** Votes of all nodes and of the QDevice. */
export function totalVotes(config: VotingConfig): number {
  return config.nodes.reduce((sum, node) => sum + node.votes, config.qdevice?.votes ?? 0);
}

/** A majority of the votes to expect. */
export function neededVotes(config: VotingConfig): number {
  return Math.floor((config.expectedVotes ?? totalVotes(config)) / 2) + 1;
}

/** Votes of the nodes that are there, without the QDevice. */
export function presentVotes(config: VotingConfig, present: (node: ConfigNode) => boolean): number {
  return config.nodes.reduce((sum, node) => sum + (present(node) ? node.votes : 0), 0);
}
