import { QuorateError } from "../../errors.ts";
import { CommandError, type Host } from "../host/index.ts";
import { quoted } from "./names.ts";
import type { Disk, GuestSpec } from "./types.ts";

const TIMEOUT_MS = 20_000;

/** A disk as it was found, which decides how QEMU opens it. */
export interface ProbedDisk extends Disk {
  readonly blockDevice: boolean;
  /** Whether it can be read around the page cache of the host (O_DIRECT). FUSE file systems cannot. */
  readonly direct: boolean;
}

/** Refuses with `ImageMissing` unless all of these are files. @param images paths on the host */
export async function requireImages(host: Host, spec: GuestSpec, images: readonly string[]): Promise<void> {
  const found = await fileKinds(host, spec, images);
  const missing = images.find((path) => found.get(path)?.kind !== "file");
  if (missing !== undefined) {
    throw new QuorateError(
      "environment",
      "ImageMissing",
      `${quoted(spec)} cannot be started: there is no file ${missing} on this host; put it there on every node, or correct the guest`,
    );
  }
}

/** Refuses with `DataMissing` or `NotWritable` unless each disk is there and can be used as asked. */
export async function probeDisks(host: Host, spec: GuestSpec, disks: readonly Disk[]): Promise<ProbedDisk[]> {
  const found = await fileKinds(
    host,
    spec,
    disks.map(({ path }) => path),
  );
  const probed: ProbedDisk[] = [];
  for (const disk of disks) {
    const file = found.get(disk.path);
    if (file === undefined || file.kind === "other" || (file.kind === "file" && file.bytes === 0)) {
      const what =
        file === undefined ? "is not there" : file.kind === "file" ? "is empty" : "is no file or block device";
      throw new QuorateError(
        "environment",
        "DataMissing",
        `${quoted(spec)} cannot be started: its disk ${disk.path} ${what}; bring the data here, or start the guest where it is`,
      );
    }
    if (disk.readOnly !== true) await requireWritable(host, spec, disk.path);
    probed.push({ ...disk, blockDevice: file.kind === "block", direct: await canBypassCache(host, disk.path) });
  }
  return probed;
}

interface Found {
  readonly kind: "file" | "block" | "other";
  readonly bytes: number;
}

/** What is at each path; nothing for one where nothing is. Any other failure to look is thrown: it is no absence. */
async function fileKinds(host: Host, spec: GuestSpec, paths: readonly string[]): Promise<ReadonlyMap<string, Found>> {
  const found = new Map<string, Found>();
  if (paths.length === 0) return found;
  const { stdout, stderr } = await host.run("stat", ["--dereference", "--printf=%F\\t%s\\t%n\\n", "--", ...paths], {
    timeoutMs: TIMEOUT_MS,
    exitCodes: [0, 1],
  });
  for (const line of stdout.split("\n").filter((text) => text !== "")) {
    const [type = "", bytes = "", path = ""] = line.split("\t");
    const kind = /^regular /.test(type) ? "file" : type === "block special file" ? "block" : "other";
    found.set(path, { kind, bytes: Number(bytes) });
  }
  const trouble = stderr
    .split("\n")
    .filter((text) => text !== "" && !/: (No such file or directory|Not a directory)$/.test(text));
  if (trouble.length > 0) {
    throw new QuorateError(
      "environment",
      "DataUnreadable",
      `${quoted(spec)} cannot be started: ${trouble.join(" | ").slice(0, 500)}; repair the storage of this host`,
    );
  }
  return found;
}

async function requireWritable(host: Host, spec: GuestSpec, path: string): Promise<void> {
  // Opens for appending and writes nothing: fails where writing would, and changes nothing.
  const args = ["if=/dev/null", `of=${path}`, "conv=notrunc,nocreat", "oflag=append", "status=none"];
  try {
    await host.run("dd", args, { timeoutMs: TIMEOUT_MS });
  } catch (error) {
    if (!(error instanceof CommandError) || error.exitCode === undefined) throw error;
    throw new QuorateError(
      "environment",
      "NotWritable",
      `${quoted(spec)} cannot be started: its disk ${path} cannot be written: ${lastLine(error.stderr)}; is it a replica, or its storage read-only?`,
      { cause: error },
    );
  }
}

async function canBypassCache(host: Host, path: string): Promise<boolean> {
  const args = [`if=${path}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"];
  try {
    await host.run("dd", args, { timeoutMs: TIMEOUT_MS });
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.exitCode !== undefined) return false;
    throw error;
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
