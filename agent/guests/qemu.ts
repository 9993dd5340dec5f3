import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import type { StorageDriver, VolumeRef } from "../storage/index.ts";
import { guestId, imageFile, runtimeFolder, unitOf } from "./names.ts";
import { type Accelerator, type Disk, qemuArguments } from "./qemu-args.ts";
import { QmpClient } from "./qmp.ts";
import { plug, unplug } from "./taps.ts";
import type {
  GuestDefinition,
  GuestDriver,
  GuestKey,
  GuestProcess,
  GuestState,
  GuestStatus,
  StopOptions,
} from "./types.ts";
import { HostUnits, type UnitStatus } from "./units.ts";
import { storageOf } from "./volumes.ts";

export interface QemuOptions {
  readonly host: Host;
  /** The storages this node has. */
  readonly storage: (name: string) => StorageDriver | undefined;
  /** `Auto` (default) takes KVM where /dev/kvm can be written. */
  readonly accelerator?: "Auto" | "KVM" | "TCG";
  /** For translated code, 32 to 128; TCG only. */
  readonly translationBufferMiB?: number;
  /** Default q35. */
  readonly machineType?: string;
  readonly emulator?: string;
  readonly clock?: Clock;
}

const TIMEOUT_MS = 15_000;
const START_WITHIN_MS = 30_000;
const QUIT_WITHIN_MS = 5_000;
const KILL_WITHIN_MS = 10_000;
const RESUME_ATTEMPTS = 3;
const RESUME_PAUSE_MS = 500;
const PRESS_AGAIN_MS = 5_000;
const POLL_MS = 200;
/** Well within the time after which what a host said of its guests is too old. */
const ANSWER_WITHIN_MS = 2_000;
const PAUSED_MARK = "paused-by-agent";

const UNIT_STATES = {
  inactive: "Stopped",
  activating: "Starting",
  deactivating: "Stopping",
  other: "Unknown",
} as const;
const QEMU_STATES: Readonly<Record<string, GuestState>> = {
  running: "Running",
  paused: "Paused",
  suspended: "Paused",
  prelaunch: "Starting",
  inmigrate: "Starting",
};

/** Virtual machines, each a transient systemd unit of the host: they outlive the agent. */
export class QemuDriver implements GuestDriver {
  readonly #options: QemuOptions;
  readonly #host: Host;
  readonly #units: HostUnits;
  readonly #clock: Clock;
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Machines that a snapshot under way keeps from writing, or is about to. */
  readonly #held = new Set<string>();
  readonly #asked = new Map<string, Promise<string>>();

  constructor(options: QemuOptions) {
    this.#options = options;
    this.#host = options.host;
    this.#units = new HostUnits(options.host);
    this.#clock = options.clock ?? systemClock;
  }

  async states(guests: readonly GuestProcess[]): Promise<GuestStatus[]> {
    try {
      const told = await this.#units.statuses(guests.map(unitOf));
      return await Promise.all(guests.map((guest) => this.#state(guest, told.get(unitOf(guest)))));
    } catch (error) {
      return guests.map(() => ({ state: "Unknown", message: classify(error).message }));
    }
  }

  async start(guest: GuestDefinition, signal?: AbortSignal): Promise<void> {
    const unit = unitOf(guest);
    const { active } = await this.#units.status(unit);
    if (active === "active") return this.#untilAnswering(guest, signal);
    if (active !== "inactive" && active !== "failed") {
      throw new QuorateError("transient", "Locked", `guest "${guest.name}" is ${active} on this host`);
    }
    const disks: Disk[] = [];
    for (const ref of guest.volumes) disks.push(await this.#disk(guest, ref));
    await this.#requireImages(guest);
    const how = { accelerator: await this.#accelerator(), machineType: this.#options.machineType ?? "q35" };
    const args = qemuArguments(guest, disks, how);
    const folder = runtimeFolder(guest);
    await this.#host.run("mkdir", ["-p", "-m", "0700", "--", folder], { timeoutMs: TIMEOUT_MS });
    await this.#host.run("rm", ["-f", "--", `${folder}/qemu.log`, `${folder}/${PAUSED_MARK}`], {
      timeoutMs: TIMEOUT_MS,
    });
    await plug(this.#host, guest.vmid, guest.machine?.networks ?? []);
    signal?.throwIfAborted();
    await this.#units.start({
      name: unit,
      description: `Quorate guest ${guestId(guest)}`,
      folder,
      log: "qemu.log",
      command: [this.#options.emulator ?? "qemu-system-x86_64", ...args],
    });
    await this.#untilAnswering(guest, signal);
  }

  async stop(key: GuestDefinition, { timeoutSeconds, signal }: StopOptions): Promise<void> {
    const { mainPid } = await this.#units.status(unitOf(key));
    const gone = () => this.#isGone(key, mainPid);
    if (timeoutSeconds > 0) await this.#askToShutDown(key, gone, timeoutSeconds * 1000, signal);
    if (!(await gone())) {
      const heard = await this.#withQmp(key, (qmp) => qmp.command("quit")).then(
        () => true,
        () => false,
      );
      if (heard) await this.#until(gone, QUIT_WITHIN_MS, signal);
    }
    if (!(await gone())) {
      await this.#units.kill(unitOf(key), "SIGKILL");
      await this.#until(gone, KILL_WITHIN_MS, signal);
    }
    if (!(await gone())) {
      throw new QuorateError(
        "environment",
        "StopFailed",
        `guest "${key.name}" does not end; its process ${mainPid} may wait for a disk`,
      );
    }
    await unplug(this.#host, key.vmid, key.machine?.networks ?? []);
  }

  /** With `Pause`: until the returned function is called, no write of the guest is under way and all are on its disks. */
  async quiesce(guest: GuestDefinition, level: "Freeze" | "Pause"): Promise<() => Promise<void>> {
    const nothing = async () => {};
    if (level === "Freeze") return nothing;
    const id = guestId(guest);
    if (this.#held.has(id))
      throw new QuorateError("transient", "Locked", `guest "${guest.name}" is paused for another snapshot`);
    this.#held.add(id);
    let paused = false;
    try {
      paused = await this.#pause(guest);
    } finally {
      if (!paused) this.#held.delete(id);
    }
    if (!paused) return nothing;
    return async () => {
      try {
        await this.#resume(guest);
      } finally {
        // What still is paused now is forgotten, and nobody's but the loop's that looks for those.
        this.#held.delete(id);
      }
    };
  }

  /**
   * Lets the machine go on if it was paused for a snapshot and nobody holds it any more: an agent died, or it did not hear that it
   * may. Returns whether it was so.
   */
  async resumeForgotten(key: GuestKey): Promise<boolean> {
    if (this.#held.has(guestId(key)) || !(await this.#isMarked(key))) return false;
    return this.#withQmp(key, async (qmp) => {
      if (this.#held.has(guestId(key)) || !(await this.#isMarked(key))) return false;
      await this.#continue(key, qmp);
      return true;
    });
  }

  /** @returns false for one that does not run, or that a person paused: it is not ours to let go on. */
  async #pause(guest: GuestDefinition): Promise<boolean> {
    // Looked for before the state: a machine whose mark is gone by then goes on by then.
    const forgotten = await this.#isMarked(guest);
    const { state, message } = await this.#state(guest, await this.#units.status(unitOf(guest)));
    if (state === "Stopped" || (state === "Paused" && !forgotten)) return false;
    if (state !== "Running" && state !== "Paused") {
      throw new QuorateError(
        "transient",
        "Locked",
        `guest "${guest.name}" cannot be paused, it is ${state}: ${message ?? ""}`,
      );
    }
    try {
      await this.#withQmp(guest, async (qmp) => {
        // The mark before the pause: an agent that starts after one that died in between finds it.
        await this.#host.writeFileAtomic(mark(guest), "", { mode: 0o600 });
        await qmp.command("stop", undefined, TIMEOUT_MS);
      });
    } catch (error) {
      await this.#resume(guest).catch(() => {});
      throw error;
    }
    return true;
  }

  /** A host that is busy enough to be slow once is tried again at once: the guest stands still. */
  async #resume(key: GuestKey): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#withQmp(key, (qmp) => this.#continue(key, qmp));
      } catch (error) {
        if (attempt < RESUME_ATTEMPTS) await this.#clock.sleep(RESUME_PAUSE_MS);
        else {
          const why = `guest "${key.name}" was paused for a snapshot and does not go on: ${classify(error).message}; it is tried again every few seconds`;
          throw new QuorateError("transient", "NotResumed", why, { cause: error });
        }
      }
    }
  }

  async #continue(key: GuestKey, qmp: QmpClient): Promise<void> {
    await qmp.command("cont", undefined, TIMEOUT_MS);
    await this.#host.removeFile(mark(key));
  }

  async #isMarked(key: GuestKey): Promise<boolean> {
    return (await this.#host.readFile(mark(key))) !== undefined;
  }

  async #state(guest: GuestProcess, told: UnitStatus | undefined): Promise<GuestStatus> {
    if (told === undefined)
      return { state: "Unknown", message: `systemd of this host does not say how ${unitOf(guest)} is` };
    const { active, mainPid: pid, startedAt, result } = told;
    if (active === "failed") return { state: "Stopped", message: `the emulator ended: ${result}` };
    if (active !== "active") return { state: UNIT_STATES[active] };
    const process = { pid, ...(startedAt === undefined ? {} : { startedAt }) };
    try {
      const said = await this.#ask(guest);
      const state = QEMU_STATES[said];
      return { ...process, ...(state === undefined ? { state: "Unknown", message: `QEMU says: ${said}` } : { state }) };
    } catch (error) {
      return { state: "Unknown", message: classify(error).message };
    }
  }

  /** One machine that does not answer keeps nobody waiting who asks for all, and is not asked again meanwhile. */
  async #ask(guest: GuestProcess): Promise<string> {
    const id = guestId(guest);
    const asked = this.#asked.get(id) ?? this.#withQmp(guest, queryStatus).finally(() => this.#asked.delete(id));
    this.#asked.set(id, asked);
    const late = new AbortController();
    const tooLate = this.#clock.sleep(ANSWER_WITHIN_MS, late.signal).then(() => {
      throw new QuorateError("transient", "NoAnswer", `QEMU of ${id} did not answer in ${ANSWER_WITHIN_MS} ms`);
    });
    try {
      return await Promise.race([asked, tooLate]);
    } finally {
      late.abort();
    }
  }

  /** Again and again: a guest that is booting does not hear the first. */
  async #askToShutDown(
    key: GuestKey,
    gone: () => Promise<boolean>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const deadline = this.#clock.elapsedMs() + timeoutMs;
    while (!(await gone()) && this.#clock.elapsedMs() < deadline) {
      await this.#withQmp(key, (qmp) => qmp.command("system_powerdown")).catch(() => {});
      await this.#until(gone, Math.min(PRESS_AGAIN_MS, deadline - this.#clock.elapsedMs()), signal);
    }
  }

  /** The unit has ended, and no process of that number is this guest any more. */
  async #isGone(key: GuestKey, pid: number): Promise<boolean> {
    const { active } = await this.#units.status(unitOf(key));
    if (active !== "inactive" && active !== "failed") return false;
    if (pid === 0) return true;
    const commandLine = (await this.#host.readFile(`/proc/${pid}/cmdline`))?.toString() ?? "";
    return !commandLine.includes(`guest=${guestId(key)},`);
  }

  async #untilAnswering(guest: GuestDefinition, signal: AbortSignal | undefined): Promise<void> {
    let last = "";
    const answered = await this.#until(
      async () => {
        const unit = await this.#units.status(unitOf(guest));
        if (unit.active === "failed" || unit.active === "inactive") throw await this.#startFailed(guest, unit.result);
        const { state, message } = await this.#state(guest, unit);
        last = message ?? state;
        return state === "Running" || state === "Paused";
      },
      START_WITHIN_MS,
      signal,
    );
    if (answered) return;
    throw new QuorateError(
      "environment",
      "StartFailed",
      `guest "${guest.name}" does not answer ${START_WITHIN_MS / 1000} s after its start: ${last}`,
    );
  }

  async #startFailed(guest: GuestDefinition, result: string): Promise<QuorateError> {
    const log =
      (await this.#host.readFile(`${runtimeFolder(guest)}/qemu.log`).catch(() => undefined))?.toString() ?? "";
    const said = log.trim().split("\n").slice(-5).join(" | ").slice(-1000);
    return new QuorateError(
      "environment",
      "StartFailed",
      `guest "${guest.name}": the emulator ended at once (${result})${said && `: ${said}`}`,
    );
  }

  /** Every volume there, writable and this node's own, or nothing is started. */
  async #disk(guest: GuestDefinition, ref: VolumeRef): Promise<Disk> {
    const { path } = await storageOf(guest, ref, this.#options.storage).activate(ref, guest.uid);
    const read = [`if=${path}`, "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"];
    const { exitCode } = await this.#host.run("dd", read, { timeoutMs: TIMEOUT_MS, exitCodes: [0, 1] });
    return { volume: ref.volume, path, direct: exitCode === 0 };
  }

  async #requireImages({ machine, name }: GuestDefinition): Promise<void> {
    for (const image of [machine?.kernel, machine?.initrd]) {
      if (image === undefined || (await this.#test("-r", imageFile(image)))) continue;
      throw new QuorateError(
        "environment",
        "ImageMissing",
        `guest "${name}": no ${imageFile(image)} on this node; put it there on every node`,
      );
    }
  }

  async #accelerator(): Promise<Accelerator> {
    const { accelerator = "Auto", translationBufferMiB: bufferMiB } = this.#options;
    if (accelerator === "KVM" || (accelerator === "Auto" && (await this.#test("-w", "/dev/kvm"))))
      return { type: "KVM" };
    return { type: "TCG", ...(bufferMiB === undefined ? {} : { bufferMiB }) };
  }

  async #test(flag: "-r" | "-w", path: string): Promise<boolean> {
    return (await this.#host.run("test", [flag, path], { timeoutMs: TIMEOUT_MS, exitCodes: [0, 1] })).exitCode === 0;
  }

  /** One connection to a guest at a time: QEMU serves only one. */
  async #withQmp<T>(key: GuestKey, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
    const id = guestId(key);
    const turn = (this.#turns.get(id) ?? Promise.resolve()).then(async () => {
      using qmp = await QmpClient.connect(this.#host.path(runtimeFolder(key)), "qmp.sock");
      return await work(qmp);
    });
    const settled = turn.catch(() => {});
    this.#turns.set(id, settled);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(id) === settled) this.#turns.delete(id);
    }
  }

  async #until(holds: () => Promise<boolean>, withinMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    const deadline = this.#clock.elapsedMs() + withinMs;
    while (!(await holds())) {
      if (this.#clock.elapsedMs() >= deadline) return false;
      await this.#clock.sleep(POLL_MS, signal);
    }
    return true;
  }
}

function mark(key: GuestKey): string {
  return `${runtimeFolder(key)}/${PAUSED_MARK}`;
}

async function queryStatus(qmp: QmpClient): Promise<string> {
  const answer = await qmp.command("query-status");
  return typeof answer === "object" && answer !== null && "status" in answer ? String(answer.status) : "nothing";
}
