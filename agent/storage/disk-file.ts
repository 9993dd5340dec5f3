import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";

const COPY_TIMEOUT_MS = 3_600_000;
const TIMEOUT_MS = 30_000;

/** The file in a volume's directory that is the guest's disk. */
export const DISK_FILE = "disk.raw";

/**
 * Makes `<directory>/disk.raw` when there is none. It is filled under another name and renamed when it is complete and
 * on stable storage, so that a disk that exists is a whole one. An existing disk is left as it is, whatever its size.
 */
export async function ensureDiskFile(
  host: Host,
  directory: string,
  { sizeBytes, image }: { sizeBytes: number; image?: string },
): Promise<string> {
  const disk = `${directory}/${DISK_FILE}`;
  if ((await fileSize(host, disk)) !== undefined) return disk;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 512 || sizeBytes % 512 !== 0) {
    throw new QuorateError(
      "user",
      "InvalidSize",
      `${disk}: a disk of ${sizeBytes} bytes is not a positive multiple of 512`,
    );
  }
  const partial = `${directory}/.${DISK_FILE}.partial`;
  await host.run("rm", ["-f", "--", partial], { timeoutMs: TIMEOUT_MS });
  if (image !== undefined) {
    const imageBytes = await fileSize(host, image);
    if (imageBytes === undefined) {
      throw new QuorateError(
        "user",
        "ImageMissing",
        `image ${image} is not on this host; put it there or correct the guest's image`,
      );
    }
    if (imageBytes > sizeBytes) {
      throw new QuorateError(
        "user",
        "ImageTooLarge",
        `image ${image} has ${imageBytes} bytes, the volume ${sizeBytes}; enlarge the volume`,
      );
    }
    await host.run("cp", ["--sparse=always", "--reflink=auto", "--", image, partial], { timeoutMs: COPY_TIMEOUT_MS });
  }
  await host.run("truncate", ["-s", String(sizeBytes), "--", partial], { timeoutMs: TIMEOUT_MS });
  await host.run("sync", ["--", partial], { timeoutMs: COPY_TIMEOUT_MS });
  await host.run("mv", ["-n", "-T", "--", partial, disk], { timeoutMs: TIMEOUT_MS });
  await host.run("sync", ["--", directory], { timeoutMs: TIMEOUT_MS });
  return disk;
}

/** Bytes of a regular file (its apparent size), or nothing when there is no such file. Other failures are thrown. */
export async function fileSize(host: Host, path: string): Promise<number | undefined> {
  // `find` tells "no such file" (empty answer on the parent) from "cannot look", which `test -e` does not.
  const slash = path.lastIndexOf("/");
  const parent = path.slice(0, slash) || "/";
  const { stdout } = await host.run(
    "find",
    [
      parent,
      "-maxdepth",
      "1",
      "-name",
      path.slice(slash + 1).replaceAll(/[\\*?[\]]/g, "\\$&"),
      "-type",
      "f",
      "-printf",
      "%s",
    ],
    { timeoutMs: TIMEOUT_MS },
  );
  return stdout.trim() === "" ? undefined : Number(stdout.trim());
}

/** Whether root on the host can write the file now: false on a read-only file system. */
export async function isWritable(host: Host, path: string): Promise<boolean> {
  // Opening for appending changes nothing, and fails where writing would.
  return host
    .run("dd", ["if=/dev/null", `of=${path}`, "conv=notrunc,nocreat", "oflag=append", "status=none"], {
      timeoutMs: TIMEOUT_MS,
    })
    .then(
      () => true,
      () => false,
    );
}
