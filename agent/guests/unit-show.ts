import { CommandError, type Host } from "../host/index.ts";
import type { GuestStatus } from "./types.ts";

const TIMEOUT_MS = 10_000;
const PROPERTIES = [
  "Id",
  "Names",
  "LoadState",
  "ActiveState",
  "SubState",
  "UnitFileState",
  "Job",
  "MainPID",
  "ExecMainStartTimestamp",
  "ExecMainCode",
  "ExecMainStatus",
  "Result",
];

/** A unit as systemd has it now. */
export interface ShownUnit {
  /** Its real name: an alias was asked for perhaps. */
  readonly id: string;
  readonly names: readonly string[];
  readonly loadState: string;
  readonly activeState: string;
  readonly unitFileState: string;
  /** Something is still to happen to it. */
  readonly job: boolean;
  readonly pid?: number;
  readonly startedAt?: string;
  /** Why it ended: `success`, `exit-code`, `signal`, `oom-kill`, `timeout` … */
  readonly result: string;
  readonly exitStatus: string;
}

/**
 * The units with these names (also patterns, which match units in memory only), by one command. A name that systemd has
 * no file of is given with `loadState: "not-found"`. Throws when systemd gives no whole answer.
 */
export async function showUnits(host: Host, names: readonly string[]): Promise<ShownUnit[]> {
  const { stdout } = await host.run(
    "systemctl",
    ["show", "--no-pager", `--property=${PROPERTIES.join(",")}`, "--", ...names],
    { timeoutMs: TIMEOUT_MS, env: { TZ: "UTC" } },
  );
  return stdout
    .split(/\n\n+/)
    .filter((block) => block.trim() !== "")
    .map((block) => shownUnit(new Map(block.split("\n").map((line) => keyAndValue(line)))));
}

/** The one unit of this name. */
export async function showUnit(host: Host, name: string): Promise<ShownUnit> {
  const [unit] = await showUnits(host, [name]);
  if (unit !== undefined) return unit;
  throw new CommandError("transient", "CommandFailed", `systemctl show ${name}: empty answer`, {
    stdout: "",
    stderr: "",
  });
}

/** What systemd says of the guest. That no process is left when it says `Stopped` or `Failed` is for the caller to see. */
export function statusOf(unit: ShownUnit): GuestStatus {
  const running = {
    ...(unit.pid === undefined ? {} : { pid: unit.pid }),
    ...(unit.startedAt === undefined ? {} : { startedAt: unit.startedAt }),
  };
  switch (unit.activeState) {
    case "active":
    case "reloading":
      return { state: "Running", ...running };
    case "activating":
      return { state: "Starting", ...running };
    case "deactivating":
      return { state: "Stopping", ...running };
    case "inactive":
      return { state: "Stopped" };
    case "failed":
      return { state: "Failed", message: `${unit.id} ended by itself or could not start: ${howItEnded(unit)}` };
    default:
      return { state: "Unknown", ...running, message: `${unit.id}: systemd says ${unit.activeState || "nothing"}` };
  }
}

export function howItEnded(unit: ShownUnit): string {
  if (unit.result === "oom-kill") return "the kernel killed it because memory ran out";
  return `${unit.result}, status ${unit.exitStatus}`;
}

function shownUnit(values: ReadonlyMap<string, string>): ShownUnit {
  const id = values.get("Id") ?? "";
  const activeState = values.get("ActiveState") ?? "";
  if (id === "" || activeState === "") {
    throw new CommandError("transient", "CommandFailed", "systemctl show: an answer without Id or ActiveState", {
      stdout: "",
      stderr: "",
    });
  }
  const pid = Number(values.get("MainPID") ?? 0);
  const time = /(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/.exec(values.get("ExecMainStartTimestamp") ?? "");
  return {
    id,
    names: (values.get("Names") ?? "").split(" ").filter((name) => name !== ""),
    loadState: values.get("LoadState") ?? "",
    activeState,
    unitFileState: values.get("UnitFileState") ?? "",
    job: Number(values.get("Job") ?? 0) > 0,
    ...(pid > 0 ? { pid } : {}),
    ...(time === null ? {} : { startedAt: `${time[1]}T${time[2]}Z` }),
    result: values.get("Result") ?? "",
    exitStatus: values.get("ExecMainStatus") ?? "",
  };
}

function keyAndValue(line: string): readonly [string, string] {
  const at = line.indexOf("=");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
}
