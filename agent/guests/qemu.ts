import { type Clock, systemClock } from "../../clock.ts";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import type { StorageDriver } from "../storage/index.ts";
import { guestId, imageFile, runtimeFolder, tapName, unitOf } from "./names.ts";
import { type Accelerator, type Disk, qemuArguments } from "./qemu-args.ts";
import { QmpClient } from "./qmp.ts";
import type { GuestDefinition, GuestDriver, GuestKey, GuestState, GuestStatus, StopOptions } from "./types.ts";
import { HostUnits } from "./units.ts";

export interface QemuOptions {
  readonly host: Host;
  readonly storage: (name: string) => StorageDriver | undefined;
  /** `Auto` takes KVM where /dev/kvm can be written. */
  readonly accelerator?: "Auto" | "KVM" | "TCG";
  readonly translationBufferMiB?: number;
  readonly machineType?: string;
  readonly emulator?: string;
  readonly clock?: Clock;
}

const TIMEOUT_MS = 15_000;
const START_WITHIN_MS = 30_000;
const QUIT_WITHIN_MS = 5_000;
const KILL_WITHIN_MS = 10_000;
const PRESS_AGAIN_MS = 5_000;
const POLL_MS = 200;
const PAUSED_MARK = "paused-by-agent";

const STATES: Readonly<Record<string, GuestState>> = {
  running: "Running",
  paused: "Paused",
  suspended: "Paused",
  prelaunch: "Starting",
  inmigrate: "Starting",
};

/** Virtual machines, each a transient systemd unit of the host. */
export class QemuDriver implements GuestDriver {
  readonly #options: QemuOptions;
  readonly #host: Host;
  readonly #units: HostUnits;
  readonly #clock: Clock;
  readonly #locks = new Map<string, Promise<unknown>>();

  constructor(options: QemuOptions) {
    this.#options = options;
    this.#host = options.host;
    this.#units = new HostUnits(options.host);
    this.#clock = options.clock ?? systemClock;
  }

  async state(guest: GuestDefinition): Promise<GuestStatus> {
    try {
      const unit = await this.#units.status(unitOf(guest));
      if (unit.active === "failed") return { state: "Stopped", message: `the emulator ended: ${unit.result}` };
      if (unit.active === "inactive") return { state: "Stopped" };
      if (unit.active === "activating") return { state: "Starting" };
      if (unit.active === "deactivating") return { state: "Stopping" };
      const said = await this.#withQmp(guest, queryStatus);
      return {
        state: STATES[said] ?? "Unknown",
        ...(STATES[said] === undefined || said === "suspended" ? { message: `QEMU says: ${said}` } : {}),
      };
    } catch (error) {
      return { state: "Unknown", message: classify(error).message };
    }
  }

  async start(guest: GuestDefinition, signal?: AbortSignal): Promise<void> {
    const unit = unitOf(guest);
    const { active } = await this.#units.status(unit);
    if (active === "active") return this.#untilAnswering(guest, signal);
    if (active !== "inactive" && active !== "failed") {
      throw new QuorateError("transient", "Locked", `guest "${guest.name}" is ${active} on this host`);
    }
    const disks = await this.#disks(guest);
    await this.#requireImages(guest);
    const args = qemuArguments(guest, disks, {
      accelerator: await this.#accelerator(),
      machineType: this.#options.machineType ?? "q35",
    });
    const folder = runtimeFolder(guest);
    await this.#host.run("mkdir", ["-p", "-m", "0700", "--", folder], { timeoutMs: TIMEOUT_MS });
    await this.#host.run("rm", ["-f", "--", `${folder}/qemu.log`, `${folder}/${PAUSED_MARK}`], {
      timeoutMs: TIMEOUT_MS,
    });
    await this.#plug(guest);
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

  async stop(guest: GuestDefinition, { timeoutSeconds, signal }: StopOptions): Promise<void> {
    const before = await this.#units.status(unitOf(guest));
    const gone = () => this.#isGone(guest, before.mainPid);
    if (timeoutSeconds > 0 && !(await gone())) await this.#askToShutDown(guest, gone, timeoutSeconds * 1000, signal);
    if (!(await gone())) {
      await this.#withQmp(guest, (qmp) => qmp.command("quit")).catch(() => {});
      await this.#until(gone, QUIT_WITHIN_MS, signal);
    }
    if (!(await gone())) {
      await this.#units.kill(unitOf(guest), "SIGKILL");
      await this.#until(gone, KILL_WITHIN_MS, signal);
    }
    if (!(await gone())) {
      throw new QuorateError(
        "environment",
        "StopFailed",
        `guest "${guest.name}" does not end; its process ${before.mainPid} may wait for a disk`,
      );
    }
    await this.#unplug(guest);
  }

  async quiesce(guest: GuestDefinition, level: "Freeze" | "Pause"): Promise<() => Promise<void>> {
    const nothing = async () => {};
    const { state, message } = await this.state(guest);
    if (state === "Stopped" || state === "Paused" || level === "Freeze") return nothing;
    if (state !== "Running")
      throw new QuorateError(
        "transient",
        "Locked",
        `guest "${guest.name}" cannot be paused, it is ${state}: ${message ?? ""}`,
      );
    const mark = `${runtimeFolder(guest)}/${PAUSED_MARK}`;
    // Before the pause: an agent that dies in between must find it.
    await this.#host.writeFileAtomic(mark, "", { mode: 0o600 });
    const resume = async () => {
      await this.#withQmp(guest, (qmp) => qmp.command("cont"));
      await this.#host.removeFile(mark);
    };
    try {
      // Returns when no write is under way any more and all have reached the disk.
      await this.#withQmp(guest, (qmp) => qmp.command("stop", undefined, TIMEOUT_MS));
    } catch (error) {
      await resume().catch(() => {});
      throw error;
    }
    return resume;
  }

  /** Lets guests go on that an agent paused and then died. To be called when the agent starts, before anything else. */
  async resumeForgotten(keys: readonly GuestKey[]): Promise<string[]> {
    const resumed: string[] = [];
    for (const key of keys) {
      const mark = `${runtimeFolder(key)}/${PAUSED_MARK}`;
      if ((await this.#host.readFile(mark)) === undefined) continue;
      await this.#withQmp(key, (qmp) => qmp.command("cont"));
      await this.#host.removeFile(mark);
      resumed.push(guestId(key));
    }
    return resumed;
  }

  async #askToShutDown(
    guest: GuestDefinition,
    gone: () => Promise<boolean>,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const deadline = this.#clock.elapsedMs() + timeoutMs;
    // Again and again: a guest that is booting does not hear the first.
    while (this.#clock.elapsedMs() < deadline && !(await gone())) {
      await this.#withQmp(guest, (qmp) => qmp.command("system_powerdown")).catch(() => {});
      await this.#until(gone, Math.min(PRESS_AGAIN_MS, deadline - this.#clock.elapsedMs()), signal);
    }
  }

  /** The unit has ended, and no process of that number is this guest any more. */
  async #isGone(guest: GuestDefinition, pid: number): Promise<boolean> {
    const { active } = await this.#units.status(unitOf(guest));
    if (active !== "inactive" && active !== "failed") return false;
    if (pid === 0) return true;
    const commandLine = (await this.#host.readFile(`/proc/${pid}/cmdline`))?.toString() ?? "";
    return !commandLine.includes(`guest=${guestId(guest)},`);
  }

  async #untilAnswering(guest: GuestDefinition, signal: AbortSignal | undefined): Promise<void> {
    let last = "";
    const answered = await this.#until(
      async () => {
        const unit = await this.#units.status(unitOf(guest));
        if (unit.active === "failed" || unit.active === "inactive") throw await this.#startFailed(guest, unit.result);
        const { state, message } = await this.state(guest);
        last = message ?? state;
        return state === "Running" || state === "Paused";
      },
      START_WITHIN_MS,
      signal,
    );
    if (!answered)
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
  async #disks(guest: GuestDefinition): Promise<Disk[]> {
    const disks: Disk[] = [];
    for (const ref of guest.volumes) {
      const storage = this.#options.storage(ref.storage);
      if (storage === undefined)
        throw new QuorateError(
          "environment",
          "StorageMissing",
          `storage "${ref.storage}" of guest "${guest.name}" is not on this node`,
        );
      const { path } = await storage.activate(ref);
      const read = ["if=" + path, "of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"];
      const direct = await this.#host.run("dd", read, { timeoutMs: TIMEOUT_MS }).then(
        () => true,
        () => false,
      );
      disks.push({ volume: ref.volume, path, direct });
    }
    return disks;
  }

  async #requireImages({ machine, name }: GuestDefinition): Promise<void> {
    for (const image of [machine?.kernel, machine?.initrd]) {
      if (image === undefined) continue;
      await this.#host.run("test", ["-r", imageFile(image)], { timeoutMs: TIMEOUT_MS }).catch(() => {
        throw new QuorateError(
          "environment",
          "ImageMissing",
          `guest "${name}": no ${imageFile(image)} on this node; put it there on every node`,
        );
      });
    }
  }

  async #accelerator(): Promise<Accelerator> {
    const wanted = this.#options.accelerator ?? "Auto";
    const kvm =
      wanted === "KVM" ||
      (wanted === "Auto" &&
        (await this.#host.run("test", ["-w", "/dev/kvm"], { timeoutMs: TIMEOUT_MS }).then(
          () => true,
          () => false,
        )));
    const bufferMiB = this.#options.translationBufferMiB;
    return kvm ? { type: "KVM" } : { type: "TCG", ...(bufferMiB === undefined ? {} : { bufferMiB }) };
  }

  async #plug(guest: GuestDefinition): Promise<void> {
    await this.#unplug(guest);
    for (const [i, { bridge }] of (guest.machine?.networks ?? []).entries()) {
      const tap = tapName(guest.vmid, i);
      await this.#host.run("ip", ["tuntap", "add", "dev", tap, "mode", "tap"], { timeoutMs: TIMEOUT_MS });
      await this.#host.run("ip", ["link", "set", "dev", tap, "master", bridge, "up"], { timeoutMs: TIMEOUT_MS });
    }
  }

  async #unplug(guest: GuestDefinition): Promise<void> {
    for (const i of (guest.machine?.networks ?? []).keys()) {
      await this.#host.run("ip", ["link", "delete", "dev", tapName(guest.vmid, i)], {
        timeoutMs: TIMEOUT_MS,
        exitCodes: [0, 1],
      });
    }
  }

  /** One connection to a guest at a time: QEMU serves only one. */
  async #withQmp<T>(key: GuestKey, work: (qmp: QmpClient) => Promise<T>): Promise<T> {
    const id = guestId(key);
    const turn = (this.#locks.get(id) ?? Promise.resolve()).then(async () => {
      using qmp = await QmpClient.connect(this.#host.path(runtimeFolder(key)), "qmp.sock");
      return await work(qmp);
    });
    const settled = turn.catch(() => {});
    this.#locks.set(id, settled);
    try {
      return await turn;
    } finally {
      if (this.#locks.get(id) === settled) this.#locks.delete(id);
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

async function queryStatus(qmp: QmpClient): Promise<string> {
  const answer = await qmp.command("query-status");
  return typeof answer === "object" && answer !== null && "status" in answer ? String(answer.status) : "nothing";
}
