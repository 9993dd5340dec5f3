import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { QuorateError } from "../../errors.ts";
import { identifyProcess, type ProcessIdentity, processLives } from "../tools/index.ts";
import type { LabCgroups } from "./cgroups.ts";
import type { CommandPrefix } from "./run.ts";
import type { LabLayout } from "./state.ts";
import { waitFor } from "./wait.ts";

/**
 * The lab lives in a network and a mount namespace of its own. Nothing of it is seen outside: no interface, no address,
 * no mount. Both end with the last process in them, so a lab whose processes are killed leaves nothing behind.
 *
 * A new network namespace needs a new /sys to show its bridges, which LXC looks up there; the new one has no control
 * groups, so those of the machine are bound back.
 */
const HOLD = `set -e
mount --rbind /sys/fs/cgroup "$1"
mount -t sysfs sysfs /sys
mount --rbind "$1" /sys/fs/cgroup
umount --lazy "$1"
exec sleep infinity`;

/** Moves itself into the lab's control group and becomes the command. */
const JOIN = 'echo $$ >"$0" && exec "$@"';

export function joinPrefix(cgroups: LabCgroups): CommandPrefix {
  return ["/bin/sh", "-c", JOIN, cgroups.joinFile];
}

/** Makes the namespaces and the process that keeps them. */
export async function startHolder(files: LabLayout, cgroups: LabCgroups): Promise<ProcessIdentity> {
  mkdirSync(files.cgroups, { recursive: true });
  const unshare = ["unshare", "--mount", "--net", "--propagation", "private", "--"];
  const holder = startDaemon(
    [...joinPrefix(cgroups), ...unshare, "/bin/sh", "-c", HOLD, "holder", files.cgroups],
    files.log("holder"),
  );
  await waitFor(() => isSleeping(holder), 10_000, `the lab's namespaces; see ${files.log("holder")}`, {
    ignoreErrors: false,
    intervalMs: 10,
  });
  return holder;
}

/** Put before a command to run it as a process of the lab in its namespaces. @throws QuorateError when the lab is dead. */
export function insidePrefix(holder: ProcessIdentity | undefined, cgroups: LabCgroups): CommandPrefix {
  if (holder === undefined || !processLives(holder)) {
    throw new QuorateError("user", "LabNotUp", "the lab is not up; run: quorate lab up");
  }
  return [...joinPrefix(cgroups), "nsenter", "--target", String(holder.pid), "--mount", "--net", "--"];
}

/** The path by which a process outside reaches a path inside the lab's mount namespace. */
export function insidePath(holder: ProcessIdentity, path: string): string {
  return `/proc/${holder.pid}/root${path}`;
}

/** Starts a process that outlives this one, with its output in a file. */
export function startDaemon(command: readonly string[], log: string): ProcessIdentity {
  const [program = "", ...args] = command;
  const output = openSync(log, "a");
  try {
    const child = spawn(program, args, { stdio: ["ignore", output, output], detached: true, cwd: "/" });
    child.on("error", () => {}); // shows as a missing pid
    child.unref();
    const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
    if (identity !== undefined) return identity;
  } finally {
    closeSync(output);
  }
  throw new QuorateError("environment", "NotStarted", `cannot run ${program}; see ${log}`);
}

function isSleeping(holder: ProcessIdentity): boolean {
  if (!processLives(holder)) throw new QuorateError("environment", "NotStarted", "the holder of the namespaces ended");
  return readFileSync(`/proc/${holder.pid}/comm`, "utf8").trim() === "sleep";
}
