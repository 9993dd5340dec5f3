/**
 * For tests of this folder: the CRM of one cluster on a real API server, in virtual time, with agents that behave as far as the API
 * shows it (Leases, results). Nothing else imports it.
 */
import assert from "node:assert/strict";
import { controllersClient } from "../../charts/quorate/testing.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  GUESTS,
  HA_GROUPS,
  HA_RESOURCES,
  HA_RULES,
  MEMBERSHIP_ANNOTATION,
  MIGRATIONS,
  MODE_ANNOTATION,
  nodeLeaseName,
  REPLICATION_JOBS,
} from "../../crds/index.ts";
import type { ControlPlane } from "../../e2e/controlplane/index.ts";
import { classify } from "../../errors.ts";
import {
  createLease,
  EVENTS,
  EventRecorder,
  KubeClient,
  type KubeObject,
  LEASES,
  leaseHolder,
  type ResourceType,
  renewLease,
  takeLease,
} from "../../kube/index.ts";
import { ManualClock } from "../../kube/testing.ts";
import { processLog } from "../../log.ts";
import { startApi } from "../membership/testing.ts";
import { ClusterCrm } from "./cluster-crm.ts";
import type { ClusterObjects } from "./objects.ts";

export interface WorldOptions {
  readonly controlPlane: ControlPlane;
  /** Of the leader: with the rights that the chart gives. */
  readonly controllers: KubeClient;
  /** A namespace of its own, made by `start`. */
  readonly namespace: string;
  /** In the order of their ids, which begin with 1. */
  readonly nodes: readonly string[];
  readonly cluster?: object;
  /** Instead of the client's own; for what must fail or hang. */
  readonly wrap?: (client: KubeClient) => KubeClient;
}

interface Report {
  readonly members: readonly string[];
  readonly quorate: boolean;
  readonly qdeviceVotes?: number;
}

/** An API server, and worlds in namespaces of it. No round of any may fail. */
export class CrmWorlds {
  readonly controlPlane: ControlPlane;
  readonly #controllers: KubeClient;
  readonly #worlds: CrmWorld[] = [];

  private constructor(controlPlane: ControlPlane, controllers: KubeClient) {
    this.controlPlane = controlPlane;
    this.#controllers = controllers;
  }

  static async start(): Promise<CrmWorlds> {
    const controlPlane = await startApi();
    return new CrmWorlds(controlPlane, await controllersClient(controlPlane));
  }

  /** Its nodes are members, and it has no services yet. */
  async world(options: Omit<WorldOptions, "controlPlane" | "controllers">): Promise<CrmWorld> {
    const made = new CrmWorld({ ...options, controlPlane: this.controlPlane, controllers: this.#controllers });
    this.#worlds.push(made);
    await made.start();
    return made;
  }

  async stop(): Promise<void> {
    for (const each of this.#worlds) await each.stop();
    await this.controlPlane.stop();
    assert.deepEqual(
      this.#worlds.flatMap(({ failures }) => failures),
      [],
      "no round failed",
    );
  }
}

export class CrmWorld {
  readonly clock = new ManualClock();
  /** Of an administrator. */
  readonly client: KubeClient;
  readonly namespace: string;
  readonly options: WorldOptions;
  /** What each node's agent says of its corosync; a node without an entry is cut off, or its agent is dead. */
  readonly reports = new Map<string, Report>();
  /** Whether agents obey at once, as long as they are heard. */
  obeys = true;
  /** Of rounds, without conflicts. */
  readonly failures: string[] = [];
  crm: ClusterCrm;
  incarnation = 1;
  readonly #events: EventRecorder;
  #objects: ClusterObjects | undefined;
  #ring = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.namespace = options.namespace;
    this.client = KubeClient.fromKubeconfig(options.controlPlane.kubeconfig);
    this.#events = new EventRecorder({
      client: options.controllers,
      controller: "quorate.dev/ha",
      instance: "test",
      log: processLog("test"),
    });
    this.crm = this.newLeader();
  }

  async start(): Promise<void> {
    const { controlPlane, namespace, nodes, cluster } = this.options;
    await controlPlane.kubectl(["create", "namespace", namespace]);
    await this.apply([
      {
        kind: "Cluster",
        metadata: { name: "lab" },
        spec: {
          links: [{ network: "10.6.0.0/24" }],
          storages: [{ name: "tank", type: "ZFS", dataset: "tank/g" }],
          ...cluster,
        },
      },
      ...nodes.map((name, index) => ({ kind: "ClusterNode", metadata: { name }, spec: { nodeId: index + 1 } })),
    ]);
    this.membership(nodes);
  }

  /** Another process leads: it has seen nothing. */
  newLeader(): ClusterCrm {
    const { controllers, wrap = (client: KubeClient) => client } = this.options;
    this.incarnation += 1;
    this.crm = new ClusterCrm({
      namespace: this.namespace,
      client: wrap(controllers),
      clock: this.clock,
      log: processLog("test"),
      events: this.#events,
      objects: () => this.#objects,
    });
    return this.crm;
  }

  /** Applies objects as a user does. */
  async apply(objects: readonly object[]): Promise<void> {
    const items = objects.map((object) => {
      const { metadata, ...rest } = object as { metadata: object };
      return { apiVersion: "quorate.dev/v1alpha1", ...rest, metadata: { ...metadata, namespace: this.namespace } };
    });
    await this.options.controlPlane.kubectl(["apply", "-f", "-"], {
      input: JSON.stringify({ apiVersion: "v1", kind: "List", items }),
    });
  }

  /** A guest under HA on this node. */
  async service(name: string, node: string, spec: object = {}): Promise<void> {
    await this.apply([
      {
        kind: "Guest",
        metadata: { name },
        spec: { nodeName: node, resources: { cpu: 1, memory: "1Gi" }, service: { unit: `${name}.service` } },
      },
      { kind: "HAResource", metadata: { name }, spec },
    ]);
  }

  /** From now on these are the members, and all others are silent. */
  membership(members: readonly string[], more: { quorate?: boolean; qdeviceVotes?: number } = {}): void {
    this.#ring += 4;
    this.reports.clear();
    for (const node of members) this.reports.set(node, { members, quorate: true, ...more });
  }

  /** Virtual seconds, a round in each: agents renew, the leader looks and acts. */
  async pass(seconds: number, signal: AbortSignal = new AbortController().signal): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      await this.clock.advance(1000);
      for (const [node, report] of this.reports) await this.#beat(node, report);
      await this.refresh();
      this.crm.look();
      try {
        await this.crm.round({ identity: "test", incarnation: `${this.incarnation}`, mayAct: () => true, signal });
      } catch (error) {
        // As the shell around it does: the next round begins from the objects. A conflict is a cache that is behind.
        if (classify(error).reason !== "Conflict") this.failures.push(classify(error).message);
      }
      if (this.obeys) await this.#obey();
    }
  }

  /** Passes seconds until it is so. @throws after `limit` virtual seconds */
  async until(what: string, isSo: () => Promise<boolean>, limit = 90): Promise<void> {
    for (let second = 0; second < limit; second += 1) {
      if (await isSo()) return;
      await this.pass(1);
    }
    throw new Error(`${what}: not within ${limit} s`);
  }

  async refresh(): Promise<void> {
    const list = async <T extends KubeObject>(type: ResourceType<T>) =>
      (await this.client.list(type, { namespace: this.namespace })).items;
    const [clusters, nodes, guests, resources, groups, rules, jobs, migrations, leases] = await Promise.all([
      list(CLUSTERS),
      list(CLUSTER_NODES),
      list(GUESTS),
      list(HA_RESOURCES),
      list(HA_GROUPS),
      list(HA_RULES),
      list(REPLICATION_JOBS),
      list(MIGRATIONS),
      list(LEASES),
    ]);
    const cluster = clusters[0];
    this.#objects =
      cluster === undefined
        ? undefined
        : { cluster, nodes, guests, resources, groups, rules, jobs, migrations, leases };
  }

  /** Events of an object as a person reads them, in the order in which they were recorded: `reason: note`. */
  async story(kind: string, name: string): Promise<string[]> {
    const { items } = await this.client.list(EVENTS, { namespace: this.namespace });
    return items
      .filter(({ regarding }) => regarding?.kind === kind && regarding.name === name)
      .sort((a, b) => ((a.eventTime ?? "") < (b.eventTime ?? "") ? -1 : 1))
      .map(({ reason, note }) => `${reason}: ${note}`);
  }

  async stop(): Promise<void> {
    await this.#events.stop();
  }

  async get<T extends KubeObject>(type: ResourceType<T>, name: string): Promise<T> {
    const object = await this.client.get(type, { namespace: this.namespace, name });
    if (object === undefined) throw new Error(`no ${type.kind} "${name}"`);
    return object;
  }

  async #beat(node: string, report: Report): Promise<void> {
    const key = { namespace: this.namespace, name: nodeLeaseName(node) };
    const ids = (names: readonly string[]) => names.map((name) => this.options.nodes.indexOf(name) + 1);
    const annotations = {
      [MEMBERSHIP_ANNOTATION]: JSON.stringify({
        ringId: `1.${this.#ring.toString(16)}`,
        quorate: report.quorate,
        members: ids(report.members),
        nodeId: ids([node])[0],
        ...(report.qdeviceVotes === undefined ? {} : { qdeviceVotes: report.qdeviceVotes }),
      }),
      [MODE_ANNOTATION]: "Active",
    };
    const holder = `${node}/boot`;
    const claim = { holder, durationSeconds: 10, annotations };
    const lease = await this.client.get(LEASES, key);
    const options = { clock: this.clock };
    if (lease === undefined) await createLease(this.client, key, claim, options);
    else if (leaseHolder(lease) === "") await takeLease(this.client, lease, claim, options);
    else await renewLease(this.client, lease, { annotations }, options);
  }

  /** Every command of a node that is heard is answered with Ok, under an armed watchdog. */
  async #obey(): Promise<void> {
    await this.refresh();
    for (const resource of this.#objects?.resources ?? []) {
      const { command, result, node } = resource.status ?? {};
      if (command === undefined || node === undefined || !this.reports.has(node) || result?.uid === command.uid)
        continue;
      await this.answer(resource.metadata.name, node, command.uid, "Ok");
    }
  }

  async answer(name: string, node: string, uid: string, outcome: "Ok" | "Failed", message?: string): Promise<void> {
    await this.client.applyStatus(
      HA_RESOURCES,
      {
        metadata: { name, namespace: this.namespace },
        status: { result: { uid, outcome, ...(message === undefined ? {} : { message }) } },
      },
      { fieldManager: `quorate-agent-${node}`, force: true },
    );
  }
}
