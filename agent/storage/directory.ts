import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { DISK_FILE, ensureDiskFile, fileSize, isWritable } from "./disk-file.ts";
import { otherGuest, requireGuest } from "./guest-mark.ts";
import { checkedUid, type VolumeId, volumeName } from "./names.ts";
import type { StorageConfig, StorageDriver, VolumeState } from "./types.ts";

const TIMEOUT_MS = 30_000;
/** In a volume's directory: the uid of the Guest object whose volume it is. */
const GUEST_FILE = "guest.uid";

/**
 * Volumes as directories below a path. It has no snapshots and is not replicated: it is for a file system that all
 * nodes share, or for guests that may stay where they are.
 */
export class DirectoryStorage implements StorageDriver {
  readonly type = "Directory";
  readonly name: string;
  readonly shared: boolean;
  readonly #host: Host;
  readonly #path: string;

  constructor(host: Host, config: Extract<StorageConfig, { type: "Directory" }>) {
    if (!/^\/[^\0\n]*[^/\0\n]$/.test(config.path) || config.path.split("/").includes("..")) {
      throw new QuorateError(
        "user",
        "InvalidPath",
        `storage "${config.name}": path ${JSON.stringify(config.path)} is not absolute`,
      );
    }
    this.#host = host;
    this.name = config.name;
    this.shared = config.shared ?? false;
    this.#path = config.path;
  }

  async ensureVolume(
    id: VolumeId,
    options: { sizeBytes: number; image?: string; guest?: string },
  ): Promise<{ path: string }> {
    const directory = this.#directory(id);
    await this.#requireRoot();
    const unsaid = (await this.#requireGuest(id, options.guest)) === undefined;
    // This guest never had a disk, so it did not make this one.
    if (unsaid && (await this.#exists(id)))
      throw otherGuest(
        directory,
        "holds a disk and does not say of which Guest object",
        this.#adopt(id, options.guest),
      );
    await this.#host.run("mkdir", ["-p", "-m", "0700", "--", directory], { timeoutMs: TIMEOUT_MS });
    if (unsaid) await this.#say(id, options.guest);
    return { path: await ensureDiskFile(this.#host, directory, options) };
  }

  async requireGuest(id: VolumeId, guest: string | undefined): Promise<void> {
    await this.#requireGuest(id, guest);
  }

  async activate(id: VolumeId, guest?: string): Promise<{ path: string }> {
    const path = `${this.#directory(id)}/${DISK_FILE}`;
    await this.#requireRoot();
    if (!(await this.#exists(id))) {
      throw new QuorateError(
        "environment",
        "DataMissing",
        `volume ${volumeName(id)} of storage "${this.name}" is not on this host: no ${path}`,
      );
    }
    if (!(await isWritable(this.#host, path))) {
      throw new QuorateError(
        "environment",
        "NotWritable",
        `${path} cannot be written; is its file system mounted read-only?`,
      );
    }
    if ((await this.#requireGuest(id, guest)) === undefined) await this.#say(id, guest);
    return { path };
  }

  async deactivate(): Promise<void> {}

  async inspect(ids: readonly VolumeId[]): Promise<VolumeState[]> {
    await this.#requireRoot();
    return Promise.all(ids.map(async (id) => ({ id, exists: await this.#exists(id), snapshots: [] })));
  }

  async #exists(id: VolumeId): Promise<boolean> {
    const { stdout } = await this.#host.run(
      "find",
      [this.#path, "-maxdepth", "1", "-type", "d", "-name", volumeName(id)],
      {
        timeoutMs: TIMEOUT_MS,
      },
    );
    return stdout.trim() !== "" && (await fileSize(this.#host, `${this.#directory(id)}/${DISK_FILE}`)) !== undefined;
  }

  /** @returns what the volume says, which is of this guest, or nothing. */
  async #requireGuest(id: VolumeId, guest: string | undefined): Promise<string | undefined> {
    const said = (await this.#host.readFile(`${this.#directory(id)}/${GUEST_FILE}`))?.toString().trim() || undefined;
    requireGuest(this.#directory(id), said, guest, this.#adopt(id, guest));
    return said;
  }

  async #say(id: VolumeId, guest: string | undefined): Promise<void> {
    if (guest === undefined) return;
    await this.#host.writeFileAtomic(`${this.#directory(id)}/${GUEST_FILE}`, `${checkedUid(guest)}\n`, { mode: 0o600 });
  }

  #adopt(id: VolumeId, guest: string | undefined): string {
    return `echo ${guest ?? "<uid>"} > ${this.#directory(id)}/${GUEST_FILE}`;
  }

  /** The path itself is never made: a share that is not mounted would be taken for an empty one. */
  async #requireRoot(): Promise<void> {
    try {
      await this.#host.run("find", [this.#path, "-maxdepth", "0", "-type", "d"], { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      throw new QuorateError(
        "environment",
        "StorageMissing",
        `storage "${this.name}": ${this.#path} is not on this host; create or mount it`,
        {
          cause: error,
        },
      );
    }
  }

  #directory(id: VolumeId): string {
    return `${this.#path}/${volumeName(id)}`;
  }
}
