import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import {
  type Cluster,
  type ClusterNode,
  type Guest,
  type HAResource,
  MEMBERSHIP_ANNOTATION,
  MODE_ANNOTATION,
  nodeLeaseName,
  withDefaults,
} from "../../crds/index.ts";
import type { EventRecorder, KubeClient, Lease } from "../../kube/index.ts";
import { ManualClock } from "../../kube/testing.ts";
import { ClusterCrm } from "./cluster-crm.ts";
import type { ClusterObjects } from "./objects.ts";

const NODES = ["n1", "n2", "n3"];

/** A cluster at rest, as one process sees it: each second every agent that is not silent renews, and says what it says. */
class Quiet {
  readonly clock = new ManualClock();
  readonly leases = new Map<string, Lease>();
  readonly silent = new Set<string>();
  members = NODES;
  guestNode = "n1";
  nodeState = "Online";
  guarded = true;
  /** Where the cache is behind. */
  cachedGuarded: boolean | undefined;
  /** Of objects, by the CRM. */
  writes = 0;
  /** Lists, by the CRM. */
  reads = 0;
  fails = false;
  #ring = 4;
  #renewals = 0;
  readonly crm = new ClusterCrm({
    namespace: "lab",
    clock: this.clock,
    log: pino({ level: "silent" }),
    client: {
      get: async () => this.objects().cluster,
      list: async ({ kind }: { kind: string }) => {
        this.reads += 1;
        const { nodes, guests, resources } = this.objects(this.guarded);
        return { items: kind === "ClusterNode" ? nodes : kind === "Guest" ? guests : resources };
      },
      applyStatus: async () => {
        this.writes += 1;
        if (this.fails) throw new Error("no");
      },
    } as unknown as KubeClient,
    events: { event: () => undefined } as unknown as EventRecorder,
    objects: () => this.objects(),
  });

  async pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      await this.clock.advance(1000);
      this.#renewals += 1;
      for (const node of NODES) if (!this.silent.has(node)) this.leases.set(node, this.#lease(node));
      this.crm.look();
      if (this.crm.needsRound()) await this.round();
    }
  }

  async round(): Promise<void> {
    const signal = new AbortController().signal;
    await this.crm.round({ identity: "test", incarnation: "1", mayAct: () => true, signal });
  }

  /** The others say so; a new membership has another ring. */
  membership(members: string[]): void {
    this.members = members;
    this.#ring += 4;
  }

  /** @param guarded as the caches have it */
  objects(guarded = this.cachedGuarded ?? this.guarded): ClusterObjects {
    const object = (
      kind: "Cluster" | "ClusterNode" | "Guest" | "HAResource",
      name: string,
      spec: object,
      status: object,
    ) => {
      const metadata = { name, namespace: "lab", uid: `${kind}-${name}`, generation: 1 };
      const applied = { apiVersion: "quorate.dev/v1alpha1", kind, metadata, spec };
      return { ...(withDefaults(kind, applied) as object), status } as unknown;
    };
    const armed = { type: "Armed", status: "True", reason: "Armed", message: "guests under HA are guarded" };
    const service = {
      state: "Started",
      node: "n1",
      guarded,
      command: { uid: "0.1", action: "Start" },
      result: { uid: "0.1", outcome: "Ok" },
    };
    const guest = { nodeName: this.guestNode, resources: { memory: "1Gi" }, service: { unit: "web.service" } };
    return {
      cluster: object(
        "Cluster",
        "lab",
        { links: [{ network: "10.6.0.0/24" }] },
        { leader: "test", conditions: [armed] },
      ) as Cluster,
      nodes: NODES.map(
        (name, index) => object("ClusterNode", name, { nodeId: index + 1 }, { state: this.nodeState }) as ClusterNode,
      ),
      guests: [object("Guest", "web", guest, { state: "Running", node: "n1" }) as Guest],
      resources: [object("HAResource", "web", { state: "Started" }, service) as HAResource],
      groups: [],
      rules: [],
      jobs: [],
      migrations: [],
      leases: [...this.leases.values()],
    };
  }

  #lease(node: string): Lease {
    const id = (name: string) => NODES.indexOf(name) + 1;
    const report = { ringId: `1.${this.#ring}`, quorate: true, members: this.members.map(id), nodeId: id(node) };
    return Object.freeze({
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: {
        name: nodeLeaseName(node),
        namespace: "lab",
        annotations: { [MEMBERSHIP_ANNOTATION]: JSON.stringify(report), [MODE_ANNOTATION]: "Active" },
      },
      spec: { holderIdentity: `${node}/boot`, leaseTransitions: 1, renewTime: `${this.#renewals}` },
    });
  }
}

async function atRest(): Promise<Quiet> {
  const quiet = new Quiet();
  await quiet.pass(3);
  await quiet.clock.advance(1000);
  await quiet.round();
  quiet.crm.look();
  assert.equal(quiet.crm.needsRound(), false, "a cluster at rest");
  return quiet;
}

describe("rounds of a quiet cluster", () => {
  it("are left out while agents merely renew, and come every five seconds all the same", async () => {
    const quiet = await atRest();
    const seen: boolean[] = [];
    quiet.writes = 0;
    for (let second = 0; second < 5; second += 1) {
      await quiet.clock.advance(1000);
      quiet.crm.look();
      seen.push(quiet.crm.needsRound());
    }
    assert.deepEqual(seen, [false, false, false, false, true]);
    assert.equal(quiet.writes, 0);
  });

  it("come at once when an object changes", async () => {
    const quiet = await atRest();
    quiet.crm.changed();
    assert.equal(quiet.crm.needsRound(), true);
  });

  it("come again after a change that met a round of less than a second before, which does not do all", async () => {
    const quiet = await atRest();
    await quiet.clock.advance(500);
    quiet.crm.changed();
    await quiet.round();
    assert.equal(quiet.crm.needsRound(), true);
    await quiet.clock.advance(500);
    await quiet.round();
    assert.equal(quiet.crm.needsRound(), false);
  });

  it("come at once when an agent has fallen silent, with nothing but time to say so", async () => {
    const quiet = await atRest();
    quiet.silent.add("n3");
    await quiet.pass(4);
    await quiet.clock.advance(1000);
    await quiet.round();
    assert.equal(quiet.crm.needsRound(), false);
    await quiet.clock.advance(2000);
    quiet.crm.look();
    assert.equal(quiet.crm.needsRound(), true);
  });

  it("come at once when reports lack a node, and do not end while it is not proven off", async () => {
    const quiet = await atRest();
    quiet.membership(["n1", "n2"]);
    quiet.silent.add("n3");
    quiet.writes = 0;
    await quiet.pass(8);
    quiet.crm.look();
    assert.equal(quiet.crm.needsRound(), true);
    assert.ok(quiet.writes > 0, "the state of the node was written");
  });

  it("do not end while something is not written", async () => {
    const quiet = await atRest();
    quiet.nodeState = "Unknown";
    quiet.crm.forget();
    quiet.fails = true;
    await quiet.clock.advance(1000);
    await assert.rejects(quiet.round());
    assert.equal(quiet.crm.needsRound(), true);
  });

  it("write nothing when a leader begins and all is on record, and the rest when something is not", async () => {
    assert.equal((await atRest()).writes, 0);
    const unguarded = new Quiet();
    unguarded.guarded = false;
    await unguarded.pass(3);
    assert.equal(unguarded.writes, 1, "that the agent answered for the guest is put on record");
  });

  it("begin with what the API server has, whatever the caches show, and read it once", async () => {
    const behind = new Quiet();
    behind.cachedGuarded = false;
    await behind.pass(3);
    assert.equal(behind.writes, 0, "it is on record already");
    assert.equal(behind.reads, 3);
    behind.fails = true;
    behind.nodeState = "Unknown";
    behind.crm.forget();
    await assert.rejects(behind.round());
    await assert.rejects(behind.round());
    assert.equal(behind.reads, 9, "what was not written is decided anew from what is there");
  });

  it("that fail again and again read all anew once a second", async () => {
    const failing = await atRest();
    failing.nodeState = "Unknown";
    failing.fails = true;
    failing.crm.forget();
    failing.reads = 0;
    for (let tick = 0; tick < 8; tick += 1) {
      await failing.round().catch(() => undefined);
      await failing.clock.advance(250);
    }
    assert.equal(failing.crm.needsRound(), true);
    assert.equal(failing.reads, 3 * 4, "three times at once, and once a second later");
    failing.fails = false;
    await failing.pass(1);
    await failing.round();
    failing.reads = 0;
    await failing.round();
    assert.equal(failing.reads, 0, "it has begun");
  });

  it("begin anew with a new leadership", async () => {
    const quiet = await atRest();
    quiet.crm.forget();
    assert.equal(quiet.crm.needsRound(), true);
  });
});
