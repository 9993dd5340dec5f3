import type { Clock } from "../../clock.ts";
import { GUESTS, type Guest, type GuestState, type GuestStatus } from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import { type KubeClient, rfc3339 } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import type { GuestProcess, Guests } from "../guests/index.ts";
import type { Usage } from "./load.ts";

export interface GuestWatchOptions {
  readonly node: string;
  readonly namespace: string;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly drivers: Guests;
  readonly guests: () => readonly Guest[];
  readonly usage: (guest: string) => Usage | undefined;
  /** A guest appeared on this host, or went. */
  readonly onChange: () => void;
}

/** An answer that is older is none. */
const FRESH_MS = 5_000;

/** Looks which guests run on this host, for the LRM and for Guest.status. */
export class GuestWatch {
  readonly #options: GuestWatchOptions;
  #states = new Map<string, GuestState>();
  #startedAt = new Map<string, string>();
  #askedAt = Number.NEGATIVE_INFINITY;
  #written = new Map<string, string>();
  #looking: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(options: GuestWatchOptions) {
    this.#options = options;
  }

  /** Whether the guest runs here; "unknown" when the host did not answer lately. */
  running(guest: string): boolean | "unknown" {
    if (this.#options.clock.elapsedMs() - this.#askedAt > FRESH_MS) return "unknown";
    const state = this.#states.get(guest);
    if (state === "Unknown") return "unknown";
    return state !== undefined && state !== "Stopped";
  }

  /** Guests of this cluster that have a process on this host. */
  here(): string[] {
    return [...this.#states].filter(([, state]) => state !== "Stopped").map(([name]) => name);
  }

  /**
   * What it finds is at most as old as the call: who calls while the host is asked waits for the next answer, which one question
   * brings to all of them.
   */
  async look(): Promise<void> {
    if (this.#looking === undefined) {
      this.#looking = this.#ask().finally(() => {
        this.#looking = undefined;
      });
      return this.#looking;
    }
    this.#next ??= this.#looking
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.look();
      });
    return this.#next;
  }

  async #ask(): Promise<void> {
    const { clock, drivers, namespace, guests, onChange } = this.#options;
    const askedAt = clock.elapsedMs();
    const states = new Map<string, GuestState>();
    const started = new Map<string, string>();
    const machines = new Set(
      (await drivers.listRunning()).filter((key) => key.namespace === namespace).map((key) => key.name),
    );
    // Whose guest was bound elsewhere while the unit still runs here, is a stray that has to be seen.
    const services = new Set(await drivers.knownServices());
    // A guest that has no id yet, or of a kind that this agent does not run, is none that keeps the others unknown.
    const asked = guests().flatMap(({ metadata: { name }, spec: { service, nodeName } }): GuestProcess[] => {
      if (machines.has(name)) return [{ namespace, name, machine: {} }];
      const isOurs = service !== undefined && (nodeName === this.#options.node || services.has(service.unit));
      return isOurs ? [{ namespace, name, service }] : [];
    });
    const told = await drivers.states(asked);
    asked.forEach(({ name }, i) => {
      const state = told[i]?.state ?? "Unknown";
      states.set(name, state === "Paused" ? "Running" : state);
      const startedAt = told[i]?.startedAt;
      if (startedAt !== undefined) started.set(name, startedAt);
      machines.delete(name);
    });
    // A machine whose object is gone is still there.
    for (const name of machines) states.set(name, "Running");
    const before = [...this.#states].join();
    this.#states = states;
    this.#startedAt = started;
    this.#askedAt = askedAt;
    if ([...states].join() !== before) onChange();
  }

  /** Writes Guest.status of the guests that this node owns, where it changed. */
  async report(): Promise<void> {
    const { guests, node, client, namespace, clock, log } = this.#options;
    for (const guest of guests()) {
      if (guest.spec.nodeName !== node) {
        this.#written.delete(guest.metadata.name);
        continue;
      }
      const seen = this.#states.get(guest.metadata.name);
      const status = await this.#status(guest, seen, rfc3339(clock.wallMs()));
      const text = JSON.stringify(status);
      if (this.#written.get(guest.metadata.name) === text && guest.status !== undefined) continue;
      try {
        const metadata = {
          name: guest.metadata.name,
          namespace,
          ...(guest.metadata.uid === undefined ? {} : { uid: guest.metadata.uid }),
        };
        await client.applyStatus(GUESTS, { metadata, status }, { fieldManager: `quorate-agent-${node}`, force: true });
        this.#written.set(guest.metadata.name, text);
      } catch (error) {
        log.warn(
          { guest: guest.metadata.name, reason: classify(error).reason },
          `Guest.status not written: ${classify(error).message}`,
        );
      }
    }
  }

  async #status(guest: Guest, seen: GuestState | undefined, wall: string): Promise<GuestStatus> {
    const state = this.#options.clock.elapsedMs() - this.#askedAt > FRESH_MS ? "Unknown" : (seen ?? "Stopped");
    const volumes = await this.#volumes(guest, state === "Running");
    const running = state === "Running";
    const usage = this.#options.usage(guest.metadata.name);
    const startedAt = (running ? this.#startedAt.get(guest.metadata.name) : undefined) ?? guest.status?.startedAt;
    const before = guest.status?.conditions?.find((each) => each.type === "Ready");
    const status = running ? ("True" as const) : ("False" as const);
    return {
      observedGeneration: guest.metadata.generation ?? 0,
      kind: guest.spec.machine !== undefined ? "Machine" : guest.spec.container !== undefined ? "Container" : "Service",
      state,
      // Where it runs, or ran last: whose disks hold its newest data.
      node: running ? this.#options.node : (guest.status?.node ?? this.#options.node),
      // Of the same run: whoever takes the guest over tells by it whether it ran elsewhere since.
      ...(startedAt === undefined ? {} : { startedAt }),
      ...(volumes.length === 0 ? {} : { volumes }),
      ...(running && usage !== undefined ? { usage } : {}),
      conditions: [
        {
          type: "Ready",
          status,
          observedGeneration: guest.metadata.generation ?? 0,
          lastTransitionTime: before?.status === status ? before.lastTransitionTime : wall,
          reason: state,
          message: running ? `runs on ${this.#options.node}` : `is ${state.toLowerCase()} on ${this.#options.node}`,
        },
      ],
    };
  }

  /** A volume stands in the status from the first time the guest ran with it, so that it is never made anew. */
  async #volumes(guest: Guest, running: boolean): Promise<NonNullable<GuestStatus["volumes"]>> {
    const known = new Map((guest.status?.volumes ?? []).map((volume) => [volume.name, volume]));
    return (guest.spec.volumes ?? []).flatMap((volume) => {
      const before = known.get(volume.name);
      if (before !== undefined)
        return [
          {
            name: before.name,
            ...(before.dataset === undefined ? {} : { dataset: before.dataset }),
            ...(before.sizeBytes === undefined ? {} : { sizeBytes: before.sizeBytes }),
          },
        ];
      return running ? [{ name: volume.name }] : [];
    });
  }
}
