import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { cmapNodeIds, cmapNumber, parseCmap } from "./cmap.ts";
import { type ConfSummary, summarizeConf } from "./conf-text.ts";
import { type Quorum, readQuorum } from "./quorum.ts";

export const CONF_PATH = "/etc/corosync/corosync.conf";
/** The configuration before the last change. */
export const BACKUP_PATH = "/etc/corosync/corosync.conf.quorate-backup";
export const AUTHKEY_PATH = "/etc/corosync/authkey";

const COMMAND_TIMEOUT_MS = 5000;
const VERIFY_LIMIT_MS = 5000;

export interface WantedConfig {
  /** The text, rendered by the membership controller. */
  conf: string;
  /** The config_version that must stand in it. */
  version: number;
  /** This node's id, which must stand in its nodelist. */
  nodeId: number;
  /** Written when it differs; only while corosync does not run. Never part of a message. */
  authkey?: Uint8Array;
  permit?: WritePermit;
}

/**
 * On which grounds a host's configuration may change. A partition without quorum changes nothing.
 *
 * - `Quorate` (default): corosync runs and is quorate, or the host has no configuration yet.
 * - `Stopped`: also when corosync does not run: the way for a node that missed changes while it was down, because
 *   corosync leaves the ring again if its config_version is lower than that of the members.
 * - `Override`: whatever corosync says; only while a quorum override is active.
 */
export type WritePermit = "Quorate" | "Stopped" | "Override";

export interface AppliedConfig {
  /** `Unchanged`: written and running already. `Written`: corosync does not run (or answer) and reads it when it starts. `Loaded`: it runs. */
  outcome: "Unchanged" | "Written" | "Loaded";
  version: number;
}

/**
 * Brings corosync.conf and the key on the host to what is wanted, and into the running corosync.
 *
 * The file holds the old or the new text at any moment. A configuration that corosync does not take is replaced by the
 * one before it, and that one is loaded again. `corosync-cfgtool -R` makes every node of the ring read its own file
 * again; those without a new one go on unchanged.
 *
 * @throws QuorateError ConfigInvalid, ConfigVersionNotNewer, OtherCluster, AuthKeyInUse, NodeNotQuorate: nothing was
 *   written. ConfigNotLoaded: the message says what is running and on the disk now.
 */
export async function applyConfig(
  host: Host,
  wanted: WantedConfig,
  clock: Clock = systemClock,
): Promise<AppliedConfig> {
  const next = checkWanted(wanted);
  const oldText = (await host.readFile(CONF_PATH))?.toString();
  const quorum = await readQuorum(host, { timeoutMs: COMMAND_TIMEOUT_MS });
  const isRunning = quorum.state === "Running";
  const isWritten = oldText === wanted.conf;
  const keyDiffers = await differs(host, wanted.authkey);
  if (isWritten && !keyDiffers) {
    if (quorum.state === "Stopped") return { outcome: "Written", version: next.configVersion };
    if (isRunning && (await loaded(host, next.configVersion, wanted.nodeId)) === undefined)
      return { outcome: "Unchanged", version: next.configVersion };
  }
  checkPermit(wanted.permit ?? "Quorate", quorum, oldText !== undefined);
  if (keyDiffers && quorum.state !== "Stopped") throw keyInUse();
  if (!isWritten) checkSuccession(next, oldText);

  if (wanted.authkey !== undefined && keyDiffers)
    await host.writeFileAtomic(AUTHKEY_PATH, wanted.authkey, { mode: 0o400 });
  if (!isWritten) await host.writeFileAtomic(CONF_PATH, wanted.conf, { mode: 0o644, backup: BACKUP_PATH });
  if (!isRunning) return { outcome: "Written", version: next.configVersion };
  try {
    await load(host, next.configVersion, wanted.nodeId, clock);
  } catch (error) {
    throw await restored(host, error, next, isWritten ? await backup(host, next) : oldText, wanted.nodeId, clock);
  }
  return { outcome: "Loaded", version: next.configVersion };
}

function checkWanted(wanted: WantedConfig): ConfSummary {
  const next = summarizeConf(wanted.conf);
  if (next.configVersion !== wanted.version) {
    throw new QuorateError(
      "bug",
      "ConfigInvalid",
      `corosync.conf is not written: it has config_version ${next.configVersion}, expected was ${wanted.version}`,
    );
  }
  if (!next.nodeIds.includes(wanted.nodeId)) {
    throw new QuorateError(
      "bug",
      "ConfigInvalid",
      `corosync.conf is not written: node id ${wanted.nodeId}, this host, is not in its nodelist (${next.nodeIds.join(", ")})`,
    );
  }
  const size = wanted.authkey?.length;
  if (size !== undefined && (size < 128 || size > 4096)) {
    throw new QuorateError(
      "bug",
      "ConfigInvalid",
      `the authentication key has ${size} bytes, corosync takes 128 to 4096; nothing is written`,
    );
  }
  return next;
}

function checkPermit(permit: WritePermit, quorum: Quorum, hasConfig: boolean): void {
  if (quorum.state === "NotInstalled")
    throw new QuorateError("environment", "CorosyncNotInstalled", `${quorum.message}; corosync 3.1 or later is needed`);
  if (permit === "Override") return;
  if (quorum.state === "Running" && quorum.quorate) return;
  if (quorum.state === "Stopped" && (!hasConfig || permit === "Stopped")) return;
  const why = quorum.state === "Running" ? "it is not quorate" : `corosync is ${quorum.state} (${quorum.message})`;
  throw new QuorateError(
    "transient",
    "NodeNotQuorate",
    `corosync.conf is not changed on this node: ${why}. It is changed once the node is quorate; with a majority lost for good, set the Cluster's spec.quorumOverride`,
  );
}

function checkSuccession(next: ConfSummary, oldText: string | undefined): void {
  let old: ConfSummary | undefined;
  try {
    old = oldText === undefined ? undefined : summarizeConf(oldText);
  } catch {
    // What is there is no configuration, so nothing is lost; it is kept as backup.
  }
  if (old === undefined) return;
  if (old.clusterName !== next.clusterName) {
    throw new QuorateError(
      "user",
      "OtherCluster",
      `this host belongs to the corosync cluster "${old.clusterName}" and is wanted in "${next.clusterName}"; detach it from the first one (ClusterNode spec.detach)`,
    );
  }
  if (next.configVersion <= old.configVersion) {
    throw new QuorateError(
      "transient",
      "ConfigVersionNotNewer",
      `corosync.conf on this host has config_version ${old.configVersion} and other content; ${next.configVersion} is not newer and is not written. The next change of the cluster replaces it`,
    );
  }
}

async function differs(host: Host, authkey: Uint8Array | undefined): Promise<boolean> {
  if (authkey === undefined) return false;
  const present = await host.readFile(AUTHKEY_PATH);
  return present === undefined || !present.equals(authkey);
}

function keyInUse(): QuorateError {
  return new QuorateError(
    "environment",
    "AuthKeyInUse",
    "the authentication key on this host differs from the cluster's and corosync runs with it; stop corosync here (detach the node) before it is replaced",
  );
}

async function load(host: Host, version: number, nodeId: number, clock: Clock): Promise<void> {
  // Its exit code says that the text could be parsed, not that this is now what runs.
  await host.run("corosync-cfgtool", ["-R"], { timeoutMs: COMMAND_TIMEOUT_MS });
  const until = clock.elapsedMs() + VERIFY_LIMIT_MS;
  for (;;) {
    const missing = await loaded(host, version, nodeId);
    if (missing === undefined) return;
    if (clock.elapsedMs() > until) throw new QuorateError("environment", "ConfigNotLoaded", missing);
    await clock.sleep(100);
  }
}

/** Undefined when this version runs with the node in it, else what is wrong. */
async function loaded(host: Host, version: number, nodeId: number): Promise<string | undefined> {
  const map = parseCmap((await host.run("corosync-cmapctl", [], { timeoutMs: COMMAND_TIMEOUT_MS })).stdout);
  const running = cmapNumber(map, "totem.config_version");
  if (running !== version) return `corosync runs config_version ${running ?? "none"}`;
  const own = cmapNumber(map, "runtime.votequorum.this_node_id");
  if (own !== nodeId) return `corosync runs as node id ${own ?? "none"}, not ${nodeId}`;
  if (!cmapNodeIds(map).includes(nodeId)) return `node id ${nodeId} is not in the loaded nodelist`;
  return undefined;
}

/** The configuration before, when an earlier call wrote the wanted one and did not come to load it. */
async function backup(host: Host, next: ConfSummary): Promise<string | undefined> {
  const text = (await host.readFile(BACKUP_PATH))?.toString();
  try {
    return text !== undefined && summarizeConf(text).configVersion < next.configVersion ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Puts the configuration before back, on the disk and into corosync. Returns the error that says how that went. */
async function restored(
  host: Host,
  cause: unknown,
  next: ConfSummary,
  oldText: string | undefined,
  nodeId: number,
  clock: Clock,
): Promise<QuorateError> {
  const { class: errorClass, message } = classify(cause);
  const failed = (now: string) =>
    new QuorateError(
      errorClass === "bug" ? "bug" : "environment",
      "ConfigNotLoaded",
      `corosync did not take config_version ${next.configVersion}: ${message}. ${now}`,
      { cause },
    );
  if (oldText === undefined)
    return failed(`The file stays, there is none before it to go back to; look into corosync's log on this host`);
  try {
    await host.writeFileAtomic(CONF_PATH, oldText, { mode: 0o644 });
  } catch (error) {
    return failed(`The file before it could not be put back: ${classify(error).message}. It is in ${BACKUP_PATH}`);
  }
  try {
    const { configVersion } = summarizeConf(oldText);
    await load(host, configVersion, nodeId, clock);
    return failed(`config_version ${configVersion} was put back and runs`);
  } catch (error) {
    return failed(
      `The file before it was put back but does not run: ${classify(error).message}; look into corosync's log on this host`,
    );
  }
}
