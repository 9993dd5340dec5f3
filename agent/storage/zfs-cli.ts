import { classify, type ErrorClass, QuorateError } from "../../errors.ts";
import { CommandError, type Host, type RunResult } from "../host/index.ts";

const QUERY_TIMEOUT_MS = 30_000;
const CHANGE_TIMEOUT_MS = 60_000;
/** Some 800 bytes a snapshot, and a dataset may have 65,000 of them. */
const MAX_OUTPUT = 256 * 1024 * 1024;

/** The property that marks a dataset as the target of a job: its local value is the job's id. */
export const REPLICA_PROPERTY = "dev.quorate:replica";
/** On a dataset: the uid of the Guest object whose volume it is. */
export const GUEST_PROPERTY = "dev.quorate:guest";
/** On a snapshot: the nodes whose newest copy it is, joined by commas. */
export const NEWEST_ON_PROPERTY = "dev.quorate:newest-on";
/** On a dataset: the transaction of the snapshot from which a guest went on here. */
export const TOOK_OVER_PROPERTY = "dev.quorate:took-over-at";

/** What this host's ZFS can do beyond pool version 23. */
export interface ZfsFeatures {
  /** One `zfs snapshot` of many datasets is one transaction. */
  readonly atomicSnapshots: boolean;
  /** `zfs receive -u -s`, the `written` and `encryption` properties and `zfs set` of several properties at once. */
  readonly openZfs: boolean;
}

/** Properties of one dataset or snapshot: value, and whether it was set right there or came there with a stream. */
export type Properties = ReadonlyMap<
  string,
  { readonly value: string; readonly local: boolean; readonly received?: boolean }
>;

/** `zfs` of one host. Every failure is a QuorateError with a reason that says what to do. */
export class ZfsCli {
  static readonly #features = new WeakMap<Host, Promise<ZfsFeatures>>();
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Changes something. */
  async change(...args: string[]): Promise<void> {
    await this.#run(args, CHANGE_TIMEOUT_MS);
  }

  /** Asked once a host; an answer that is no answer (the daemon is down) is asked again the next time. */
  features(): Promise<ZfsFeatures> {
    const known = ZfsCli.#features.get(this.#host);
    if (known !== undefined) return known;
    const asked = this.#detect().catch((error: unknown) => {
      ZfsCli.#features.delete(this.#host);
      throw error;
    });
    ZfsCli.#features.set(this.#host, asked);
    return asked;
  }

  /** The datasets at most `depth` below `dataset`, itself included, without snapshots. */
  async datasets(dataset: string, depth: number): Promise<Set<string>> {
    const { stdout } = await this.#run(
      ["list", "-H", "-r", "-d", String(depth), "-t", "filesystem,volume", "-o", "name", dataset],
      QUERY_TIMEOUT_MS,
    );
    return new Set(stdout.split("\n").filter((line) => line !== ""));
  }

  /** Which of the datasets right below `dataset` were branched off which snapshot. */
  async origins(dataset: string): Promise<Map<string, string>> {
    const { stdout } = await this.#run(
      ["list", "-H", "-r", "-d", "1", "-t", "filesystem,volume", "-o", "name,origin", dataset],
      QUERY_TIMEOUT_MS,
    );
    const rows = stdout.split("\n").map((line) => line.split("\t"));
    return new Map(rows.flatMap(([name = "", origin = "-"]) => (origin === "-" ? [] : [[name, origin] as const])));
  }

  /**
   * Exact properties of those of these datasets that exist, and of their snapshots, in one command. Not `zfs list`: pool
   * version 23 prints GUIDs there rounded to three digits.
   */
  async properties(datasets: readonly string[]): Promise<Map<string, Properties>> {
    if (datasets.length === 0) return new Map();
    const { openZfs } = await this.features();
    const wanted = [
      "type,guid,createtxg,creation,userrefs,referenced,mounted,mountpoint,readonly,canmount",
      REPLICA_PROPERTY,
      GUEST_PROPERTY,
      NEWEST_ON_PROPERTY,
      TOOK_OVER_PROPERTY,
      ...(openZfs ? ["written", "encryption"] : []),
    ].join(",");
    const args = ["get", "-H", "-p", "-r", "-d", "1", "-o", "name,property,value,source", wanted, ...datasets];
    const { stdout, stderr, exitCode } = await this.#run(args, QUERY_TIMEOUT_MS, [0, 1]);
    const complaints = stderr.split("\n").filter((line) => line.trim() !== "");
    // Exit code 1 may mean that nothing was looked at: then no answer must be taken for "not there".
    const allMissing =
      complaints.length > 0 &&
      complaints.every((line) => /^cannot open '.*': dataset does not exist$/.test(line.trim()));
    if (exitCode !== 0 && !allMissing) {
      throw zfsFailure(
        new QuorateError(
          "environment",
          "CommandFailed",
          `zfs get: ${complaints.slice(-5).join(" | ") || "exit code 1"}`,
        ),
      );
    }
    return parseProperties(stdout);
  }

  async #detect(): Promise<ZfsFeatures> {
    const { stderr, exitCode } = await this.#run(["version"], QUERY_TIMEOUT_MS, [0, 2]);
    if (exitCode === 0) return { atomicSnapshots: true, openZfs: true };
    if (stderr.includes("unrecognized command")) return { atomicSnapshots: false, openZfs: false };
    throw new QuorateError("environment", "StorageFailed", `zfs version: ${stderr.slice(0, 200)}`);
  }

  async #run(args: string[], timeoutMs: number, exitCodes: readonly number[] = [0]): Promise<RunResult> {
    try {
      return await this.#host.run("zfs", args, { timeoutMs, exitCodes, maxOutput: MAX_OUTPUT });
    } catch (error) {
      throw zfsFailure(error);
    }
  }
}

function parseProperties(output: string): Map<string, Properties> {
  const all = new Map<string, Map<string, { value: string; local: boolean; received: boolean }>>();
  for (const line of output.split("\n")) {
    const [name, property, value, source] = line.split("\t");
    if (name === undefined || property === undefined || value === undefined) continue;
    const properties = all.get(name) ?? new Map<string, { value: string; local: boolean; received: boolean }>();
    all.set(name, properties.set(property, { value, local: source === "local", received: source === "received" }));
  }
  return all;
}

interface Failure {
  readonly printed: RegExp;
  readonly class: ErrorClass;
  readonly reason: string;
  readonly next: string;
}

const FAILURES: readonly Failure[] = [
  {
    printed: /out of space|no space left|quota exceeded/i,
    class: "environment",
    reason: "NoSpace",
    next: "free space in the pool or enlarge it",
  },
  {
    printed: /has been modified/i,
    class: "user",
    reason: "TargetModified",
    next: "the copy was written to after the last replication; nothing of it is overwritten",
  },
  {
    printed: /does not match incremental source/i,
    class: "user",
    reason: "Diverged",
    next: "the copy's newest snapshot is not the base of this difference",
  },
  {
    printed: /destination .* exists|dataset already exists/i,
    class: "user",
    reason: "NameTaken",
    next: "a dataset of that name is there already; rename it or remove it by hand",
  },
  {
    printed: /has dependent clones/i,
    class: "user",
    reason: "Locked",
    next: "a branch that was kept goes on from it; destroy or promote that first",
  },
  {
    printed: /is busy/i,
    class: "transient",
    reason: "Locked",
    next: "something on this host has it open or holds it",
  },
  {
    printed: /dataset does not exist|no such pool/i,
    class: "environment",
    reason: "StorageMissing",
    next: "create the dataset or correct the storage in the Cluster",
  },
  {
    printed: /zfs-fuse daemon|ZFS modules|ZFS library|\/dev\/zfs|no such command/i,
    class: "environment",
    reason: "StorageMissing",
    next: "install and start ZFS on this host",
  },
  {
    printed: /invalid backup stream|incomplete stream|checksum mismatch|stream is corrupt/i,
    class: "transient",
    reason: "StreamBroken",
    next: "the stream ended early; the next run sends again",
  },
];

/** What ZFS printed, as an error with one of our reasons. */
export function zfsFailure(error: unknown): QuorateError {
  const known = classify(error);
  const printed = (error instanceof CommandError ? error.stderr : known.message).replaceAll(/\s+/g, " ");
  const failure = FAILURES.find(
    (candidate) => candidate.printed.test(printed) || candidate.printed.test(known.message),
  );
  if (failure === undefined) return known;
  return new QuorateError(failure.class, failure.reason, `${known.message}; ${failure.next}`, { cause: error });
}
