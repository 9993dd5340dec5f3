import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CLUSTER_NODES, type ClusterNode, HA_RESOURCES } from "../../crds/index.ts";
import { whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import { eventually } from "../membership/testing.ts";
import { FIELD_MANAGER, PROOF_FIELD_MANAGER } from "./objects.ts";
import { nodeStatus } from "./records.ts";
import { type CrmWorld, CrmWorlds } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;

describe("the proof of a fence, as ClusterNode.status shows it", { skip }, () => {
  let worlds: CrmWorlds;

  const world = async (namespace: string, wrap?: (client: KubeClient) => KubeClient) => {
    const nodes = ["n1", "n2", "n3"];
    const made = await worlds.world({ namespace, nodes, ...(wrap === undefined ? {} : { wrap }) });
    // As the other writers leave them: the membership controller, and each node's agent.
    for (const name of nodes) {
      const metadata = { name, namespace };
      await made.client.applyStatus(
        CLUSTER_NODES,
        { metadata, status: { votes: 1, nodeId: Number(name.slice(1)) } },
        { fieldManager: "quorate-membership", force: true },
      );
      await made.client.applyStatus(
        CLUSTER_NODES,
        { metadata, status: { watchdog: { armed: true, timeoutSeconds: 10 } } },
        { fieldManager: `quorate-agent-${name}`, force: true },
      );
    }
    await made.service("web1", "n1");
    await made.until("web1 runs", async () => (await made.get(HA_RESOURCES, "web1")).status?.state === "Started");
    await made.pass(3);
    return made;
  };
  const shown = async (made: CrmWorld, what: string, check: (node: ClusterNode) => void) => {
    await eventually(
      what,
      async () => {
        await made.pass(1);
        return made.get(CLUSTER_NODES, "n1");
      },
      check,
    );
  };
  const node = (made: CrmWorld) => made.get(CLUSTER_NODES, "n1");

  before(async () => {
    worlds = await CrmWorlds.start();
  });
  after(async () => {
    await worlds?.stop();
  });

  it("is there from the first moment, ends in a fence that says what proved it, and goes when the node is back", async () => {
    const made = await world("shown");
    assert.equal((await node(made)).status?.fence, undefined);
    made.membership(["n2", "n3"]);
    await shown(made, "reasons in state Unknown", ({ status }) => {
      assert.equal(status?.state, "Unknown");
      assert.match(status.fence?.proofReasons?.join("\n") ?? "", /the lease of node n1 has been unchanged for \d+ of/);
      assert.match(status.fence?.proofReasons?.join("\n") ?? "", /agents with 0 of 3 votes/);
    });
    await made.until(
      "the failover",
      async () => (await made.get(HA_RESOURCES, "web1")).status?.lastFailover !== undefined,
    );
    const fenced = (await node(made)).status;
    assert.equal(fenced?.fence?.lastFence?.by, "Watchdog");
    assert.match(fenced.fence.lastFence.reason ?? "", /agents with a majority of the votes have reported it gone/);
    await made.pass(30);
    made.membership(["n1", "n2", "n3"]);
    await shown(made, "no reasons of a member", ({ status }) => {
      assert.equal(status?.state, "Online");
      assert.equal(status.fence?.proofReasons, undefined);
    });
    assert.deepEqual(
      (await node(made)).status?.fence?.lastFence,
      fenced.fence.lastFence,
      "the time of the fence stays",
    );
    assert.equal((await node(made)).status?.votes, 1, "what others wrote stays");
  });

  it("is taken back when the node returns before it was fenced, and the node's state with it", async () => {
    const made = await world("returned");
    made.membership(["n2", "n3"]);
    await shown(made, "reasons", ({ status }) => assert.ok(status?.fence?.proofReasons));
    made.membership(["n1", "n2", "n3"]);
    await shown(made, "as before", ({ status }) => {
      assert.equal(status?.state, "Online");
      assert.equal(status.fence, undefined);
    });
  });

  it("takes as long as the slowest corosync needs to notice a cut, whatever the settings ask for by now", async () => {
    const made = await world("slow");
    await made.client.applyStatus(
      CLUSTER_NODES,
      {
        metadata: { name: "n1", namespace: "slow" },
        status: {
          watchdog: { armed: true, timeoutSeconds: 10 },
          corosync: { tokenMilliseconds: 10_650, consensusMilliseconds: 12_780 },
        },
      },
      { fieldManager: "quorate-agent-n1", force: true },
    );
    made.membership(["n2", "n3"]);
    await made.pass(34);
    assert.equal((await made.get(HA_RESOURCES, "web1")).status?.node, "n1", "M is 35.2 s, and would be 19.8 s");
    await made.until("the failover", async () => (await made.get(HA_RESOURCES, "web1")).status?.node !== "n1", 10);
  });

  it("is left by a write of the state, also where the same manager had written reasons: an empty map would be refused", async () => {
    const made = await world("empty");
    const metadata = { name: "n1", namespace: "empty" };
    const apply = async (status: ClusterNode["status"] & object) =>
      made.client.applyStatus(CLUSTER_NODES, { metadata, status }, { fieldManager: FIELD_MANAGER, force: true });
    await apply({ state: "Fence", fence: { proofReasons: ["of an earlier version"] } });
    const before = await node(made);
    await apply(nodeStatus(before, { state: "Online", lastOnline: 0 }, "2026-11-21T00:00:00Z", undefined));
    assert.deepEqual([(await node(made)).status?.state, (await node(made)).status?.fence], ["Online", undefined]);
  });

  it("holds up no round when the API server refuses it, or never answers", async () => {
    let refused = 0;
    const hanging: (() => void)[] = [];
    const wrap = (how: "refuse" | "hang") => (client: KubeClient) =>
      new Proxy(client, {
        get(target, property) {
          if (property !== "applyStatus") return Reflect.get(target, property, target).bind?.(target);
          return async (...all: Parameters<KubeClient["applyStatus"]>) => {
            if (all[2].fieldManager !== PROOF_FIELD_MANAGER) return target.applyStatus(...all);
            refused += 1;
            if (how === "hang") await new Promise<void>((resolve) => hanging.push(resolve));
            throw new Error("not today");
          };
        },
      }) as KubeClient;
    for (const how of ["refuse", "hang"] as const) {
      const made = await world(`broken-${how}`, wrap(how));
      made.membership(["n2", "n3"]);
      await made.until("the failover", async () => (await made.get(HA_RESOURCES, "web1")).status?.node !== "n1");
      assert.ok(refused > 0);
    }
    assert.equal(hanging.length, 1, "one write is in flight at most");
    for (const end of hanging) end();
  });
});
