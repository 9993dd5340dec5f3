import { type Clock, systemClock } from "../../clock.ts";
import type { Host } from "../host/index.ts";
import type { QemuOptions } from "./accelerator.ts";
import { guestOfUnit, UNIT_PATTERN } from "./names.ts";
import { QemuDriver } from "./qemu.ts";
import { checkedServiceUnit, ServiceDriver } from "./service.ts";
import type { Disk, GuestDriver, GuestRef, GuestSpec, GuestStatus, ListedGuest, StopOptions } from "./types.ts";
import { showUnits, statusOf } from "./unit-show.ts";

/** A guest that is a service, as `list` needs it: nothing on the host says which services are guests. */
export type ServiceRef = GuestRef & { readonly kind: { readonly driver: "Service" } };

/** All drivers behind one face: each guest goes to the one its kind names. */
export class GuestDrivers implements GuestDriver {
  readonly #host: Host;
  readonly #qemu: QemuDriver;
  readonly #service: ServiceDriver;

  constructor(host: Host, options: { qemu?: QemuOptions; clock?: Clock } = {}) {
    const clock = options.clock ?? systemClock;
    this.#host = host;
    this.#qemu = new QemuDriver(host, clock, options.qemu);
    this.#service = new ServiceDriver(host, clock);
  }

  /**
   * The guests that have, or may have, a process on this host (Running, Starting, Stopping, Unknown), of all clusters, by
   * one command. Machines are found by their units; services only among those given. Rejects when systemd gives no
   * answer: an empty list is a statement.
   */
  async list(services: readonly ServiceRef[] = []): Promise<ListedGuest[]> {
    const named = services.map((guest) => ({ guest, unit: checkedServiceUnit(guest, guest.kind.unit) }));
    const units = await showUnits(this.#host, [UNIT_PATTERN, ...named.map(({ unit }) => unit)]);
    const listed: ListedGuest[] = [];
    for (const shown of units) {
      const status = statusOf(shown);
      if (status.state === "Stopped" || status.state === "Failed") continue;
      const machine = guestOfUnit(shown.id);
      if (machine !== undefined) {
        listed.push({ guest: { ...machine, kind: { driver: "QEMU" } }, unit: shown.id, ...status });
        continue;
      }
      for (const { guest, unit } of named) {
        if (shown.id === unit || shown.names.includes(unit)) listed.push({ guest, unit, ...status });
      }
    }
    return listed;
  }

  start(spec: GuestSpec, disks: readonly Disk[], signal: AbortSignal): Promise<void> {
    return this.#of(spec).start(spec, disks, signal);
  }
  stop(guest: GuestRef, options: StopOptions, signal: AbortSignal): Promise<void> {
    return this.#of(guest).stop(guest, options, signal);
  }
  state(guest: GuestRef): Promise<GuestStatus> {
    return this.#of(guest).state(guest);
  }
  pause(guest: GuestRef): Promise<void> {
    return this.#of(guest).pause(guest);
  }
  resume(guest: GuestRef): Promise<void> {
    return this.#of(guest).resume(guest);
  }
  /** See QemuDriver. */
  resumeLeftPaused(): Promise<GuestRef[]> {
    return this.#qemu.resumeLeftPaused();
  }
  /** See QemuDriver. */
  trimLogs(): Promise<void> {
    return this.#qemu.trimLogs();
  }
  /** See QemuDriver. */
  forget(guest: GuestRef): Promise<void> {
    return this.#qemu.forget(guest);
  }

  #of(guest: GuestRef): GuestDriver {
    return guest.kind.driver === "QEMU" ? this.#qemu : this.#service;
  }
}
