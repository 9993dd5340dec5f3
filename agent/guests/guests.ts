import { classify, QuorateError } from "../../errors.ts";
import { type UnitLoad, unitLoads } from "./load.ts";
import { guestId, imageFile, invalid, runtimeFolder, unitOf } from "./names.ts";
import { QemuDriver, type QemuOptions } from "./qemu.ts";
import { markedServices, ServiceDriver, serviceUnit } from "./service.ts";
import type { GuestDefinition, GuestDriver, GuestKey, GuestProcess, GuestStatus, StopOptions } from "./types.ts";
import { HostUnits } from "./units.ts";
import { storageOf } from "./volumes.ts";

const TIMEOUT_MS = 15_000;

export type GuestsOptions = QemuOptions;

/** All guests of this host, whatever runs them. Each is handed to the driver of its kind. */
export class Guests implements GuestDriver {
  readonly #options: GuestsOptions;
  readonly #units: HostUnits;
  readonly #qemu: QemuDriver;
  readonly #service: ServiceDriver;

  constructor(options: GuestsOptions) {
    this.#options = options;
    this.#units = new HostUnits(options.host);
    this.#qemu = new QemuDriver(options);
    this.#service = new ServiceDriver(options.host);
  }

  async states(guests: readonly GuestProcess[]): Promise<GuestStatus[]> {
    const states = new Map<GuestProcess, GuestStatus>();
    const of = new Map<GuestDriver, GuestProcess[]>();
    for (const guest of guests) {
      try {
        const driver = this.#driver(guest);
        of.set(driver, [...(of.get(driver) ?? []), guest]);
      } catch (error) {
        states.set(guest, { state: "Unknown", message: classify(error).message });
      }
    }
    await Promise.all(
      [...of].map(async ([driver, own]) =>
        (await driver.states(own)).forEach((state, i) => {
          states.set(own[i] as GuestProcess, state);
        }),
      ),
    );
    return guests.map((guest) => states.get(guest) ?? { state: "Unknown" });
  }

  async start(guest: GuestDefinition, signal?: AbortSignal): Promise<void> {
    const driver = this.#driver(guest);
    // A machine's own driver does, for it needs their paths.
    if (driver === this.#service)
      for (const ref of guest.volumes) await storageOf(guest, ref, this.#options.storage).activate(ref, guest.uid);
    await driver.start(guest, signal);
  }

  async stop(guest: GuestDefinition, options: StopOptions): Promise<void> {
    await this.#driver(guest).stop(guest, options);
  }

  async quiesce(guest: GuestDefinition, level: "Freeze" | "Pause"): Promise<() => Promise<void>> {
    return this.#driver(guest).quiesce(guest, level);
  }

  /** Units that ran on this host as service guests in this boot, whatever they do now. */
  async knownServices(): Promise<string[]> {
    return markedServices(this.#options.host);
  }

  /** Machines that have, or may have, a process on this host, of all namespaces. Throws `UnitUnknown` when it can't be told. */
  async listRunning(): Promise<GuestKey[]> {
    return this.#units.guests();
  }

  /**
   * All guests of this host that have, or may have, a process: machines, and services that an agent has seen run here in this boot.
   * For who knows nothing of the cluster. Throws `UnitUnknown` when it can't be told.
   */
  async remaining(): Promise<string[]> {
    const machines = (await this.listRunning()).map(guestId);
    const units = await markedServices(this.#options.host);
    const told = await this.#units.statuses(units);
    return [
      ...machines,
      ...units.filter((unit) => !["inactive", "failed"].includes(told.get(unit)?.active ?? "other")),
    ];
  }

  /** Stops every machine of this host, all at once. Throws the first failure when all have been tried. */
  async stopMachines(timeoutSeconds: number): Promise<void> {
    const stops = (await this.listRunning()).map((key) =>
      // Its interfaces end with the host.
      this.#qemu.stop({ ...key, vmid: 0, cpus: 0, memoryBytes: 0, volumes: [], machine: {} }, { timeoutSeconds }),
    );
    const failed = (await Promise.allSettled(stops)).find((stop) => stop.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  /**
   * Makes the volumes of a guest that never had any. Existing data is never touched. The first one is filled from the
   * machine's image: the file of that name in the image folder, or that name with `.raw`.
   */
  async provision(guest: GuestDefinition): Promise<void> {
    for (const [i, ref] of guest.volumes.entries()) {
      const storage = storageOf(guest, ref, this.#options.storage);
      const wanted = i === 0 ? guest.machine?.image : undefined;
      const image = wanted === undefined ? undefined : await this.#image(wanted);
      await storage.ensureVolume(ref, {
        sizeBytes: ref.sizeBytes,
        ...(image === undefined ? {} : { image }),
        ...(guest.uid === undefined ? {} : { guest: guest.uid }),
      });
    }
  }

  /**
   * Lets machines go on that were paused for a snapshot and that nobody holds any more, because an agent died or they did not
   * answer: the first thing an agent does, and again every few seconds. Returns their names. One that does not answer keeps none
   * of the others from it, and is tried at the next call.
   */
  async resumeForgotten(): Promise<string[]> {
    const resumed: string[] = [];
    for (const key of await this.listRunning()) {
      const done = await this.#qemu.resumeForgotten(key).catch(() => false);
      if (done) resumed.push(guestId(key));
    }
    return resumed;
  }

  /** What these guests use of this host, by name; those that do not run here are left out. */
  async loads(guests: readonly GuestProcess[]): Promise<Map<string, UnitLoad>> {
    const units = new Map(
      guests.map((guest) => [guest.machine === undefined ? serviceUnit(guest) : unitOf(guest), guest.name]),
    );
    const loads = await unitLoads(this.#options.host, [...units.keys()]);
    return new Map([...loads].map(([unit, load]) => [units.get(unit) ?? unit, load]));
  }

  /** Cuts consoles' logs that have grown over the size. They lie in memory. */
  async trimConsoleLogs(maxBytes: number): Promise<void> {
    const { host } = this.#options;
    for (const key of await this.listRunning()) {
      const log = `${runtimeFolder(key)}/console.log`;
      const { stdout } = await host.run("stat", ["-c", "%s", "--", log], { timeoutMs: TIMEOUT_MS, exitCodes: [0, 1] });
      // QEMU appends, so what it writes next begins at the new end.
      if (Number(stdout) > maxBytes) await host.run("truncate", ["-s", "0", "--", log], { timeoutMs: TIMEOUT_MS });
    }
  }

  async #image(name: string): Promise<string> {
    for (const path of [imageFile(name), `${imageFile(name)}.raw`]) {
      const { exitCode } = await this.#options.host.run("test", ["-f", path], {
        timeoutMs: TIMEOUT_MS,
        exitCodes: [0, 1],
      });
      if (exitCode === 0) return path;
    }
    throw new QuorateError(
      "environment",
      "ImageMissing",
      `no ${imageFile(name)} (nor .raw) on this node; put it there or correct the guest's image`,
    );
  }

  #driver(guest: GuestProcess): GuestDriver {
    if ((guest.machine === undefined) === (guest.service === undefined)) {
      throw invalid(`guest "${guest.name}" must be exactly one of machine and service`);
    }
    return guest.machine === undefined ? this.#service : this.#qemu;
  }
}
