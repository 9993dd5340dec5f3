import { QuorateError } from "../../errors.ts";
import { CommandError, type Host } from "../host/index.ts";

/**
 * What the host's own corosync says of its quorum.
 *
 * - `NotInstalled`: there is no corosync on the host.
 * - `Stopped`: no corosync answers, and none is there to answer; also in the first moments of a start.
 * - `Unresponsive`: it was asked and did not answer in time (frozen, starved). Nothing may be concluded from silence.
 */
export type Quorum =
  | { state: "NotInstalled" | "Stopped" | "Unresponsive"; message: string }
  | ({ state: "Running" } & QuorumAnswer);

export interface QuorumAnswer {
  nodeId: number;
  /** As corosync writes it, e.g. `1.9`: changes with every membership. */
  ringId: string;
  quorate: boolean;
  /** In the order of node ids. */
  members: Member[];
  votes: { expected: number; highestExpected: number; total: number; needed: number };
  /** E.g. Quorate, 2Node, WaitForAll, Qdevice. */
  flags: string[];
  /** The vote of the quorum device as this node sees it; absent when the cluster has none. */
  qdeviceVotes?: number;
}

export interface Member {
  nodeId: number;
  votes: number;
  /** Of the member's registration with the quorum device, e.g. `A,V,NMW`, or `NR`; absent in a cluster without one. */
  qdevice?: string;
}

/** Exit codes: 0 quorate, 2 not quorate, 1 no service to ask. */
const ANSWERS = [0, 2];

/** Asks corosync-quorumtool once. Never hangs longer than the time-out and a moment. */
export async function readQuorum(host: Host, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Quorum> {
  try {
    // -i: addresses instead of names, else a host without a name in the nodelist costs a DNS query.
    return {
      state: "Running",
      ...parseQuorum((await host.run("corosync-quorumtool", ["-s", "-i"], { ...options, exitCodes: ANSWERS })).stdout),
    };
  } catch (error) {
    return quorumWithoutAnswer(error);
  }
}

function quorumWithoutAnswer(error: unknown): Quorum {
  if (error instanceof CommandError) {
    if (error.reason === "CommandNotFound") return { state: "NotInstalled", message: error.message };
    if (error.reason === "CommandTimeout")
      return { state: "Unresponsive", message: `corosync gave no answer: ${error.message}` };
    if (error.reason === "CommandFailed") return { state: "Stopped", message: `no corosync to ask: ${error.message}` };
  }
  throw error;
}

/** Reads what `corosync-quorumtool -s -i` writes. @throws QuorateError CorosyncOutputUnreadable: half an answer is none. */
export function parseQuorum(output: string): QuorumAnswer {
  const field = (name: string, pattern: string) => {
    const found = new RegExp(`^${name}:[ \\t]*${pattern}`, "m").exec(output)?.[1];
    if (found === undefined) throw unreadable(name, output);
    return found;
  };
  if (!output.endsWith("\n")) throw unreadable("end", output);
  const { members, qdeviceVotes } = parseMembers(output);
  if (members.length !== Number(field("Nodes", "(\\d+)[ \\t]*$"))) throw unreadable("complete membership", output);
  return {
    nodeId: Number(field("Node ID", "(\\d+)[ \\t]*$")),
    ringId: field("Ring ID", "([0-9a-f]+[./][0-9a-f]+)[ \\t]*$"),
    quorate: field("Quorate", "(Yes|No)[ \\t]*$") === "Yes",
    members,
    votes: {
      expected: Number(field("Expected votes", "(\\d+)")),
      highestExpected: Number(field("Highest expected", "(\\d+)")),
      total: Number(field("Total votes", "(\\d+)")),
      needed: Number(field("Quorum", "(\\d+)")),
    },
    flags: field("Flags", "(.*)$").split(/\s+/).filter(Boolean),
    ...(qdeviceVotes === undefined ? {} : { qdeviceVotes }),
  };
}

/** The table at the end: node id, votes, with a quorum device its registration, then a name. */
function parseMembers(output: string): { members: Member[]; qdeviceVotes: number | undefined } {
  const lines = output.split("\n");
  const header = lines.findIndex((line) => /^\s+Nodeid\s+Votes\s/.test(line));
  if (header === -1) throw unreadable("Membership information", output);
  const hasQdevice = /\sQdevice\s/.test(lines[header] ?? "");
  const members: Member[] = [];
  let qdeviceVotes: number | undefined;
  for (const line of lines.slice(header + 1)) {
    const row = /^\s+(\d+)\s+(\d+)\s+(\S+)/.exec(line);
    if (row === null) continue;
    const [nodeId, votes, third] = [Number(row[1]), Number(row[2]), row[3] ?? ""];
    // The device itself stands in the table as node 0.
    if (nodeId === 0) qdeviceVotes = votes;
    else members.push({ nodeId, votes, ...(hasQdevice ? { qdevice: third } : {}) });
  }
  members.sort((a, b) => a.nodeId - b.nodeId);
  return { members, qdeviceVotes };
}

function unreadable(what: string, output: string): QuorateError {
  const shown = output.trim().slice(0, 300);
  return new QuorateError(
    "environment",
    "CorosyncOutputUnreadable",
    `corosync-quorumtool -s: no "${what}" in its answer; is it corosync 3.1 or later? It said: ${shown}`,
  );
}
