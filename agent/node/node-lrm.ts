import { HA_RESOURCES } from "../../crds/index.ts";
import { EventRecorder, rfc3339 } from "../../kube/index.ts";
import { DEFAULT_LRM_PARAMETERS, type ReportedMode } from "../ha/index.ts";
import { knownResults, Lrm, type LrmSurroundings, NodeLease, WorkTable } from "../lrm/index.ts";
import type { GuestOwner } from "../owner/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { GuestWatch } from "./guest-watch.ts";
import type { KeeperCare } from "./keeper-care.ts";
import type { NodeAgentOptions } from "./options.ts";

export interface NodeLrmOptions extends Pick<NodeAgentOptions, "node" | "namespace" | "client" | "clock" | "log"> {
  readonly bootId: string;
  readonly caches: NodeCaches;
  readonly keeper: KeeperCare;
  readonly owner: GuestOwner;
  readonly guests: GuestWatch;
  readonly look: () => LrmSurroundings;
  readonly onMode: (mode: ReportedMode, epoch: number | undefined) => void;
}

/** The LRM with everything it acts through: this node's Lease, its guests, the keeper, results and events. */
export class NodeLrm {
  readonly #lrm: Lrm;
  readonly #work: WorkTable;
  readonly #events: EventRecorder;

  /** The caches are synced: results that were written before are read from them. */
  constructor(options: NodeLrmOptions) {
    const { client, clock, node, namespace, log, bootId, caches, keeper, owner, guests, look, onMode } = options;
    this.#events = new EventRecorder({ client, controller: "quorate.dev/agent", instance: node, clock, log });
    this.#work = new WorkTable(
      {
        start: (service, stop) => owner.start(service, stop),
        stop: (service, how, stop) => owner.stop(service, how, stop),
        move: (service, target, mode, stop) => owner.move(service, target, mode, stop),
      },
      clock,
      log,
      () => {
        const poke = () => this.poke();
        void guests.look().then(poke, poke);
      },
    );
    const leaseMs = caches.cluster()?.status?.timings?.leaseDuration?.milliseconds ?? 10_000;
    this.#lrm = new Lrm({
      node,
      clock,
      log: log.child({ part: "lrm" }),
      lease: new NodeLease({ client, namespace, node, bootId, leaseSeconds: 15, renewalGoodMs: leaseMs, clock }),
      work: this.#work,
      look: async () => look(),
      keeper,
      report: async (service, result) => {
        const uid = caches.resource(service)?.metadata.uid;
        await client.applyStatus(
          HA_RESOURCES,
          {
            metadata: { name: service, namespace, ...(uid === undefined ? {} : { uid }) },
            status: { result: { ...result, finishedAt: rfc3339(clock.wallMs()) } },
          },
          { fieldManager: `quorate-agent-${node}`, force: true },
        );
      },
      onMode,
      onEvent: (event, type) => {
        const about = event.about === "service" ? caches.resource(event.subject ?? "") : caches.self();
        if (about !== undefined)
          this.#events.event({ regarding: about, type, reason: event.reason, action: "Act", note: event.message });
      },
      parameters: {
        ...DEFAULT_LRM_PARAMETERS,
        maxWorkers: caches.cluster()?.spec.ha.maxWorkers ?? DEFAULT_LRM_PARAMETERS.maxWorkers,
      },
      renewIntervalMs: 2_000,
      fenceDelayMs: () => caches.cluster()?.status?.timings?.fenceDelay?.milliseconds,
      leaseMs,
      knownResults: knownResults(node, caches.resources()),
    });
  }

  /** Something changed: look at once. */
  poke(): void {
    this.#lrm.poke();
  }

  /** The host goes down, and all that its end needs is done. */
  get ended(): boolean {
    return this.#lrm.exited;
  }

  /** Runs until the signal aborts. Guests run on afterwards. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#lrm.run(signal);
  }

  /** After `run`: ends running work and sends the last events. */
  async close(): Promise<void> {
    this.#work.stop();
    await this.#events.stop();
  }
}
