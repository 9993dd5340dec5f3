import { QuorateError } from "../../errors.ts";

/**
 * What names one boot of a host: the kernel's boot id, and when PID 1 was started (clock ticks since the kernel's boot).
 * The second part tells the boots of a host apart that is a container: these share the kernel's boot id.
 * @param stat the content of /proc/1/stat
 */
export function bootIdOf(bootId: string, stat: string): string {
  // The second field is a name in parentheses that may itself hold spaces and parentheses.
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  const id = bootId.trim();
  if (!/^[0-9a-f-]{36}$/.test(id) || started === undefined || !/^\d+$/.test(started)) {
    throw new QuorateError(
      "environment",
      "NoBootId",
      "the host's boot id or the start of its PID 1 cannot be read from /proc",
    );
  }
  return `${id}.${started}`;
}
