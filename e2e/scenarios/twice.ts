import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { NAMESPACE } from "../installed/index.ts";
import { type Lab, readWitnessDisk } from "../lab/index.ts";

const EVERY_MS = 250;

/**
 * Whether a guest of a lab ever ran twice, from outside of its hosts: counts its processes in this machine's process
 * table. A frozen or cut-off one counts: it could wake up.
 */
export class ProcessWatch {
  /** The most processes of one guest that were seen at once. */
  most = 0;
  readonly #lab: string;
  readonly #timer = setInterval(() => {
    this.most = Math.max(this.most, ...this.#counts().values());
  }, EVERY_MS);

  constructor(lab: string) {
    this.#lab = lab;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const pid of readdirSync("/proc")) {
      const guest = /^\d+$/.test(pid) ? guestOf(pid, this.#lab) : undefined;
      if (guest !== undefined) counts.set(guest, (counts.get(guest) ?? 0) + 1);
    }
    return counts;
  }
}

function guestOf(pid: string, lab: string): string | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    // The emulator itself, not the shell or systemd-run that starts it with the same arguments.
    if (!/^[^\0]*qemu-system[^\0]*\0/.test(command)) return undefined;
    const guest = new RegExp(`guest=(${NAMESPACE}\\.[^,\\0]+)`).exec(command)?.[1];
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`quorate-lab-${lab}`) ? guest : undefined;
  } catch {
    return undefined;
  }
}

/** The witness disk of a guest, in the folder that all hosts share: the guest itself claims it five times a second. */
export function witnessOf(lab: Lab, folder: string) {
  const volumes = join(lab.shared, folder);
  const found = readdirSync(volumes).filter((each) => each.endsWith("-witness"));
  const [volume] = found;
  if (volume === undefined || found.length !== 1) throw new Error(`${volumes} has ${found.length} witness disks`);
  const file = join(volumes, volume, "disk.raw");
  if (!existsSync(file)) throw new Error(`no ${file}`);
  return readWitnessDisk(file);
}
