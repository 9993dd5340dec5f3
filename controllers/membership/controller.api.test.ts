import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { controllersClient } from "../../charts/quorate/testing.ts";
import { CLUSTER_NODES, CLUSTERS, CRM_HOLDER, nodeLeaseName } from "../../crds/index.ts";
import { type ControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import {
  CONFIG_MAPS,
  type ConfigMap,
  KubeClient,
  LEASES,
  releaseLease,
  SECRETS,
  takeLease,
  WatchCache,
} from "../../kube/index.ts";
import { type RunningController, startMembership } from "./controller.ts";
import { CONFIG_NAME, KEY_NAME, readPublished } from "./publication.ts";
import { applyAll, condition, eventually, FakeAgent, FakeRing, must, startApi } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;

describe("the membership controller", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let controller: RunningController;
  const ring = new FakeRing();
  const agents = new Map<string, FakeAgent>();
  const namespace = "lab";
  /** What was published, as the agents saw it. */
  const history: string[] = [];
  let watch: WatchCache<ConfigMap>;

  const cluster = (networks: string[], more: object = {}) => ({
    kind: "Cluster",
    metadata: { name: "lab" },
    spec: { links: networks.map((network) => ({ network })), ...more },
  });
  const node = (name: string, spec: object = {}) => ({ kind: "ClusterNode", metadata: { name }, spec });
  const host = (n: number, addresses = [`10.6.0.${n}/24`, `10.6.1.${n}/24`, `10.6.9.${n}/24`]) => {
    const agent = new FakeAgent({ client, ring, namespace, node: `n${n}`, addresses });
    agents.set(`n${n}`, agent);
    return agent;
  };
  const published = async () => readPublished(await client.get(CONFIG_MAPS, { namespace, name: CONFIG_NAME }));
  const clusterIs = (ready: string) =>
    eventually(
      `Cluster Ready=${ready}`,
      () => must(client, CLUSTERS, namespace, "lab"),
      (object) => assert.equal(condition(object, "Ready"), ready, JSON.stringify(object.status?.conditions)),
    );
  const nodeIs = (name: string, type: string, wanted: string, limitMs?: number) =>
    eventually(
      `${name} ${type}=${wanted}`,
      () => must(client, CLUSTER_NODES, namespace, name),
      (object) => assert.equal(condition(object, type), wanted, JSON.stringify(object.status?.conditions)),
      limitMs,
    );
  const votes = (config: { nodes: readonly { name: string; votes: number }[] }) =>
    config.nodes.map((one) => `${one.name}:${one.votes}`).join(" ");

  before(async () => {
    controlPlane = await startApi();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await controlPlane.kubectl(["create", "namespace", namespace]);
    watch = new WatchCache({
      client,
      type: CONFIG_MAPS,
      namespace,
      onChange: (key) => {
        const now = readPublished(watch.get(key));
        if (now) history.push(`${now.version} ${votes(now.config)} | ${now.admitted.join(" ")}`);
      },
    });
    await watch.start();
    controller = await startMembership({ client: await controllersClient(controlPlane) });
  });
  after(async () => {
    for (const agent of agents.values()) await agent.stop();
    await controller?.stop();
    await watch?.stop();
    await controlPlane?.stop();
  });

  it("forms a cluster of three nodes at once", async () => {
    await applyAll(controlPlane, namespace, [
      cluster(["10.6.0.0/24", "10.6.1.0/24"]),
      node("n1"),
      node("n2"),
      node("n3"),
    ]);
    for (const n of [1, 2, 3]) host(n);
    const object = await clusterIs("True Ready");
    assert.deepEqual(object.status?.quorum, {
      ...object.status?.quorum,
      quorate: true,
      expectedVotes: 3,
      totalVotes: 3,
      neededVotes: 2,
      summary: "3/3 (2)",
    });
    assert.deepEqual(object.status?.nodes, { total: 3, online: 3, summary: "3/3" });
    assert.deepEqual(object.status?.config, {
      version: 1,
      transport: "knet",
      cipher: "AES256",
      hash: "SHA256",
      tokenMilliseconds: 3000,
      membershipChangeMilliseconds: 8030,
    });
    assert.equal(condition(object, "TimingsSafe"), "True Safe");
    assert.equal(condition(object, "TopologySound"), "True Sound");
    assert.ok(object.status?.timings?.recoveryBound?.milliseconds);
    assert.equal(object.status?.rollout, undefined);
    assert.deepEqual(
      history.map((line) => line.split(" ")[0]),
      ["1", "1"],
      "one version, then noted as formed",
    );
    const n2 = await nodeIs("n2", "Ready", "True Ready");
    assert.deepEqual([n2.spec.nodeId, n2.status?.nodeId, n2.status?.votes], [n2.status?.nodeId, n2.spec.nodeId, 1]);
    assert.deepEqual(n2.status?.links, [
      { number: 0, address: "10.6.0.2" },
      { number: 1, address: "10.6.1.2" },
    ]);
    const key = await must(client, SECRETS, namespace, KEY_NAME);
    assert.equal(Buffer.from(key.data?.authkey ?? "", "base64").length, 256);
  });

  it("shows it in the columns of kubectl", async () => {
    const { stdout } = await controlPlane.kubectl(["get", "quorate", "-n", namespace]);
    assert.match(stdout, /cluster.quorate.dev\/lab +True +3\/3 +3\/3 \(2\) .*True/);
    assert.match(stdout, /clusternode.quorate.dev\/n1 +[123] +1 .*True/);
  });

  it("writes nothing more once all is well", async () => {
    const revisions = async () => {
      const objects = [
        await must(client, CLUSTERS, namespace, "lab"),
        await must(client, CONFIG_MAPS, namespace, CONFIG_NAME),
      ];
      return objects.map(({ metadata }) => metadata.resourceVersion);
    };
    const before = await revisions();
    await controller.stop();
    controller = await startMembership({ client: await controllersClient(controlPlane) });
    // Several looks of the new controller, seen by the renewals of the agents.
    const seen = agents.get("n1")?.loaded.length;
    await eventually(
      "looks",
      async () => (await must(client, CLUSTER_NODES, namespace, "n1")).status?.corosync?.running,
      (running) => assert.ok(running),
    );
    await applyAll(controlPlane, namespace, [node("n1", { maintenance: true })]);
    await eventually(
      "n1 seen",
      () => must(client, CLUSTER_NODES, namespace, "n1"),
      ({ status, metadata }) => assert.equal(status?.observedGeneration, metadata.generation),
    );
    assert.deepEqual(await revisions(), before);
    assert.equal(agents.get("n1")?.loaded.length, seen);
  });

  it("takes in a fourth node: members first, it starts, it votes", async () => {
    history.length = 0;
    await applyAll(controlPlane, namespace, [node("n4")]);
    await nodeIs("n4", "AgentReady", "False NoAgent");
    host(4);
    await nodeIs("n4", "Ready", "True Ready");
    await clusterIs("True Ready");
    assert.deepEqual(history, [
      "2 n1:1 n2:1 n3:1 n4:0 | n1 n2 n3",
      "2 n1:1 n2:1 n3:1 n4:0 | n1 n2 n3 n4",
      "3 n1:1 n2:1 n3:1 n4:1 | n1 n2 n3 n4",
    ]);
    assert.deepEqual(agents.get("n4")?.loaded, [2, 3]);
  });

  it("says which node has no address on a link, and goes on without it", async () => {
    await applyAll(controlPlane, namespace, [node("n5")]);
    host(5, ["10.6.0.5/24", "192.168.1.5/24"]);
    const complaint = /ClusterNode "n5", link 1: no address in 10\.6\.1\.0\/24; it has 10\.6\.0\.5, 192\.168\.1\.5/;
    await eventually(
      "n5 is complained of",
      () => must(client, CLUSTER_NODES, namespace, "n5"),
      (object) => {
        assert.equal(condition(object, "Member"), "False NoAddress");
        assert.match(object.status?.conditions?.find(({ type }) => type === "Member")?.message ?? "", complaint);
      },
    );
    assert.equal((await published())?.version, 3);
    await clusterIs("False Join");
    await controlPlane.kubectl(["delete", "clusternode", "n5", "-n", namespace, "--timeout=20s"]);
    await agents.get("n5")?.stop();
    await clusterIs("True Ready");
  });

  it("does not let a node go that a guest needs, then removes it in order, and gives its id to nobody", async () => {
    const guest = {
      kind: "Guest",
      metadata: { name: "web1" },
      spec: { nodeName: "n4", service: { unit: "web1.service" } },
    };
    await applyAll(controlPlane, namespace, [guest]);
    history.length = 0;
    await controlPlane.kubectl(["delete", "clusternode", "n4", "-n", namespace, "--wait=false"]);
    const object = await nodeIs("n4", "Removable", "False Needed");
    assert.match(
      object.status?.conditions?.find(({ type }) => type === "Removable")?.message ?? "",
      /guest web1 on n4: move them away/,
    );
    await controlPlane.kubectl(["delete", "guest", "web1", "-n", namespace]);
    await eventually(
      "n4 is gone",
      () => client.get(CLUSTER_NODES, { namespace, name: "n4" }),
      (gone) => assert.equal(gone, undefined),
    );
    assert.deepEqual(history, [
      "4 n1:1 n2:1 n3:1 n4:0 | n1 n2 n3 n4",
      "4 n1:1 n2:1 n3:1 n4:0 | n1 n2 n3",
      "5 n1:1 n2:1 n3:1 | n1 n2 n3",
    ]);
    await agents.get("n4")?.stop();
    await applyAll(controlPlane, namespace, [node("n6")]);
    const next = await eventually(
      "n6 has an id",
      () => must(client, CLUSTER_NODES, namespace, "n6"),
      ({ spec }) => assert.ok(spec.nodeId),
    );
    assert.ok((next.spec.nodeId ?? 0) > 4, `n6 got ${next.spec.nodeId}`);
    await controlPlane.kubectl(["delete", "clusternode", "n6", "-n", namespace, "--timeout=20s"]);
    await clusterIs("True Ready");
  });

  it("moves a link to another network while the other carries the traffic", async () => {
    const { ringId } = ring;
    await applyAll(controlPlane, namespace, [cluster(["10.6.0.0/24", "10.6.9.0/24"])]);
    await eventually("the link has moved", published, (now) =>
      assert.deepEqual(
        now?.config.nodes.map(({ addresses }) => addresses.at(-1)?.address.replace(/\.\d+$/, "")),
        ["10.6.9", "10.6.9", "10.6.9"],
      ),
    );
    await clusterIs("True Ready");
    assert.equal(ring.ringId, ringId, "the membership lasted");
    const { status } = await must(client, CLUSTER_NODES, namespace, "n1");
    assert.deepEqual(status?.links?.at(1), { number: 1, address: "10.6.9.1" });
  });

  it("leaves a second Cluster alone, and says so", async () => {
    await applyAll(controlPlane, namespace, [
      { kind: "Cluster", metadata: { name: "other" }, spec: { links: [{ network: "10.7.0.0/24" }] } },
    ]);
    const object = await eventually(
      "refused",
      () => must(client, CLUSTERS, namespace, "other"),
      (other) => assert.equal(condition(other, "Ready"), "False SecondCluster"),
    );
    assert.match(object.status?.conditions?.[0]?.message ?? "", /namespace "lab" belongs to Cluster "lab"/);
    await clusterIs("True Ready");
    await controlPlane.kubectl(["delete", "cluster", "other", "-n", namespace]);
  });

  it("expects other votes while an override is set, changes nothing else, and goes back", async () => {
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z/, "Z");
    const override = { quorumOverride: { expectedVotes: 1, reason: "test", expiresAt } };
    await applyAll(controlPlane, namespace, [cluster(["10.6.0.0/24", "10.6.9.0/24"], override)]);
    const object = await eventually(
      "overridden",
      () => must(client, CLUSTERS, namespace, "lab"),
      (one) => assert.equal(condition(one, "QuorumOverridden"), "True Overridden"),
    );
    assert.equal(object.status?.quorum?.expectedVotes, 1);
    await applyAll(controlPlane, namespace, [cluster(["10.6.0.0/24", "10.6.9.0/24"])]);
    const after = await clusterIs("True Ready");
    assert.equal(after.status?.quorum?.expectedVotes, 3);
  });

  it("shows a lost agent within about ten seconds, and takes nothing from its node", async () => {
    const before = (await published())?.version;
    await agents.get("n3")?.stop();
    const lost = await nodeIs("n3", "Ready", "False AgentLost", 15_000);
    assert.equal(condition(lost, "Member"), "True Member");
    await clusterIs("False NodesMissing");
    assert.equal((await published())?.version, before);
    agents.get("n3")?.start();
    await nodeIs("n3", "Ready", "True Ready");
    await clusterIs("True Ready");
  });

  it("takes nothing that the CRM writes to a fenced node's Lease for a sign of its agent", async () => {
    const seen: string[] = [];
    const nodes = new WatchCache({
      client,
      type: CLUSTER_NODES,
      namespace,
      onChange: () => seen.push(condition(nodes.get(`${namespace}/n3`), "AgentReady") ?? ""),
    });
    await agents.get("n3")?.stop();
    await nodes.start();
    const key = { namespace, name: nodeLeaseName("n3") };
    const taken = await takeLease(client, await must(client, LEASES, namespace, key.name), {
      holder: CRM_HOLDER,
      durationSeconds: 3600,
    });
    await nodeIs("n3", "AgentReady", "False Fenced");
    seen.length = 0;
    await releaseLease(client, taken);
    await nodeIs("n3", "AgentReady", "False AgentLost", 15_000);
    assert.deepEqual(
      seen.filter((each) => each.startsWith("True")),
      [],
    );
    agents.get("n3")?.start();
    await nodeIs("n3", "Ready", "True Ready");
    await nodes.stop();
    await clusterIs("True Ready");
  });

  it("does not make a new key for nodes that run with the old one", async () => {
    const key = await must(client, SECRETS, namespace, KEY_NAME);
    await controller.stop();
    await client.delete(SECRETS, { namespace, name: KEY_NAME });
    controller = await startMembership({ client: await controllersClient(controlPlane) });
    const object = await clusterIs("False KeyMissing");
    assert.match(
      object.status?.conditions?.find(({ type }) => type === "Ready")?.message ?? "",
      /restore it from \/etc\/corosync\/authkey/,
    );
    assert.equal(await client.get(SECRETS, { namespace, name: KEY_NAME }), undefined);
    await client.create(SECRETS, { metadata: { namespace, name: KEY_NAME }, data: key.data ?? {} });
    await controller.stop();
    controller = await startMembership({ client: await controllersClient(controlPlane) });
    await clusterIs("True Ready");
  });

  it("makes what was published again from what runs, when it is lost", async () => {
    const before = await published();
    await client.delete(CONFIG_MAPS, { namespace, name: CONFIG_NAME });
    const now = await eventually("published again", published, (found) => assert.ok(found));
    assert.equal(now?.version, (before?.version ?? 0) + 1);
    assert.deepEqual(
      now?.config.nodes.map(({ nodeId, addresses }) => [nodeId, addresses]),
      before?.config.nodes.map(({ nodeId, addresses }) => [nodeId, addresses]),
    );
    await clusterIs("True Ready");
  });

  it("lets ClusterNodes go when there is no Cluster any more", async () => {
    await controlPlane.kubectl(["delete", "cluster", "lab", "-n", namespace]);
    await controlPlane.kubectl(["delete", "clusternode", "--all", "-n", namespace, "--timeout=20s"]);
  });
});
