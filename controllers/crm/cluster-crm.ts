import type { Clock } from "../../clock.ts";
import { CLUSTER_NODES, CLUSTERS, GUESTS, HA_RESOURCES } from "../../crds/index.ts";
import { classify, QuorateError } from "../../errors.ts";
import { type EventRecorder, histogram, type KubeClient, rfc3339 } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import {
  type CrmState,
  type CrmStepResult,
  crmStep,
  DEFAULT_CRM_PARAMETERS,
  type HaEvent,
  initialCrmState,
  type Milliseconds,
  type ServiceRecord,
} from "../ha/index.ts";
import { timingsInForce } from "../timings-in-force.ts";
import { applyCrmEffects, type FenceProof } from "./apply.ts";
import { disarmOf, writeClusterStatus } from "./cluster-status.ts";
import { complaints, writeComplaint } from "./complaints.ts";
import { ignored, writeIgnored } from "./ignored.ts";
import { CrmMetrics } from "./metrics.ts";
import { MigrationRequests } from "./migrations.ts";
import type { ClusterObjects } from "./objects.ts";
import { LeaseObserver } from "./observer.ts";
import { ProofDisplay } from "./proof-display.ts";
import { type FailoverNotes, nodeStateOf, serviceRecordOf } from "./records.ts";
import { ShownStatus } from "./shown.ts";
import { crmView } from "./view.ts";

export interface ClusterCrmOptions {
  readonly namespace: string;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  /** What the caches hold now; undefined when the namespace has no Cluster, or the caches do not hear from the API server. */
  readonly objects: () => ClusterObjects | undefined;
  /** See CrmOptions. */
  readonly leaseRenewalMilliseconds?: number;
}

/** A leadership: who leads, under which unrepeated number, and whether it still does. */
export interface Leadership {
  readonly identity: string;
  readonly incarnation: string;
  readonly mayAct: () => boolean;
  readonly signal: AbortSignal;
}

const ROUND_MS = 1_000;
/** A quiet cluster has a round this often all the same, for what depends on nothing but time: minutes, all of it. */
const QUIET_ROUND_MS = 5_000;
const STEPS_A_ROUND = 8;
/** So many rounds in a row may fail, of which each reads all anew at once: a failover has a conflict or two. */
const FAILURES_AT_ONCE = 3;
const roundSteps = histogram(
  "quorate_crm_round_steps",
  "Steps until an HA round came to rest.",
  ["namespace"],
  [1, 2, 3, 4, 6, 8],
);

/**
 * The HA part of one cluster in one replica of the controllers. `look` runs in every replica and only watches; `round` runs in
 * the one that leads, and does what the pure step decides.
 */
export class ClusterCrm {
  readonly #options: ClusterCrmOptions;
  readonly #observer = new LeaseObserver();
  readonly #migrations = new MigrationRequests();
  readonly #proofs: ProofDisplay;
  readonly #shown: ShownStatus;
  readonly #metrics: CrmMetrics;
  readonly #fences = new Map<string, FenceProof>();
  #state: CrmState | undefined;
  /** On no object, so that it must outlive a write that fails. */
  #left: NonNullable<CrmState["left"]> = {};
  #incarnation = "";
  /** How often it began from the objects: each begins to count commands anew, and no uid may come twice. */
  #beginnings = 0;
  #lastRound: Milliseconds = Number.NEGATIVE_INFINITY;
  #lastRead: Milliseconds = Number.NEGATIVE_INFINITY;
  /** Rounds in a row that ended with an error. */
  #failures = 0;
  #changes = 0;
  /** What was known when the last round found nothing to do and nothing under way. */
  #quiet: { readonly changes: number; readonly verdict: string } | undefined;

  constructor(options: ClusterCrmOptions) {
    this.#options = options;
    this.#proofs = new ProofDisplay(options);
    this.#shown = new ShownStatus(options);
    this.#metrics = new CrmMetrics(options.namespace);
  }

  /** An object changed, other than a Lease that was merely renewed: the next round has something to look at. */
  changed(): void {
    this.#changes += 1;
  }

  /**
   * Whether a round could decide anything now: something is under way or has failed, an object or the membership changed, or it is
   * time. To be asked after every look.
   */
  needsRound(): boolean {
    const quiet = this.#quiet;
    if (quiet === undefined || quiet.changes !== this.#changes || quiet.verdict !== this.#observer.verdict) return true;
    return this.#options.clock.elapsedMs() - this.#lastRound >= QUIET_ROUND_MS;
  }

  /** Whether a Lease that was merely renewed may be the word that a proof waits for. */
  get waitsForRenewals(): boolean {
    return this.#observer.isProofClosing(this.#options.clock.elapsedMs());
  }

  /** Takes in the Leases as they are now. To be called when one says something else, and at least twice a second. */
  look(): void {
    const objects = this.#options.objects();
    if (objects === undefined) return;
    const { cluster, nodes } = objects;
    const { leaseRenewalMilliseconds } = this.#options;
    const timings = timingsInForce({ cluster, nodes, leaseRenewalMilliseconds });
    if (timings.ok) {
      const { fenceDelay, leaseDuration, reportFreshness } = timings.timings;
      this.#observer.setTimings({
        fenceDelay: fenceDelay.milliseconds,
        leaseDuration: leaseDuration.milliseconds,
        reportFreshness: reportFreshness.milliseconds,
      });
    }
    this.#observer.look(observerInput(objects, this.#options.clock.wallMs()), this.#options.clock.elapsedMs());
  }

  /** This replica leads no more: the next time, it begins from the objects. */
  forget(): void {
    this.#state = undefined;
    this.#left = {};
    this.#failures = 0;
    this.#quiet = undefined;
    this.#metrics.forget();
  }

  /**
   * Steps until nothing changes. What could not be written is decided anew from the objects the next time.
   * @throws QuorateError what kept an effect from being written
   */
  async round(leadership: Leadership): Promise<void> {
    const { clock, log } = this.#options;
    let steps = 0;
    try {
      for (let step = 0; step < STEPS_A_ROUND; step += 1) {
        if (this.#mustBegin(leadership.incarnation) && this.#waitsToBegin()) return;
        const read = await this.#readToBegin(leadership);
        this.look();
        const known = { changes: this.#changes, verdict: this.#observer.verdict };
        const cached = this.#options.objects();
        if (cached === undefined || leadership.signal.aborted || !leadership.mayAct()) return;
        const objects = { ...cached, ...read };
        steps += 1;
        this.#quiet = undefined;
        const { leasesChanged, quiet } = await this.#step(objects, leadership, clock.elapsedMs());
        if (quiet) this.#quiet = known;
        if (leasesChanged) continue;
        this.#failures = 0;
        return;
      }
      log.warn("the round did not come to rest; it goes on in the next");
    } catch (error) {
      this.#state = undefined;
      this.#quiet = undefined;
      this.#failures += 1;
      throw error;
    } finally {
      roundSteps.observe({ namespace: this.#options.namespace }, steps);
    }
  }

  async #step(
    objects: ClusterObjects,
    leadership: Leadership,
    now: Milliseconds,
  ): Promise<{ leasesChanged: boolean; quiet: boolean }> {
    const { client, clock, log, namespace } = this.#options;
    const wall = rfc3339(clock.wallMs());
    const input = observerInput(objects, clock.wallMs());
    const sameRound = now - this.#lastRound < ROUND_MS;
    if (!sameRound) this.#lastRound = now;
    const requests = sameRound ? [] : this.#migrations.next(objects);
    const before = this.#begin(objects, leadership.incarnation, now);
    const view = crmView({
      objects,
      incarnation: `${leadership.incarnation}.${this.#beginnings}`,
      quorate: this.#observer.membership(now).quorate,
      sameRound,
      sights: this.#observer.sights(input, now),
      requests,
    });
    const result = crmStep(before, view, now, DEFAULT_CRM_PARAMETERS);
    const leasesChanged = await applyCrmEffects(result.effects, objects, {
      client,
      clock,
      log,
      namespace,
      mayAct: leadership.mayAct,
      signal: leadership.signal,
      failoverNotes: (service, record) => this.#notes(objects, service, record, now),
      fences: this.#fences,
      setDisarm: async (disarm) =>
        writeClusterStatus(client, objects.cluster, leadership.identity, disarm, wall, leadership.signal),
    });
    this.#state = result.state;
    this.#left = result.state.left ?? {};
    this.#metrics.step(result, view, now, (node) => this.#observer.lastMemberAt(node));
    for (const event of result.events) this.#tell(event, objects);
    const { signal } = leadership;
    let written = true;
    const tryTo = async (write: Promise<void>) => {
      written = (await this.#tryTo(write)) && written;
    };
    if (!sameRound) {
      await tryTo(writeClusterStatus(client, objects.cluster, leadership.identity, result.state.disarm, wall, signal));
      for (const resource of ignored(objects)) await tryTo(writeIgnored(client, resource, wall, signal));
      for (const complaint of complaints(objects)) await tryTo(writeComplaint(client, complaint, wall, signal));
      this.#shown.show(objects, result.droppedRules, wall, clock.wallMs(), signal);
    }
    this.#proofs.show(objects.nodes, result.state, view, signal);
    await tryTo(this.#migrations.settle(client, objects, result.state, result.events, wall, signal));
    // What is done in full rounds only was not done in one that is none.
    const quiet = !sameRound && written && view.quorate && isAtRest(result);
    return { leasesChanged, quiet };
  }

  /** What is not an effect of the step: it is written anew in the next round, and the state that was decided stays. */
  async #tryTo(write: Promise<void>): Promise<boolean> {
    try {
      await write;
      return true;
    } catch (error) {
      const { reason, message } = classify(error);
      this.#options.log.warn({ reason }, message);
      return false;
    }
  }

  /**
   * What the records are rebuilt from, as the API server has it now. The caches are of streams of their own, each as late as it may be:
   * together they can show a state that never was, as the binding of a recovery without its record.
   */
  async #readToBegin({ incarnation, signal }: Leadership): Promise<Partial<ClusterObjects>> {
    const cached = this.#options.objects();
    if (cached === undefined || !this.#mustBegin(incarnation)) return {};
    const { client, namespace } = this.#options;
    this.#lastRead = this.#options.clock.elapsedMs();
    const { name } = cached.cluster.metadata;
    const all = { namespace, signal };
    const [cluster, nodes, guests, resources] = await Promise.all([
      client.get(CLUSTERS, { namespace, name }, { signal }),
      client.list(CLUSTER_NODES, all),
      client.list(GUESTS, all),
      client.list(HA_RESOURCES, all),
    ]);
    if (cluster === undefined)
      throw new QuorateError("transient", "ClusterGone", `Cluster "${name}" is deleted; nothing is decided for it`);
    return { cluster, nodes: nodes.items, guests: guests.items, resources: resources.items };
  }

  /** What fails again and again does not have all objects read four times a second. */
  #waitsToBegin(): boolean {
    return this.#failures >= FAILURES_AT_ONCE && this.#options.clock.elapsedMs() - this.#lastRead < ROUND_MS;
  }

  #mustBegin(incarnation: string): boolean {
    return this.#state === undefined || this.#incarnation !== incarnation;
  }

  #begin(objects: ClusterObjects, incarnation: string, now: Milliseconds): CrmState {
    if (this.#state !== undefined && !this.#mustBegin(incarnation)) return this.#state;
    this.#incarnation = incarnation;
    this.#beginnings += 1;
    const guests = new Map(objects.guests.map((guest) => [guest.metadata.name, guest]));
    const services = Object.fromEntries(
      objects.resources.flatMap((resource) => {
        const record = serviceRecordOf(resource, guests.get(resource.metadata.name), now);
        return record === undefined ? [] : [[resource.metadata.name, record] as const];
      }),
    );
    const nodes = Object.fromEntries(
      objects.nodes.flatMap((node) => {
        const state = nodeStateOf(node);
        return state === undefined ? [] : [[node.metadata.name, state] as const];
      }),
    );
    return { ...initialCrmState(services, nodes, now, disarmOf(objects.cluster)), left: this.#left };
  }

  /** Wall times and the age of the data, for people: nothing is decided by them. */
  #notes(
    objects: ClusterObjects,
    service: string,
    record: ServiceRecord,
    now: Milliseconds,
  ): FailoverNotes | undefined {
    if (record.failover === undefined) return undefined;
    const wallNow = this.#options.clock.wallMs();
    const at = (elapsed: Milliseconds) => rfc3339(wallNow - (now - elapsed));
    const lastMember = this.#observer.lastMemberAt(record.failover.from);
    const synced = dataOn(objects.jobs, service, record.node);
    const cut = lastMember === undefined ? undefined : wallNow - (now - lastMember);
    return {
      reason: "NodeFenced",
      ...(lastMember === undefined ? {} : { cutAt: at(lastMember) }),
      fencedAt: at(record.failover.fencedAt),
      ...(cut === undefined || synced === undefined
        ? {}
        : { ageOfDataSeconds: Math.max(0, Math.round((cut - synced) / 1000)) }),
    };
  }

  #tell(event: HaEvent, objects: ClusterObjects): void {
    const { events, log } = this.#options;
    log.info({ kind: event.kind, subject: event.subject, ...event.data }, event.message);
    if (event.class === "role") return;
    const about =
      event.about === "service"
        ? objects.resources.find((each) => each.metadata.name === event.subject)
        : event.about === "node"
          ? objects.nodes.find((each) => each.metadata.name === event.subject)
          : objects.cluster;
    if (about === undefined) return;
    try {
      events.event({
        regarding: about,
        type:
          event.level === "warning" || event.level === "err" || event.kind.startsWith("notify.") ? "Warning" : "Normal",
        reason: event.reason,
        action: "Decide",
        note: event.message,
      });
    } catch (error) {
      log.error({ err: classify(error) }, "an event could not be recorded");
    }
  }
}

/**
 * Of when the guest's data on the node is, in milliseconds since the epoch: by the newest copy that any job brought there. Not by
 * a job's lastSync, which is about whichever node the job copies to now.
 */
export function dataOn(jobs: ClusterObjects["jobs"], guest: string, node: string): number | undefined {
  const times = jobs
    .filter(({ spec }) => spec.guest === guest)
    .flatMap(({ status }) => status?.copies ?? [])
    .filter((copy) => copy.node === node)
    .map(({ time }) => Date.parse(time));
  return times.length === 0 ? undefined : Math.max(...times);
}

function observerInput(objects: ClusterObjects, wallMs: number) {
  const { quorumOverride } = objects.cluster.spec;
  const shown = objects.cluster.status?.conditions?.find((each) => each.type === "QuorumOverridden")?.status === "True";
  const active = quorumOverride !== undefined && Date.parse(quorumOverride.expiresAt) > wallMs;
  return {
    nodes: objects.nodes,
    leases: objects.leases,
    quorumOverride: active || shown,
    qdeviceVotes: objects.cluster.status?.qdevice?.votes ?? 0,
  };
}

/** The step decided nothing, and nothing is under way that waits for a proof, an answer or the end of a pause. */
function isAtRest({ effects, events, state: { nodes, services, disarm } }: CrmStepResult): boolean {
  return (
    effects.length === 0 &&
    events.length === 0 &&
    disarm === undefined &&
    Object.values(nodes).every(({ state }) => state === "Online") &&
    Object.values(services).every(
      ({ state, moveBackoff, balanceBackoff, queued }) =>
        RESTING.has(state) && moveBackoff === undefined && balanceBackoff === undefined && queued === undefined,
    )
  );
}

const RESTING: ReadonlySet<ServiceRecord["state"]> = new Set<ServiceRecord["state"]>(["Started", "Stopped"]);
