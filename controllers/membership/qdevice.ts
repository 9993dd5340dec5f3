import type { ConfigNode, ConfigQDevice } from "./corosync-config.ts";

/** What is asked of a QDevice, apart from what follows from the nodes. */
export interface QDeviceWish {
  readonly host: string;
  readonly port: number;
  /** Undefined: by the number of nodes. */
  readonly algorithm: "ffsplit" | "lms" | undefined;
  readonly tieBreaker: string;
  readonly allowOddNodes: boolean;
}

export interface QDeviceProblem {
  readonly problem: "OddNodes" | "UnequalVotes" | "NoSuchTieBreaker" | "TooFewNodes";
  readonly message: string;
}

/** The QDevice for these nodes: how many votes it has depends on how many they are. */
export function deviceFor(wish: QDeviceWish, nodes: readonly ConfigNode[]): ConfigQDevice | QDeviceProblem {
  const { host, port, tieBreaker } = wish;
  const odd = nodes.length % 2 === 1;
  const algorithm = wish.algorithm ?? (odd ? "lms" : "ffsplit");
  const other = nodes.find(({ votes }) => votes !== 1);
  if (nodes.length < 2) {
    return {
      problem: "TooFewNodes",
      message: "a QDevice has a say between two nodes or more; it is added when a second node is a member",
    };
  }
  if (other) {
    return {
      problem: "UnequalVotes",
      message: `a QDevice needs every node to have one vote, and ${other.name} has ${other.votes}; set its spec.votes to 1, or remove spec.qdevice`,
    };
  }
  if (odd && !wish.allowOddNodes) {
    return {
      problem: "OddNodes",
      message:
        `a QDevice on an odd number of nodes (${nodes.length}) makes things worse: it gets ${nodes.length - 1} votes, so losing it and one node ` +
        "stops the cluster; add or remove a node, remove spec.qdevice, or set spec.qdevice.allowOddNodes",
    };
  }
  if (/^\d+$/.test(tieBreaker) && !nodes.some(({ nodeId }) => String(nodeId) === tieBreaker)) {
    const ids = nodes.map(({ name, nodeId }) => `${nodeId} (${name})`).join(", ");
    return {
      problem: "NoSuchTieBreaker",
      message: `spec.qdevice.tieBreaker: no node has the id ${tieBreaker}; the ids are ${ids}`,
    };
  }
  return { host, port, algorithm, tieBreaker, votes: algorithm === "ffsplit" ? 1 : nodes.length - 1 };
}
