import type { Guest } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import type { Guests } from "../guests/index.ts";
import { Identity } from "../identity/index.ts";
import { JobRunner, targetOf } from "../jobs/index.ts";
import { type GuestOwner, guestDefinition } from "../owner/index.ts";
import type { QuiesceLevel } from "../replication/index.ts";
import {
  Admission,
  DEFAULT_PORT,
  startTransferServer,
  TransferClient,
  type TransferServer,
} from "../transfer/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { GuestWatch } from "./guest-watch.ts";
import type { NodeAgentOptions } from "./options.ts";

export interface NodeReplicationOptions
  extends Pick<NodeAgentOptions, "node" | "namespace" | "host" | "client" | "clock" | "log"> {
  readonly caches: NodeCaches;
  readonly owner: GuestOwner;
  readonly drivers: Guests;
  readonly guests: GuestWatch;
}

/** Both ends of replication on this node: what it sends by its jobs and when a guest leaves, and what it receives. */
export class NodeReplication {
  readonly #options: NodeReplicationOptions;
  readonly #identity: Identity;
  readonly #jobs: JobRunner;
  readonly #claimed = new Set<string>();
  #server: TransferServer | undefined;

  constructor(options: NodeReplicationOptions) {
    const { client, host, clock, log, node, namespace, caches, owner } = options;
    this.#options = options;
    this.#identity = new Identity({ client, host, clock, log, node, namespace });
    this.#jobs = new JobRunner({
      node,
      namespace,
      client,
      clock,
      log,
      jobs: () => caches.jobs(),
      guest: (name) => caches.guest(name),
      nodes: () => caches.nodes().map(({ metadata }) => metadata.name),
      volumes: (guest) =>
        owner
          .localVolumes(guest)
          .filter((ref) => guest.spec.volumes?.find((volume) => volume.name === ref.volume)?.replicate !== false),
      storage: (name) => owner.storage(name),
      parts: (target, guest) => this.#parts(target, guest),
      claim: (name) => this.claim(name),
    });
  }

  /** Starts the jobs that are due. */
  tick(signal: AbortSignal): void {
    this.#jobs.tick(signal);
  }

  /** The guest's volumes are worked on until the result is called; undefined when somebody else does already. */
  claim(guest: string): (() => void) | undefined {
    if (this.#claimed.has(guest)) return undefined;
    this.#claimed.add(guest);
    return () => this.#claimed.delete(guest);
  }

  /** As `claim`, for a guest that leaves: a run that holds it and goes elsewhere is broken off, and this is to be asked again. */
  claimForMove(guest: string, target: string): (() => void) | undefined {
    const release = this.claim(guest);
    if (release === undefined) this.#jobs.breakOff(guest, target);
    return release;
  }

  /** Ends what others still write to this guest's volumes on this host. */
  async abortReceives(vmid: number): Promise<void> {
    await this.#server?.abortReceives(vmid);
  }

  /** The last difference to where the guest goes; over the job that goes there, or over one that exists for this only. */
  async sendVolumes(guest: Guest, target: string, signal: AbortSignal): Promise<void> {
    const volumes = this.#options.owner.localVolumes(guest);
    if (volumes.length === 0) return;
    const job = this.#options.caches
      .jobs()
      .find((each) => each.spec.guest === guest.metadata.name && targetOf(each) === target);
    const jobId = job?.status?.jobId ?? `${guest.spec.vmid ?? 0}-9999`;
    await this.#jobs.runNow({ job: jobId, target, volumes }, guest, await this.#parts(target, guest), signal);
  }

  /** Where this node receives, once it does. */
  get endpoint(): { address: string; port: number } | undefined {
    return this.#server === undefined ? undefined : { address: this.#address() ?? "", port: this.#server.port };
  }

  /** Receives, once the node has an address and a certificate for it. */
  async serve(): Promise<void> {
    const { node, host, log, owner, caches, guests } = this.#options;
    const address = this.#address();
    if (address === undefined) return;
    const { identity, renewed } = await this.#identity.current([address]);
    if (this.#server !== undefined) {
      if (renewed) this.#server.setIdentity(identity);
      return;
    }
    const admission = new Admission({ node, ...caches.admission, running: (guest) => guests.running(guest) });
    this.#server = await startTransferServer({
      host,
      storage: (name) => owner.storage(name),
      identity,
      listen: { address, port: DEFAULT_PORT },
      isMember: (peer) => admission.isMember(peer),
      mayReceive: async (vmid, from) => admission.mayReceive(vmid, from),
      log: log.child({ part: "transfer" }),
    });
    log.info({ address, port: this.#server.port }, "transfers are served");
  }

  /** @returns when nothing runs any more. */
  async close(): Promise<void> {
    await this.#jobs.idle();
    await this.#server?.close();
  }

  /** The node's address in the first link's network, as the membership controller found it. */
  #address(): string | undefined {
    return this.#options.caches.self()?.status?.links?.find((link) => link.address !== undefined)?.address;
  }

  /** What a run to this target needs. @throws QuorateError when the target can't be asked now. */
  async #parts(targetName: string, guest: Guest) {
    const { host, clock, namespace, caches, owner, drivers } = this.#options;
    const endpoint = caches.node(targetName)?.status?.agent?.transferEndpoint;
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
      storage: (storage: string) => owner.storage(storage),
      target: new TransferClient(
        {
          node: targetName,
          address: endpoint.address,
          ...(endpoint.port === undefined ? {} : { port: endpoint.port }),
          identity,
        },
        clock,
      ),
      quiesce: (level: QuiesceLevel) => drivers.quiesce(guestDefinition(guest, namespace), level),
    };
  }
}
