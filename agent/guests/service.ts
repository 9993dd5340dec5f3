import { readdir } from "node:fs/promises";
import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { invalid } from "./names.ts";
import type { GuestDefinition, GuestDriver, GuestProcess, GuestStatus, StopOptions } from "./types.ts";
import { HostUnits, type UnitStatus } from "./units.ts";

/** A file named by each unit that ran here as a guest in this boot. */
const MARKS = "/run/quorate/services";
const START_WITHIN_MS = 120_000;
const KILL_WITHIN_MS = 15_000;
const OTHER_STATES = { activating: "Starting", deactivating: "Stopping", other: "Unknown" } as const;

/** A service of the host as a guest: a unit that is there on every node and that nobody else enables. */
export class ServiceDriver implements GuestDriver {
  readonly #host: Host;
  readonly #units: HostUnits;
  readonly #marked = new Set<string>();

  constructor(host: Host) {
    this.#host = host;
    this.#units = new HostUnits(host);
  }

  async states(guests: readonly GuestProcess[]): Promise<GuestStatus[]> {
    const units = guests.map(({ service }) => service?.unit ?? "");
    try {
      const told = await this.#units.statuses(units.filter((unit) => UNIT.test(unit)));
      return await Promise.all(units.map((unit) => this.#state(unit, told.get(unit))));
    } catch (error) {
      return units.map(() => ({ state: "Unknown", message: classify(error).message }));
    }
  }

  async start(guest: GuestDefinition): Promise<void> {
    const unit = serviceUnit(guest);
    if (!(await this.#units.status(unit)).loaded) {
      throw new QuorateError(
        "environment",
        "StartFailed",
        `unit ${unit} of guest "${guest.name}" is not on this host; install it on every node`,
      );
    }
    await this.#mark(unit);
    await this.#units.change("start", unit, START_WITHIN_MS).catch((error: unknown) => {
      throw new QuorateError("environment", "StartFailed", classify(error).message, { cause: error });
    });
  }

  async stop(guest: GuestDefinition, { timeoutSeconds }: StopOptions): Promise<void> {
    const unit = serviceUnit(guest);
    const gone = async () => ["inactive", "failed"].includes((await this.#units.status(unit)).active);
    if (timeoutSeconds > 0) await this.#units.change("stop", unit, timeoutSeconds * 1000).catch(() => {});
    if (await gone()) return;
    await this.#units.kill(unit, "SIGKILL");
    await this.#units.change("stop", unit, KILL_WITHIN_MS).catch(() => {});
    if (!(await gone()))
      throw new QuorateError(
        "environment",
        "StopFailed",
        `unit ${unit} does not end; look at systemctl status ${unit}`,
      );
  }

  /** Nothing keeps a service from writing: with volumes that cannot be snapshotted at one moment it is refused, unless it does not run. */
  async quiesce(guest: GuestDefinition, level: "Freeze" | "Pause"): Promise<() => Promise<void>> {
    const nothing = async () => {};
    if (level === "Freeze") return nothing;
    const unit = serviceUnit(guest);
    if (["inactive", "failed"].includes((await this.#units.status(unit)).active)) return nothing;
    throw new QuorateError(
      "user",
      "CannotPause",
      `guest "${guest.name}" is a service, which cannot be paused, and its volumes cannot be snapshotted at one moment: on several storages, or on userland ZFS, that would be a mixture that never was. Keep one volume for it, or all on one storage with kernel ZFS, or set replicate: false on the others`,
    );
  }

  async #state(unit: string, told: UnitStatus | undefined): Promise<GuestStatus> {
    if (told === undefined) return { state: "Unknown", message: `systemd of this host does not say how ${unit} is` };
    const { active, loaded, result, mainPid, startedAt } = told;
    if (!loaded) return { state: "Stopped", message: `unit ${unit} is not on this host` };
    if (active === "failed") return { state: "Stopped", message: `${unit} ended: ${result}` };
    if (active === "inactive") return { state: "Stopped" };
    await this.#mark(unit);
    if (active !== "active") return { state: OTHER_STATES[active] };
    return {
      state: "Running",
      ...(mainPid > 0 ? { pid: mainPid } : {}),
      ...(startedAt === undefined ? {} : { startedAt }),
    };
  }

  /** Before it runs: who ends the guests of this host without an agent finds it. */
  async #mark(unit: string): Promise<void> {
    if (this.#marked.has(unit)) return;
    await this.#host.writeFileAtomic(`${MARKS}/${unit}`, "", { mode: 0o600 });
    this.#marked.add(unit);
  }
}

/** Units that ran on this host as guests in this boot, whatever they do now. */
export async function markedServices(host: Host): Promise<string[]> {
  const names = await readdir(host.path(MARKS)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names.filter((name) => UNIT.test(name)).sort();
}

const UNIT = /^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,240}\.service$/;

/** @throws QuorateError InvalidDefinition */
export function serviceUnit({ service, name }: GuestProcess): string {
  const unit = service?.unit ?? "";
  if (UNIT.test(unit)) return unit;
  throw invalid(`guest "${name}": ${JSON.stringify(unit)} is no name of a service; expected e.g. web.service`);
}
