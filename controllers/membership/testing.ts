/**
 * For tests of the controllers: a real API server with the API installed, and agents that behave as far as the API shows
 * it (statuses, Leases), with a corosync that is only arithmetic. Nothing else imports it.
 */
import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../clock.ts";
import {
  CLUSTER_NODES,
  type ClusterNode,
  type KubeObject,
  MEMBERSHIP_ANNOTATION,
  MODE_ANNOTATION,
  type NodeMembership,
  nodeLeaseName,
  type ResourceType,
} from "../../crds/index.ts";
import { type ControlPlane, startControlPlane } from "../../e2e/controlplane/index.ts";
import { classify } from "../../errors.ts";
import { CONFIG_MAPS, createLease, type KubeClient, LEASES, renewLease } from "../../kube/index.ts";
import { CONFIG_NAME, readPublished } from "./publication.ts";
import type { Published } from "./rollout-types.ts";

/** An API server that serves all kinds. The caller stops it. */
export async function startApi(): Promise<ControlPlane> {
  const controlPlane = await startControlPlane();
  const manifests = new URL("../../crds", import.meta.url).pathname;
  await controlPlane.kubectl(["apply", "--server-side", "-f", manifests]);
  await controlPlane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
  return controlPlane;
}

/** Applies objects as a user does. */
export async function applyAll(controlPlane: ControlPlane, namespace: string, objects: object[]): Promise<void> {
  const items = objects.map((object) => {
    const { metadata, ...rest } = object as { metadata: object };
    return { apiVersion: "quorate.dev/v1alpha1", ...rest, metadata: { ...metadata, namespace } };
  });
  await controlPlane.kubectl(["apply", "-f", "-"], {
    input: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
  });
}

/** Asks until the answer is right. @throws what was wrong with the last answer, when time is over. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T>,
  check: (answer: T) => void,
  limitMs = 20_000,
): Promise<T> {
  const endMs = systemClock.elapsedMs() + limitMs;
  for (;;) {
    const answer = await ask();
    try {
      check(answer);
      return answer;
    } catch (error) {
      if (systemClock.elapsedMs() > endMs)
        throw new Error(`${what}: not within ${limitMs} ms: ${error instanceof Error ? error.message : error}`, {
          cause: error,
        });
    }
    await systemClock.sleep(50);
  }
}

/** `status reason` of a condition, or undefined. */
export function condition(
  object: { status?: { conditions?: { type: string; status: string; reason: string }[] } } | undefined,
  type: string,
): string | undefined {
  const found = object?.status?.conditions?.find((one) => one.type === type);
  return found && `${found.status} ${found.reason}`;
}

export async function must<T extends KubeObject>(
  client: KubeClient,
  type: ResourceType<T>,
  namespace: string,
  name: string,
): Promise<T> {
  const object = await client.get(type, { namespace, name });
  assert.ok(object, `${type.kind} ${namespace}/${name} does not exist`);
  return object;
}

/** What all fake corosyncs of one cluster share: who runs, and so the membership. */
export class FakeRing {
  readonly running = new Map<string, Published>();
  #members = "";
  #sequence = 0;

  /** Every change of the membership makes a new ring. */
  get ringId(): string {
    const members = JSON.stringify([...this.running.keys()].sort());
    if (members !== this.#members) {
      this.#members = members;
      this.#sequence += 4;
    }
    return `1.${this.#sequence.toString(16)}`;
  }

  report(node: string): NodeMembership | undefined {
    const own = this.running.get(node);
    const self = own?.config.nodes.find(({ name }) => name === node);
    if (own === undefined || self === undefined) return undefined;
    const members = own.config.nodes.filter(({ name }) =>
      this.running.get(name)?.config.nodes.some((one) => one.name === node),
    );
    const votes = members.reduce((sum, one) => sum + one.votes, 0);
    const expected = own.config.expectedVotes ?? own.config.nodes.reduce((sum, one) => sum + one.votes, 0);
    return {
      ringId: this.ringId,
      quorate: votes > expected / 2,
      members: members.map(({ nodeId }) => nodeId).sort((a, b) => a - b),
      nodeId: self.nodeId,
    };
  }
}

export interface FakeAgentOptions {
  readonly client: KubeClient;
  readonly ring: FakeRing;
  readonly namespace: string;
  readonly node: string;
  /** With prefix length. */
  readonly addresses: string[];
  readonly clock?: Clock;
}

const BEAT_MS = 250;

/** Loads what is published, reports, and renews its Lease, as an agent does. */
export class FakeAgent {
  readonly #options: FakeAgentOptions;
  readonly #clock: Clock;
  #stop = new AbortController();
  #done: Promise<void> = Promise.resolve();
  /** Versions it loaded, in order. */
  readonly loaded: number[] = [];
  /** Links whose traffic does not get through. */
  readonly brokenLinks = new Set<number>();
  /** It works, but does not load configurations. */
  stubborn = false;

  constructor(options: FakeAgentOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.start();
  }

  start(): void {
    this.#stop = new AbortController();
    this.#done = this.#run(this.#stop.signal);
  }

  /** The agent alone ends; its corosync runs on. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  /** The host loses power. */
  async die(): Promise<void> {
    this.#options.ring.running.delete(this.#options.node);
    await this.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Its object may go at any moment, and others write to its Lease; the next beat sees what is.
      await this.#beat().catch((error) => {
        if (classify(error).class !== "transient") throw error;
      });
      await this.#clock.sleep(BEAT_MS, signal).catch(() => {});
    }
  }

  async #beat(): Promise<void> {
    const { client, ring, namespace, node } = this.#options;
    const object = await client.get(CLUSTER_NODES, { namespace, name: node });
    if (object === undefined) {
      ring.running.delete(node);
      return;
    }
    const published = readPublished(await client.get(CONFIG_MAPS, { namespace, name: CONFIG_NAME }));
    const isAdmitted = published?.admitted.includes(node) ?? false;
    if (!isAdmitted) ring.running.delete(node);
    else if (published && ring.running.get(node)?.version !== published.version && !this.stubborn) {
      ring.running.set(node, published);
      this.loaded.push(published.version);
    }
    await this.#writeStatus(object);
    await this.#renew();
  }

  async #writeStatus(object: ClusterNode): Promise<void> {
    const { client, ring, namespace, node, addresses } = this.#options;
    const own = ring.running.get(node);
    const report = ring.report(node);
    const peers = (report?.members.length ?? 1) - 1;
    const links = own?.config.nodes.find(({ name }) => name === node)?.addresses ?? [];
    await client.applyStatus(
      CLUSTER_NODES,
      {
        metadata: { name: node, namespace, uid: object.metadata.uid ?? "" },
        status: {
          addresses: addresses.map((address, n) => ({ interface: `eth${n}`, address })),
          corosync: {
            running: own !== undefined,
            ...(own === undefined ? {} : { configVersion: own.version }),
            ...(report === undefined
              ? {}
              : { quorate: report.quorate, ringId: report.ringId, members: [...report.members] }),
          },
          linkStatus: links.map(({ link, address }) => ({
            number: link,
            address,
            peersUp: this.brokenLinks.has(link) ? 0 : peers,
            peersTotal: peers,
          })),
        },
      },
      { fieldManager: `quorate-agent-${node}`, force: true },
    );
  }

  async #renew(): Promise<void> {
    const { client, ring, namespace, node } = this.#options;
    const report = ring.report(node);
    const annotations = { [MEMBERSHIP_ANNOTATION]: JSON.stringify(report ?? null), [MODE_ANNOTATION]: "Idle" };
    const key = { namespace, name: nodeLeaseName(node) };
    const lease = await client.get(LEASES, key);
    if (lease === undefined)
      await createLease(client, key, { holder: `${node}/boot-1`, durationSeconds: 10, annotations });
    else await renewLease(client, lease, { annotations });
  }
}
