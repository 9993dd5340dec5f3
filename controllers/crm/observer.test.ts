import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ClusterNode, MEMBERSHIP_ANNOTATION, nodeLeaseName, withDefaults } from "../../crds/index.ts";
import type { Lease } from "../../kube/index.ts";
import { LeaseObserver } from "./observer.ts";

const NODES = ["n1", "n2"].map(
  (name, index) =>
    withDefaults("ClusterNode", {
      apiVersion: "quorate.dev/v1alpha1",
      kind: "ClusterNode",
      metadata: { name, namespace: "lab" },
      spec: { nodeId: index + 1 },
    }) as ClusterNode,
);

interface Said {
  readonly members: readonly number[];
  readonly qdeviceVotes?: number;
}

/** Seconds in which n1 and n2 report, each in every second one, what is said of them; a node of which nothing is said is silent. */
class Watched {
  readonly observer = new LeaseObserver();
  readonly renewals = new Map<string, { count: number; said: Said; ring: string }>();
  now = 0;
  device = 1;

  constructor() {
    this.observer.setTimings({ fenceDelay: 20_000, leaseDuration: 16_000, reportFreshness: 6_000 });
  }

  pass(seconds: number, said: Readonly<Record<string, Said>>): this {
    for (let i = 0; i < seconds; i += 1) {
      this.now += 1000;
      for (const [node, now] of Object.entries(said))
        this.renewals.set(node, {
          count: (this.renewals.get(node)?.count ?? 0) + 1,
          said: now,
          ring: `1.${now.members.length}`,
        });
      this.observer.look(this.input, this.now);
    }
    return this;
  }

  get input() {
    const leases = [...this.renewals].map(
      ([node, { count, said, ring }]): Lease => ({
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: {
          name: nodeLeaseName(node),
          annotations: {
            [MEMBERSHIP_ANNOTATION]: JSON.stringify({
              ringId: ring,
              quorate: true,
              nodeId: Number(node.slice(1)),
              ...said,
            }),
          },
        },
        spec: { holderIdentity: `${node}/boot`, renewTime: `${count}` },
      }),
    );
    return { nodes: NODES, leases, quorumOverride: false, qdeviceVotes: this.device };
  }

  get verdict() {
    const sight = this.observer.sights(this.input, this.now).get("n1");
    assert.ok(sight);
    return sight.fence;
  }
}

const both = { n1: { members: [1, 2], qdeviceVotes: 1 }, n2: { members: [1, 2], qdeviceVotes: 1 } };

describe("of two nodes and a quorum device, the lost node", () => {
  test("is proven gone when the device votes with the other", () => {
    const cut = new Watched().pass(10, both).pass(18, { n2: { members: [2], qdeviceVotes: 1 } });
    assert.equal(cut.verdict.proven, false);
    assert.match(cut.verdict.reasons.join(), /with 0 of 3 votes/);
    cut.pass(4, { n2: { members: [2], qdeviceVotes: 1 } });
    assert.equal(cut.verdict.proven, true, cut.verdict.reasons.join());
  });

  test("is never proven gone while the report shows no vote of the device", () => {
    const cut = new Watched().pass(10, both).pass(120, { n2: { members: [2] } });
    assert.equal(cut.verdict.proven, false);
    assert.match(cut.verdict.reasons.join(), /with 1 of 3 votes/);
  });

  test("is not proven gone any more when the device's vote is taken back", () => {
    const cut = new Watched().pass(10, both).pass(40, { n2: { members: [2], qdeviceVotes: 1 } });
    assert.equal(cut.verdict.proven, true);
    assert.equal(cut.pass(1, { n2: { members: [2] } }).verdict.proven, false);
  });

  test("is not proven gone by what the lost node itself had said of the device", () => {
    const cut = new Watched().pass(10, { ...both, n2: { members: [1, 2] } }).pass(40, { n2: { members: [2] } });
    assert.equal(cut.verdict.proven, false);
  });

  test("needs a majority with the device also when the Cluster's status does not know of it yet", () => {
    const watched = new Watched();
    watched.device = 0;
    watched.pass(10, both).pass(40, { n2: { members: [2] } });
    assert.match(watched.verdict.reasons.join(), /with 1 of 3 votes/, "the last report of n1 shows a device");
  });

  test("is not proven gone by more votes than the device has", () => {
    const watched = new Watched().pass(10, both).pass(40, { n2: { members: [2], qdeviceVotes: 1 } });
    watched.device = 5;
    assert.match(watched.verdict.reasons.join(), /with 2 of 7 votes/);
  });
});
