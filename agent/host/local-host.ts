import { bootIdOf } from "./boot-id.ts";
import { readWholeFile, removeFile, resolveInRoot, writeFileAtomic } from "./files.ts";
import type { Host } from "./host.ts";
import { type Prefix, runCommand, spawnCommand } from "./run-command.ts";

const MAX_FILE_BYTES = 16 * 1024 * 1024;

/** The host on which this process runs itself. */
export function localHost(): Host {
  return hostBehind([], "");
}

/** A host whose commands are reached by `prefix` and whose files lie below `root`. */
export function hostBehind(prefix: Prefix, root: string): Host {
  const path = (hostPath: string) => resolveInRoot(root, hostPath);
  const text = async (hostPath: string) => String((await readWholeFile(path(hostPath), MAX_FILE_BYTES)) ?? "");
  return {
    path,
    run: (command, args, options) => runCommand(prefix, command, args, options),
    spawn: (command, args, options) => spawnCommand(prefix, command, args, options),
    writeFileAtomic: (hostPath, data, { mode, backup }) =>
      writeFileAtomic(path(hostPath), data, { mode, ...(backup === undefined ? {} : { backup: path(backup) }) }),
    readFile: async (hostPath, options) => readWholeFile(path(hostPath), options?.maxBytes ?? MAX_FILE_BYTES),
    removeFile: async (hostPath) => removeFile(path(hostPath)),
    bootId: async () => bootIdOf(await text("/proc/sys/kernel/random/boot_id"), await text("/proc/1/stat")),
  };
}
