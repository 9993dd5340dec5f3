import type { Host } from "./host.ts";
import { hostBehind } from "./local-host.ts";

/**
 * The host under this privileged pod (hostPID: true): commands run in the mount, UTS, network and IPC namespaces of its
 * PID 1, files are reached through /proc/1/root. The image must hold nsenter. A command stays in the pod's control group
 * and ends with the pod; what must outlive it is started as a systemd unit.
 * @param pid another process whose namespaces are the host; for tests
 */
export function podHost(pid = 1): Host {
  return hostBehind(["nsenter", "-t", String(pid), "-m", "-u", "-n", "-i", "--"], `/proc/${pid}/root`);
}
