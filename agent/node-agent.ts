import type { Clock } from "../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  type Cluster,
  type ClusterNode,
  type ConfigLoad,
  GUESTS,
  type Guest,
  HA_RESOURCES,
  REPLICATION_JOBS,
} from "../crds/index.ts";
import { classify, QuorateError } from "../errors.ts";
import {
  CONFIG_MAPS,
  EventRecorder,
  type KubeClient,
  type KubeObject,
  type ResourceType,
  rfc3339,
  SECRETS,
  WatchCache,
} from "../kube/index.ts";
import type { Logger } from "../log.ts";
import { type CorosyncStatus, QuorumWatch, readStatus } from "./corosync/index.ts";
import { GuestWatch } from "./guest-watch.ts";
import { Guests } from "./guests/index.ts";
import { DEFAULT_LRM_PARAMETERS, type ReportedMode } from "./ha/index.ts";
import type { Host } from "./host/index.ts";
import { Identity } from "./identity/index.ts";
import { JobRunner, targetOf } from "./jobs/index.ts";
import { installKeeper, KeeperClient, type KeeperRelease, type KeeperStatus, SOCKET_PATH } from "./keeper/index.ts";
import { knownResults, Lrm, NodeLease, servicesHere, WorkTable } from "./lrm/index.ts";
import { followConfig, readAuthkey, readPublished } from "./membership/index.ts";
import { GuestOwner, guestDefinition } from "./owner/index.ts";
import type { QuiesceLevel } from "./replication/index.ts";
import { hostAddresses, hostCapacity, type NodeFacts, nodeStatus } from "./report/index.ts";
import { Admission, DEFAULT_PORT, startTransferServer, TransferClient, type TransferServer } from "./transfer/index.ts";

export interface NodeAgentOptions {
  readonly node: string;
  readonly namespace: string;
  readonly mode: "DaemonSet" | "SystemdUnit";
  readonly host: Host;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
  /** For machines; auto looks whether the host can. */
  readonly accelerator: "Auto" | "KVM" | "TCG";
  readonly release: KeeperRelease;
}

const TICK_MS = 1_000;
const STATUS_MS = 2_000;
const COROSYNC_STATUS_MS = 5_000;
const QUORUM_FRESH_MS = 3_000;
/** Beyond corosync's consensus time-out, until a corosync that was silent is believed again. */
const SETTLE_MARGIN_MS = 500;
/** A cache that hears nothing asks the server after 10 s and gives it 5: older than that, it is out of touch. */
const STORE_FRESH_MS = 16_000;

/**
 * The agent of one node in one cluster: follows the published corosync configuration, keeps the keeper installed, runs the
 * LRM, the replication jobs and the transfer server, and reports. One loop each, none waits for another.
 */
export class NodeAgent {
  readonly #options: NodeAgentOptions;
  readonly #log: Logger;
  readonly #caches;
  readonly #keeper: KeeperClient;
  readonly #events: EventRecorder;
  readonly #quorum: QuorumWatch;
  readonly #owner: GuestOwner;
  readonly #drivers: Guests;
  readonly #guests: GuestWatch;
  readonly #jobs: JobRunner;
  readonly #identity: Identity;
  readonly #claimed = new Set<string>();
  #transfer: TransferServer | undefined;
  #corosync: CorosyncStatus | undefined;
  #corosyncAt = Number.NEGATIVE_INFINITY;
  #lastLoad: ConfigLoad | undefined;
  #keeperStatus: KeeperStatus | undefined;
  #keeperProblem: string | undefined;
  #mode: ReportedMode = "Idle";
  #epoch: number | undefined;
  #written = "";
  #lrm: Lrm | undefined;
  #bootId = "";
  #aliveAt: number;

  constructor(options: NodeAgentOptions) {
    const { client, clock, host, node, namespace } = options;
    this.#options = options;
    this.#log = options.log.child({ namespace });
    this.#aliveAt = clock.elapsedMs();
    const wake = () => this.#lrm?.poke();
    const cache = <T extends KubeObject>(type: ResourceType<T>, selector: { fieldSelector?: string } = {}) =>
      new WatchCache({
        client,
        type,
        namespace,
        onChange: wake,
        name: `agent-${type.plural}`,
        clock,
        log: this.#log,
        ...selector,
      });
    this.#caches = {
      clusters: cache(CLUSTERS),
      nodes: cache(CLUSTER_NODES),
      guests: cache(GUESTS),
      resources: cache(HA_RESOURCES),
      jobs: cache(REPLICATION_JOBS),
      config: cache(CONFIG_MAPS, { fieldSelector: "metadata.name=quorate-corosync" }),
      key: cache(SECRETS, { fieldSelector: "metadata.name=quorate-corosync-key" }),
    };
    this.#keeper = new KeeperClient(host.path(SOCKET_PATH), { timeoutMs: 3_000 });
    this.#events = new EventRecorder({
      client,
      controller: "quorate.dev/agent",
      instance: node,
      clock,
      log: this.#log,
    });
    this.#quorum = new QuorumWatch({ host, clock, log: this.#log, onChange: () => wake() });
    this.#owner = new GuestOwner({
      clock,
      host,
      node,
      namespace,
      drivers: () => this.#drivers,
      cluster: () => this.#cluster(),
      guest: (name) => this.#guest(name),
      abortReceives: async (vmid) => this.#transfer?.abortReceives(vmid),
      sendVolumes: (guest, target, signal) => this.#sendVolumes(guest, target, signal),
      claim: (name) => this.#claim(name),
    });
    this.#drivers = new Guests({
      host,
      accelerator: options.accelerator,
      storage: (name) => this.#owner.storage(name),
    });
    this.#guests = new GuestWatch({
      node,
      namespace,
      client,
      clock,
      log: this.#log,
      drivers: this.#drivers,

      guests: () => this.#caches.guests.list(namespace),
      onChange: wake,
    });
    this.#identity = new Identity({ client, host, clock, log: this.#log, node, namespace });
    this.#jobs = new JobRunner({
      node,
      namespace,
      client,
      clock,
      log: this.#log,
      jobs: () => this.#caches.jobs.list(namespace),
      guest: (name) => this.#guest(name),
      nodes: () => this.#caches.nodes.list(namespace).map(({ metadata }) => metadata.name),
      volumes: (guest) =>
        this.#owner
          .localVolumes(guest)
          .filter((ref) => guest.spec.volumes?.find((volume) => volume.name === ref.volume)?.replicate !== false),
      storage: (name) => this.#owner.storage(name),
      parts: (target, guest) => this.#replicationParts(target, guest),
      claim: (name) => this.#claim(name),
    });
  }

  /** When the LRM loop last went round, on the clock's elapsedMs: a liveness probe looks at its age. */
  get aliveAt(): number {
    return this.#aliveAt;
  }

  /** Runs until the signal aborts. Guests, corosync and the keeper run on afterwards. */
  async run(signal: AbortSignal): Promise<void> {
    const { host, client, clock, node, namespace } = this.#options;
    this.#bootId = await host.bootId();
    await Promise.all(Object.values(this.#caches).map((each) => each.start()));
    this.#quorum.start();
    const loops: Promise<void>[] = [
      this.#every(TICK_MS, signal, "membership", () => this.#followMembership()),
      this.#every(TICK_MS, signal, "keeper", () => this.#keepKeeper()),
      this.#every(TICK_MS, signal, "guests", () => this.#lookAtGuests()),
      this.#every(STATUS_MS, signal, "status", () => this.#reportNode()),
      this.#every(TICK_MS, signal, "replication", async () => this.#quorateNow() && this.#jobs.tick(signal)),
      this.#every(TICK_MS * 5, signal, "transfer", () => this.#serveTransfers()),
    ];
    await this.#firstLook(signal);
    const work = new WorkTable(
      {
        start: (service, stop) => this.#owner.start(service, stop),
        stop: (service, how, stop) => this.#owner.stop(service, how, stop),
        move: (service, target, mode, stop) => this.#owner.move(service, target, mode, stop),
      },
      clock,
      this.#log,
      () => {
        void this.#guests.look().then(
          () => this.#lrm?.poke(),
          () => this.#lrm?.poke(),
        );
      },
    );
    const timings = () => this.#cluster()?.status?.timings;
    this.#lrm = new Lrm({
      node,
      clock,
      log: this.#log.child({ part: "lrm" }),
      lease: new NodeLease({ client, namespace, node, bootId: this.#bootId, leaseSeconds: 15, clock }),
      work,
      look: async () => this.#surroundings(),
      keeper: {
        arm: () => this.#armKeeper(),
        disarm: async () => {
          this.#keeperStatus = await this.#keeper.disarm();
        },
        expire: async (why) => {
          this.#log.fatal({ why }, "ordering the keeper to let the watchdog expire");
          this.#keeperStatus = await this.#keeper.expire();
        },
      },
      report: async (service, result) => {
        const resource = this.#caches.resources.get(`${namespace}/${service}`);
        const uid = resource?.metadata.uid;
        await client.applyStatus(
          HA_RESOURCES,
          {
            metadata: { name: service, namespace, ...(uid === undefined ? {} : { uid }) },
            status: { result: { ...result, finishedAt: this.#wall() } },
          },
          { fieldManager: `quorate-agent-${node}`, force: true },
        );
      },
      onMode: (mode, epoch) => {
        this.#mode = mode;
        this.#epoch = epoch;
      },
      onEvent: (event, type) => {
        const about =
          event.about === "service" ? this.#caches.resources.get(`${namespace}/${event.subject ?? ""}`) : this.#self();
        if (about !== undefined)
          this.#events.event({ regarding: about, type, reason: event.reason, action: "Act", note: event.message });
      },
      parameters: {
        ...DEFAULT_LRM_PARAMETERS,
        maxWorkers: this.#cluster()?.spec.ha.maxWorkers ?? DEFAULT_LRM_PARAMETERS.maxWorkers,
      },
      renewIntervalMs: 2_000,
      leaseMs: timings()?.leaseDuration?.milliseconds ?? 10_000,
      knownResults: knownResults(node, this.#caches.resources.list(namespace)),
    });
    loops.push(this.#lrm.run(signal));
    await Promise.all(loops);
    work.stop();
    await this.#jobs.idle();
    await this.#transfer?.close();
    await this.#quorum.stop();
    await Promise.all(Object.values(this.#caches).map((each) => each.stop()));
    await this.#events.stop();
  }

  /** The LRM begins only when the host has said once what runs on it. */
  async #firstLook(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const resumed = await this.#drivers.resumeForgotten();
        if (resumed.length > 0)
          this.#log.warn({ guests: resumed }, "guests that an earlier agent had paused for a snapshot go on");
        await this.#guests.look();
        return;
      } catch (error) {
        this.#log.error(
          { reason: classify(error).reason },
          `the host does not say what runs on it: ${classify(error).message}`,
        );
        await this.#options.clock.sleep(TICK_MS, signal).catch(() => undefined);
      }
    }
  }

  async #every(ms: number, signal: AbortSignal, what: string, work: () => Promise<unknown>): Promise<void> {
    let last = "";
    while (!signal.aborted) {
      try {
        await work();
        last = "";
      } catch (error) {
        const failure = classify(error);
        // A lasting problem is said once, not once a second.
        if (failure.message !== last)
          this.#log.error(
            { loop: what, reason: failure.reason, ...(failure.class === "bug" ? { err: failure } : {}) },
            failure.message,
          );
        last = failure.message;
      }
      await this.#options.clock.sleep(ms, signal).catch(() => undefined);
    }
  }

  #surroundings() {
    const { node, namespace, clock } = this.#options;
    this.#aliveAt = clock.elapsedMs();
    const cluster = this.#cluster();
    const report = this.#quorum.last;
    const quorum = report?.quorum;
    const membership =
      quorum?.state === "Running"
        ? {
            ringId: quorum.ringId,
            quorate: quorum.quorate,
            members: quorum.members.map((member) => member.nodeId),
            nodeId: quorum.nodeId,
          }
        : { ringId: "", quorate: false, members: [], nodeId: this.#self()?.spec.nodeId ?? 0 };
    const guests = new Map(this.#caches.guests.list(namespace).map((guest) => [guest.metadata.name, guest]));
    const keeper = this.#keeperStatus;
    const armed = cluster?.status?.conditions?.find((each) => each.type === "Armed");
    return {
      quorate: this.#quorateNow(),
      membership: JSON.stringify(membership),
      storeReadable:
        Object.values(this.#caches).every((cache) => cache.synced) &&
        this.#caches.resources.lastSeenAgeMs() < STORE_FRESH_MS,
      watchdog: {
        armed: keeper?.armed === true && keeper.timeoutSeconds !== undefined && keeper.quorate,
        expiring: keeper?.expiring === true,
      },
      ...servicesHere(
        node,
        this.#caches.resources.list(namespace),
        guests,
        (name) => this.#guests.running(name),
        this.#guests.here(),
      ),
      disarmed:
        cluster?.spec.ha.disarm !== undefined &&
        armed?.status === "False" &&
        (armed.reason === "DisarmAgreed" || armed.reason === "Disarmed"),
      maintenance: this.#self()?.spec.maintenance === true,
    };
  }

  #quorateNow(): boolean {
    const report = this.#quorum.last;
    return (
      report?.quorum.state === "Running" &&
      report.quorum.quorate &&
      this.#options.clock.elapsedMs() - report.askedAtMs < QUORUM_FRESH_MS
    );
  }

  async #followMembership(): Promise<void> {
    const { host, clock, node, namespace } = this.#options;
    const quorum = this.#quorum.last?.quorum;
    const self = this.#self();
    if (quorum === undefined || self === undefined) return;
    const config = this.#caches.config.get(`${namespace}/quorate-corosync`);
    const override =
      this.#cluster()?.status?.conditions?.find((each) => each.type === "QuorumOverridden")?.status === "True";
    const published = config === undefined ? undefined : readPublished(config, node, override);
    const leave = self.metadata.deletionTimestamp !== undefined && published !== undefined && !published.admitted;
    if (leave && this.#keeperStatus?.armed === true) await this.#disarmToLeave();
    const load = await followConfig(
      host,
      {
        published,
        authkey: readAuthkey(this.#caches.key.get(`${namespace}/quorate-corosync-key`)),
        nodeId: self.spec.nodeId,
        quorum,
        leave,
      },
      clock,
      this.#log,
    );
    if (
      load !== undefined &&
      (load.configVersion !== this.#lastLoad?.configVersion ||
        load.outcome !== this.#lastLoad?.outcome ||
        load.message !== this.#lastLoad?.message)
    )
      this.#lastLoad = load;
  }

  /** Without corosync an armed watchdog resets the host: it is closed before, and only when no guest runs here any more. */
  async #disarmToLeave(): Promise<void> {
    const here = this.#guests.here();
    if (here.length > 0) {
      throw new QuorateError(
        "environment",
        "GuestsStillRun",
        `node "${this.#options.node}" leaves the cluster and still runs ${here.join(", ")}; corosync and the watchdog stay until they are moved or stopped`,
      );
    }
    this.#keeperStatus = await this.#keeper.disarm();
  }

  async #keepKeeper(): Promise<void> {
    const { host, clock, release } = this.#options;
    const cluster = this.#cluster();
    const proofAge = cluster?.status?.timings?.quorumProofAge?.milliseconds;
    // As corosync derived them from its configuration and the number of nodes.
    const { tokenMilliseconds, consensusMilliseconds } = this.#corosync?.running ?? {};
    if (
      cluster !== undefined &&
      proofAge !== undefined &&
      tokenMilliseconds !== undefined &&
      consensusMilliseconds !== undefined
    ) {
      try {
        const changed = await installKeeper(host, {
          release,
          clock,
          config: {
            device: this.#self()?.spec.watchdog.device ?? "/dev/watchdog0",
            timeoutSeconds: cluster.spec.ha.watchdogSeconds,
            proofMaxAgeMilliseconds: proofAge,
            corosyncTimeoutMilliseconds: proofAge,
            tokenMilliseconds,
            settleMilliseconds: consensusMilliseconds + SETTLE_MARGIN_MS,
          },
        });
        if (changed) this.#log.info({ version: release.version }, "keeper installed");
        this.#keeperProblem = undefined;
      } catch (error) {
        this.#keeperProblem = classify(error).message;
        throw error;
      } finally {
        await this.#askKeeper();
      }
      return;
    }
    await this.#askKeeper();
  }

  async #askKeeper(): Promise<void> {
    const before = `${this.#keeperStatus?.armed} ${this.#keeperStatus?.expiring}`;
    try {
      this.#keeperStatus = await this.#keeper.status();
    } catch {
      this.#keeperStatus = undefined;
    }
    if (`${this.#keeperStatus?.armed} ${this.#keeperStatus?.expiring}` !== before) this.#lrm?.poke();
  }

  async #armKeeper(): Promise<void> {
    this.#keeperStatus = await this.#keeper.arm();
  }

  async #lookAtGuests(): Promise<void> {
    await this.#guests.look();
    await this.#guests.report();
  }

  async #reportNode(): Promise<void> {
    const { host, clock, client, node, namespace, mode, release } = this.#options;
    const self = this.#self();
    if (self === undefined) return;
    const now = clock.elapsedMs();
    const quorum = this.#quorum.last?.quorum;
    const changed =
      quorum?.state === "Running"
        ? quorum.ringId !== ringOf(this.#corosync)
        : quorum?.state !== this.#corosync?.quorum.state;
    if (changed || now - this.#corosyncAt >= COROSYNC_STATUS_MS) {
      this.#corosync = await readStatus(host, { timeoutMs: 3_000 });
      this.#corosyncAt = now;
    }
    const keeper = this.#keeperStatus;
    const message = this.#keeperProblem ?? keeper?.error;
    const facts: NodeFacts = {
      release: release.version,
      mode,
      bootId: this.#bootId,
      corosync: this.#corosync,
      lastLoad: this.#lastLoad,
      addresses: hostAddresses(),
      lrm: {
        mode: this.#mode === "Disarmed" ? "Idle" : this.#mode,
        epoch: this.#epoch,
        activeGuests: this.#guests.here().length,
      },
      watchdog:
        keeper === undefined
          ? undefined
          : {
              device: keeper.device,
              ...(keeper.identity === undefined ? {} : { identity: keeper.identity }),
              ...(keeper.timeoutSeconds === undefined ? {} : { timeoutSeconds: keeper.timeoutSeconds }),
              armed: keeper.armed && keeper.timeoutSeconds !== undefined,
              ...(message === undefined ? {} : { message }),
            },
      transfer:
        this.#transfer === undefined
          ? undefined
          : { address: this.#transferAddress() ?? "", port: this.#transfer.port },
      capacity: hostCapacity(),
    };
    const status = nodeStatus(facts, self.status, self.metadata.generation ?? 0, this.#wall());
    const text = JSON.stringify(status);
    if (text === this.#written) return;
    await client.applyStatus(
      CLUSTER_NODES,
      {
        metadata: { name: node, namespace, ...(self.metadata.uid === undefined ? {} : { uid: self.metadata.uid }) },
        status,
      },
      { fieldManager: `quorate-agent-${node}`, force: true },
    );
    this.#written = text;
  }

  async #serveTransfers(): Promise<void> {
    const { host, node } = this.#options;
    const address = this.#transferAddress();
    if (address === undefined) return;
    const { identity, renewed } = await this.#identity.current([address]);
    if (this.#transfer !== undefined) {
      if (renewed) this.#transfer.setIdentity(identity);
      return;
    }
    const { nodes, guests } = this.#caches;
    const admission = new Admission({ node, nodes, guests, running: (guest) => this.#guests.running(guest) });
    this.#transfer = await startTransferServer({
      host,
      storage: (name) => this.#owner.storage(name),
      identity,
      listen: { address, port: DEFAULT_PORT },
      isMember: (peer) => admission.isMember(peer),
      mayReceive: async (vmid, from) => admission.mayReceive(vmid, from),
      log: this.#log.child({ part: "transfer" }),
    });
    this.#log.info({ address, port: this.#transfer.port }, "transfers are served");
  }

  /** The node's address in the first link's network, as the membership controller found it. */
  #transferAddress(): string | undefined {
    return this.#self()?.status?.links?.find((link) => link.address !== undefined)?.address;
  }

  async #replicationParts(targetName: string, guest: Guest) {
    const { host, clock, namespace } = this.#options;
    const target = this.#caches.nodes.get(`${namespace}/${targetName}`);
    const endpoint = target?.status?.agent?.transferEndpoint;
    if (endpoint?.address === undefined) {
      throw new QuorateError(
        "transient",
        "NetworkUnreachable",
        `the agent of node "${targetName}" has not said where it receives; see ClusterNode "${targetName}"`,
      );
    }
    const { identity } = await this.#identity.current([]);
    return {
      host,
      storage: (storage: string) => this.#owner.storage(storage),
      target: new TransferClient(
        {
          node: targetName,
          address: endpoint.address,
          ...(endpoint.port === undefined ? {} : { port: endpoint.port }),
          identity,
        },
        clock,
      ),
      quiesce: (level: QuiesceLevel) => this.#drivers.quiesce(guestDefinition(guest, namespace), level),
    };
  }

  /** The last difference to where the guest goes; over the job that goes there, or over one that exists for this only. */
  async #sendVolumes(guest: Guest, target: string, signal: AbortSignal): Promise<void> {
    const volumes = this.#owner.localVolumes(guest);
    if (volumes.length === 0) return;
    const job = this.#caches.jobs
      .list(this.#options.namespace)
      .find((each) => each.spec.guest === guest.metadata.name && targetOf(each) === target);
    const jobId = job?.status?.jobId ?? `${guest.spec.vmid ?? 0}-9999`;
    await this.#jobs.runNow(
      { job: jobId, target, volumes },
      guest,
      await this.#replicationParts(target, guest),
      signal,
    );
  }

  #claim(guest: string): (() => void) | undefined {
    if (this.#claimed.has(guest)) return undefined;
    this.#claimed.add(guest);
    return () => this.#claimed.delete(guest);
  }

  #cluster(): Cluster | undefined {
    return [...this.#caches.clusters.list(this.#options.namespace)].sort((a, b) =>
      (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? ""),
    )[0];
  }

  #self(): ClusterNode | undefined {
    return this.#caches.nodes.get(`${this.#options.namespace}/${this.#options.node}`);
  }

  #guest(name: string): Guest | undefined {
    return this.#caches.guests.get(`${this.#options.namespace}/${name}`);
  }

  #wall(): string {
    return rfc3339(this.#options.clock.wallMs());
  }
}

function ringOf(status: CorosyncStatus | undefined): string | undefined {
  return status?.quorum.state === "Running" ? status.quorum.ringId : undefined;
}
