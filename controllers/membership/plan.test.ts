import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  API_VERSION,
  type Cluster,
  type ClusterNode,
  type ClusterNodeStatus,
  type Guest,
  type ReplicationJob,
  withDefaults,
} from "../../crds/index.ts";
import type { AgentReport } from "./agents.ts";
import { allocateNodeIds } from "./desired.ts";
import { type Plan, planMembership, type View } from "./plan.ts";
import type { Published } from "./rollout-types.ts";

const created = "2026-11-21T00:00:00Z";
const wallMs = Date.parse("2026-11-21T01:00:00Z");
const spec = <T extends { spec: object }>(kind: string, given: object) =>
  withDefaults(kind, { spec: given }) as Pick<T, "spec">;
const cluster = (given: object = {}, name = "lab", metadata: object = {}): Cluster => ({
  apiVersion: API_VERSION,
  kind: "Cluster",
  metadata: { name, namespace: "lab", creationTimestamp: created, generation: 3, ...metadata },
  ...spec<Cluster>("Cluster", { links: [{ network: "10.6.0.0/24" }, { network: "10.6.1.0/24" }], ...given }),
});
const node = (n: number, given: object = {}, status: ClusterNodeStatus = {}, metadata: object = {}): ClusterNode => ({
  apiVersion: API_VERSION,
  kind: "ClusterNode",
  metadata: { name: `n${n}`, namespace: "lab", creationTimestamp: created, generation: 1, ...metadata },
  ...spec<ClusterNode>("ClusterNode", { nodeId: n, ...given }),
  status: {
    addresses: [`10.6.0.${n}/24`, `10.6.1.${n}/24`].map((address) => ({ interface: "eth0", address })),
    ...status,
  },
});
const guest = (name: string, nodeName: string): Guest => ({
  apiVersion: API_VERSION,
  kind: "Guest",
  metadata: { name, namespace: "lab" },
  ...spec<Guest>("Guest", { nodeName, service: { unit: "x.service" } }),
});
const job = (guestName: string, target: string): ReplicationJob => ({
  apiVersion: API_VERSION,
  kind: "ReplicationJob",
  metadata: { name: `${guestName}-${target}`, namespace: "lab" },
  ...spec<ReplicationJob>("ReplicationJob", { guest: guestName, target }),
});
const runs = (version: number): ClusterNodeStatus => ({ corosync: { running: true, configVersion: version } });
const alive = (nodeId: number, members: number[] = [1, 2, 3], quorate = true): AgentReport => ({
  sight: { state: "Alive" },
  fenced: false,
  membership: { ringId: "1.4", quorate, members, nodeId },
});
const view = (changes: Partial<View> = {}): View => ({
  clusters: [cluster()],
  nodes: [1, 2, 3].map((n) => node(n, {}, runs(1))),
  guests: [],
  jobs: [],
  published: undefined,
  agents: new Map([1, 2, 3].map((n) => [`n${n}`, alive(n)])),
  resolved: new Map(),
  publishedForMs: 60_000,
  agentsForMs: 60_000,
  declaredForMs: 60_000,
  wallMs,
  ...changes,
});

/** What is in force when all has settled for these objects. */
function settled(changes: Partial<View> = {}): View {
  const start = view({
    ...changes,
    agents: new Map(
      (changes.nodes ?? view().nodes).map(({ metadata }) => [
        metadata.name,
        { sight: { state: "Alive" }, fenced: false },
      ]),
    ),
  });
  const first = planMembership({
    ...start,
    nodes: start.nodes.map(
      ({ metadata, spec: wanted, status }) =>
        ({
          apiVersion: API_VERSION,
          kind: "ClusterNode",
          metadata,
          spec: wanted,
          status: { ...status, corosync: {} },
        }) satisfies ClusterNode,
    ),
  });
  assert.ok(first.decision.publish, first.decision.reason);
  const published: Published = { ...first.decision.publish, formed: true };
  return view({ ...changes, published });
}

const found = (plan: Plan, type: string, name?: string) => {
  const status = name === undefined ? plan.clusterStatuses.get("lab") : plan.nodeStatuses.get(name);
  const condition = status?.conditions?.find((one) => one.type === type);
  return condition && `${condition.status} ${condition.reason}: ${condition.message}`;
};

describe("a settled cluster", () => {
  test("is Ready, in sync, and nothing is written to the configuration", () => {
    const plan = planMembership(settled());
    assert.deepEqual([plan.decision.step, plan.decision.publish], ["Stable", undefined]);
    assert.equal(found(plan, "Ready"), "True Ready: 3 nodes are quorate and run the same configuration");
    assert.equal(found(plan, "ConfigInSync"), "True InSync: all members run version 1");
    assert.match(found(plan, "Quorate") ?? "", /^True Quorate: 3 of 3 votes, 2 needed/);
    assert.match(found(plan, "QuorumOverridden") ?? "", /^False/);
    assert.match(found(plan, "Ready", "n2") ?? "", /^True Ready/);
    assert.match(found(plan, "Member", "n2") ?? "", /^True Member: node 2 of ring 1\.4, with 1 votes/);
  });
  test("shows the ports that firewalls have to let through", () => {
    const nodes = [1, 2, 3].map((n) =>
      node(n, {}, { ...runs(1), agent: { transferEndpoint: { address: `10.6.0.${n}`, port: 7474 } } }),
    );
    const { requiredPorts } = planMembership(settled({ nodes })).clusterStatuses.get("lab") ?? {};
    assert.deepEqual(
      requiredPorts?.map(({ protocol, ports, from }) => `${protocol} ${ports} ${from}`),
      ["UDP 5405 10.6.0.0/24", "UDP 5406 10.6.1.0/24", "TCP 7474 10.6.0.0/24"],
    );
  });
  test("shows the port of the agents in the network where they receive: that of the lowest link", () => {
    const links = [
      { number: 4, network: "10.6.1.0/24" },
      { number: 2, network: "10.6.0.0/24" },
    ];
    const nodes = [1, 2, 3].map((n) =>
      node(n, {}, { ...runs(1), agent: { transferEndpoint: { address: `10.6.0.${n}`, port: 7474 } } }),
    );
    const clusters = [cluster({ links, migration: { network: "10.7.0.0/24" } })];
    const { requiredPorts } = planMembership(settled({ clusters, nodes })).clusterStatuses.get("lab") ?? {};
    assert.deepEqual(
      requiredPorts?.filter(({ protocol }) => protocol === "TCP").map(({ from, to }) => [from, to]),
      [["10.6.0.0/24", "10.6.0.0/24"]],
    );
  });
  test("keeps the time of a condition that did not change, and stamps one that did", () => {
    const before = planMembership(settled()).clusterStatuses.get("lab");
    assert.ok(before);
    const earlier = before.conditions?.map((one) => ({ ...one, lastTransitionTime: "2026-01-01T00:00:00Z" })) ?? [];
    const now = cluster();
    const start = settled({ clusters: [{ ...now, status: { ...before, conditions: earlier } }] });
    const quiet = planMembership(start).clusterStatuses.get("lab")?.conditions;
    assert.ok(quiet?.every(({ lastTransitionTime }) => lastTransitionTime === "2026-01-01T00:00:00Z"));
    const agents = new Map(start.agents).set("n3", { sight: { state: "Silent", forSeconds: 10 }, fenced: false });
    const changed = planMembership({ ...start, agents }).clusterStatuses.get("lab")?.conditions;
    assert.equal(changed?.find(({ type }) => type === "Ready")?.lastTransitionTime, "2026-11-21T01:00:00Z");
  });
});

describe("agents", () => {
  const silent = (state: AgentReport["sight"], fenced = false) => {
    const start = settled();
    return planMembership({ ...start, agents: new Map(start.agents).set("n3", { sight: state, fenced }) });
  };
  test("one that is silent is AgentLost; its node stays a member and its Cluster is not Ready", () => {
    const plan = silent({ state: "Silent", forSeconds: 10 });
    assert.match(found(plan, "Ready", "n3") ?? "", /^False AgentLost: .*10 s or more; guests run on/);
    assert.match(found(plan, "Member", "n3") ?? "", /^True/);
    assert.match(
      found(plan, "Ready") ?? "",
      /^False NodesMissing: 2 of 3 nodes are online; the agents of n3 are silent/,
    );
    assert.equal(plan.decision.publish, undefined);
  });
  test("one whose lease was taken is Fenced", () =>
    assert.match(found(silent({ state: "Fenced" }, true), "AgentReady", "n3") ?? "", /^False Fenced/));
  test("most of them silent: quorum is Unknown, and nothing is changed", () => {
    const start = settled({ clusters: [cluster({ tokenMilliseconds: 5000 })] });
    const lost: AgentReport = { sight: { state: "Silent", forSeconds: 20 }, fenced: false };
    const wanted = {
      ...start,
      clusters: [cluster({ tokenMilliseconds: 6000 })],
      agents: new Map([
        ["n1", alive(1)],
        ["n2", lost],
        ["n3", lost],
      ]),
    };
    const plan = planMembership(wanted);
    assert.match(found(plan, "Quorate") ?? "", /^Unknown ReportsInMinority/);
    assert.equal(plan.decision.publish, undefined);
  });
});

describe("problems are named", () => {
  const problem = (changes: Partial<View>, type: string, name?: string) =>
    found(planMembership(settled(changes)), type, name) ?? "";
  test("two addresses in a link's network", () => {
    const both = node(
      4,
      {},
      { addresses: ["10.6.0.4/24", "10.6.0.44/24", "10.6.1.4/24"].map((address) => ({ interface: "eth0", address })) },
    );
    const start = settled();
    const plan = planMembership({
      ...start,
      nodes: [...start.nodes, both],
      agents: new Map(start.agents).set("n4", { sight: { state: "Alive" }, fenced: false }),
    });
    assert.match(found(plan, "Member", "n4") ?? "", /^False AmbiguousAddress: .*10\.6\.0\.4 and 10\.6\.0\.44/);
    assert.match(found(plan, "Ready") ?? "", /^False Join: ConfigInSync: .*10\.6\.0\.4 and 10\.6\.0\.44/);
  });
  test("an address that another node has", () => {
    const twin = node(4, { links: [{ number: 0, address: "10.6.0.1" }] });
    const start = settled();
    const plan = planMembership({ ...start, nodes: [...start.nodes, twin] });
    assert.match(
      found(plan, "Member", "n4") ?? "",
      /^False DuplicateAddress: .*10\.6\.0\.1 is the address of "n1" already/,
    );
  });
  test("an id that another node has", () => {
    const start = settled();
    const plan = planMembership({
      ...start,
      nodes: [...start.nodes, { ...node(4), spec: { ...node(4).spec, nodeId: 2 } }],
    });
    assert.match(found(plan, "Member", "n4") ?? "", /^False DuplicateNodeId: .*node id 2 is that of "n2"/);
  });
  test("two IP versions on one link", () => {
    const start = settled();
    const plan = planMembership({
      ...start,
      nodes: [...start.nodes, node(4, { links: [{ number: 0, address: "fd00::4" }] })],
    });
    assert.match(found(plan, "Member", "n4") ?? "", /^False MixedFamilies/);
  });
  test("a check that failed on the host, unless it is to be ignored", () => {
    const prechecks = [{ name: "TimeInSync", passed: false, message: "the clock is 3 s off" }];
    const start = settled();
    const with4 = (given: object) =>
      planMembership({
        ...start,
        nodes: [...start.nodes, node(4, given, { ...node(4).status, prechecks })],
        agents: new Map(start.agents).set("n4", { sight: { state: "Alive" }, fenced: false }),
      });
    assert.match(found(with4({}), "Member", "n4") ?? "", /^False Join: n4 cannot join: the clock is 3 s off/);
    assert.equal(with4({ ignorePrechecks: ["TimeInSync"] }).decision.publish?.config.nodes.at(-1)?.name, "n4");
  });
  test("timings that are not safe are shown and not rolled out", () => {
    const start = settled();
    const plan = planMembership({ ...start, clusters: [cluster({ tokenMilliseconds: 500 })] });
    assert.match(found(plan, "TimingsSafe") ?? "", /^False Unsafe: .*500 ms is refused/);
    assert.match(found(plan, "Ready") ?? "", /^False Unsafe/);
    assert.deepEqual([plan.decision.step, plan.decision.publish], ["ChangeSettings", undefined]);
  });
  test("a change of the cipher under watchdogs that are armed, or of which that is not known", () => {
    const start = settled();
    for (const armed of [true, false]) {
      const n3 = node(3, {}, { ...runs(1), watchdog: { armed, timeoutSeconds: 10 } });
      const nodes = [...start.nodes.slice(0, 2), n3];
      const plan = planMembership({ ...start, nodes, clusters: [cluster({ crypto: { cipher: "AES128" } })] });
      assert.match(
        found(plan, "ConfigInSync") ?? "",
        /^False ChangeSettings: .*that of n3 is, or may be: .*set spec\.ha\.disarm: Freeze first/,
      );
      assert.equal(plan.decision.publish, undefined);
    }
  });
  test("a host name that resolves to something else now", () => {
    const nodes = [
      node(1, { links: [{ number: 0, address: "n1.lab" }] }, runs(1)),
      node(2, {}, runs(1)),
      node(3, {}, runs(1)),
    ];
    const start = settled({ nodes, resolved: new Map([["n1.lab", "10.6.0.1"]]) });
    assert.match(found(planMembership(start), "AddressDrift", "n1") ?? "", /^False NamesAgree/);
    const plan = planMembership({ ...start, resolved: new Map([["n1.lab", "10.6.0.9"]]) });
    assert.match(
      found(plan, "AddressDrift", "n1") ?? "",
      /^True NameChanged: "n1\.lab" resolves to 10\.6\.0\.9 now, and 10\.6\.0\.1 is in use/,
    );
    assert.equal(plan.decision.publish, undefined, "the address in use stays");
  });
  test("topology", () => {
    const two = [1, 2].map((n) => node(n, {}, runs(1)));
    const agents = new Map([1, 2].map((n) => [`n${n}`, alive(n, [1, 2])]));
    assert.match(problem({ nodes: two, agents }, "TopologySound"), /^False TwoNodesNoQDevice/);
    assert.match(problem({ nodes: two, agents }, "Ready"), /^True/);
    assert.match(
      problem({ nodes: [node(1, {}, runs(1))], agents: new Map([["n1", alive(1, [1])]]) }, "TopologySound"),
      /^False SingleNode/,
    );
    const sites = (names: string[]) =>
      names.map((zone, n) => node(n + 1, {}, runs(1), { labels: { "topology.kubernetes.io/zone": zone } }));
    assert.match(problem({ nodes: sites(["a", "a", "b"]) }, "TopologySound"), /^False TwoSites: .*"a"/);
    assert.match(problem({ nodes: sites(["a", "b", "c"]) }, "TopologySound"), /^True Sound: .*any one of 3 sites/);
    assert.match(
      problem({ nodes: [node(1, { votes: 3 }, runs(1)), node(2, {}, runs(1)), node(3, {}, runs(1))] }, "TopologySound"),
      /^False NodeHasTooManyVotes: without n1/,
    );
  });
  test("a QDevice counts for as much as members say that it votes", () => {
    const start = settled({ nodes: [1, 2].map((n) => node(n, {}, runs(1))) });
    assert.ok(start.published);
    const qdevice = { host: "q", port: 5403, algorithm: "ffsplit", tieBreaker: "lowest", votes: 1 } as const;
    const published = { ...start.published, config: { ...start.published.config, qdevice } };
    const device = { host: "q", port: 5403, tieBreaker: "Lowest" as const, allowOddNodes: false };
    const sound = (flags?: string) => {
      const corosync = { running: true, configVersion: 1, ...(flags === undefined ? {} : { qdeviceFlags: flags }) };
      const nodes = [1, 2].map((n) => node(n, {}, { corosync }));
      const agents = new Map([1, 2].map((n) => [`n${n}`, alive(n, [1, 2])]));
      return found(
        planMembership({ ...start, nodes, agents, published, clusters: [cluster({ qdevice: device })] }),
        "TopologySound",
      );
    };
    assert.match(sound("A,V,NMW") ?? "", /^True Sound/);
    for (const flags of [undefined, "NA,NV,NMW", "A,NV,NMW"])
      assert.match(sound(flags) ?? "", /^False TwoNodesNoQDevice: .*no member says that the QDevice votes/, flags);
  });
});

describe("the longest time until a host notices a cut", () => {
  const fast = { tokenMilliseconds: 1650, consensusMilliseconds: 1980 };
  const slow = { tokenMilliseconds: 10_650, consensusMilliseconds: 12_780 };
  const says = (n: number, configVersion: number, times: object = {}) =>
    node(n, {}, { corosync: { running: true, configVersion, ...times } });
  const shown = (plan: Plan) => {
    const { config, timings } = plan.clusterStatuses.get("lab") ?? {};
    return [config?.membershipChangeMilliseconds, timings?.membershipChange?.milliseconds];
  };
  /** A token of 10 s was in force, and 1 s is published; `next` is what the objects say then. */
  const lowered = (nodes: ClusterNode[], agents: [string, AgentReport][] = []) => {
    const before = settled({
      clusters: [cluster({ tokenMilliseconds: 10_000 })],
      nodes: [1, 2, 3].map((n) => says(n, 1, slow)),
    });
    const was = planMembership(before).clusterStatuses.get("lab") ?? {};
    const first = planMembership({ ...before, clusters: [{ ...cluster({ tokenMilliseconds: 1000 }), status: was }] });
    assert.equal(first.decision.publish?.config.tokenMilliseconds, 1000);
    const status = first.clusterStatuses.get("lab") ?? {};
    return planMembership({
      ...before,
      clusters: [{ ...cluster({ tokenMilliseconds: 1000 }), status }],
      published: first.decision.publish,
      publishedForMs: 3_600_000,
      agents: new Map([...before.agents, ...agents]),
      nodes,
    });
  };
  test("falls when every node has said that it runs a shorter token", () => {
    assert.deepEqual(shown(lowered([1, 2, 3].map((n) => says(n, 1, slow)))), [23_430, 23_430]);
    assert.deepEqual(shown(lowered([says(1, 1, slow), says(2, 2, fast), says(3, 2, fast)])), [23_430, 23_430]);
    assert.deepEqual(shown(lowered([1, 2, 3].map((n) => says(n, 2, fast)))), [3630, 3630]);
  });
  test("stays while one is silent, however long, and however little it has ever said", () => {
    const silent: [string, AgentReport] = ["n1", { sight: { state: "Silent", forSeconds: 60 }, fenced: false }];
    const rest = [says(2, 2, fast), says(3, 2, fast)];
    // It may have loaded the longer one since it spoke, when that was published in between.
    for (const n1 of [says(1, 1, slow), says(1, 1, fast), says(1, 1), node(1)])
      assert.deepEqual(shown(lowered([n1, ...rest], [silent])), [23_430, 23_430]);
  });
  test("stays when one says that it runs the newest, and not with which token", () => {
    assert.deepEqual(shown(lowered([says(1, 2), says(2, 2, fast), says(3, 2, fast)])), [23_430, 23_430]);
  });
  test("is remembered while what was published cannot be read, and while settings are refused", () => {
    const status = { config: { version: 2, membershipChangeMilliseconds: 23_430 } };
    const lost = { reason: "ConfigMapBroken", message: "data.state cannot be read" };
    const start = { ...settled(), published: undefined, obstacle: lost };
    const broken = planMembership({ ...start, clusters: [{ ...cluster(), status }] });
    assert.deepEqual(broken.clusterStatuses.get("lab")?.config, { membershipChangeMilliseconds: 23_430 });
    const refused = planMembership({ ...settled(), clusters: [{ ...cluster({ tokenMilliseconds: 500 }), status }] });
    assert.equal(shown(refused)[0], 23_430);
  });
});

describe("an override", () => {
  const override = (expiresAt: string) =>
    planMembership(
      settled({ clusters: [cluster({ quorumOverride: { expectedVotes: 1, reason: "fire", expiresAt } })] }),
    );
  test("is in force until it expires, and a day at most", () => {
    assert.equal(override("2026-11-21T02:00:00Z").decision.publish?.config.expectedVotes, 1);
    assert.match(
      found(override("2026-11-21T02:00:00Z"), "QuorumOverridden") ?? "",
      /^True Overridden: 1 votes are expected until .*because: fire/,
    );
    assert.match(found(override("2026-11-21T00:59:00Z"), "QuorumOverridden") ?? "", /^False Expired/);
    assert.match(found(override("2026-11-23T00:00:00Z"), "QuorumOverridden") ?? "", /^False TooLong/);
    assert.equal(override("2026-11-23T00:00:00Z").decision.publish, undefined);
  });
});

describe("a second Cluster in the namespace", () => {
  test("is the younger one, and is left alone", () => {
    const second = cluster({}, "other", { creationTimestamp: "2026-11-21T00:30:00Z" });
    const plan = planMembership(settled({ clusters: [second, cluster()] }));
    assert.equal(plan.cluster?.metadata.name, "lab");
    const [condition] = plan.clusterStatuses.get("other")?.conditions ?? [];
    assert.deepEqual([condition?.type, condition?.status, condition?.reason], ["Ready", "False", "SecondCluster"]);
    assert.match(condition?.message ?? "", /belongs to Cluster "lab"/);
  });
});

describe("a node that leaves", () => {
  const leaving = { deletionTimestamp: "2026-11-21T00:59:00Z" };
  const without = (changes: Partial<View>, third: ClusterNode, agent: AgentReport = alive(3)) => {
    const start = settled();
    return planMembership({
      ...start,
      nodes: [...start.nodes.slice(0, 2), third],
      agents: new Map(start.agents).set("n3", agent),
      ...changes,
    });
  };
  test("is held by its guests, then by the jobs to it, which are removed", () => {
    const guests = [guest("web1", "n3"), guest("web2", "n1")];
    const jobs = [job("web2", "n3"), job("web1", "n1")];
    const third = node(3, {}, runs(1), leaving);
    const first = without({ guests, jobs }, third);
    assert.match(found(first, "Removable", "n3") ?? "", /^False Needed: guest web1 on n3/);
    assert.match(found(first, "Ready", "n3") ?? "", /^False Leaving: guest web1/);
    assert.deepEqual(first.jobsToRemove, []);
    const second = without({ guests: [guest("web2", "n1")], jobs }, third);
    assert.match(found(second, "Removable", "n3") ?? "", /^False Needed: replication job web2-n3 to n3: being removed/);
    assert.deepEqual(
      second.jobsToRemove.map(({ metadata }) => metadata.name),
      ["web2-n3"],
    );
    const forced = without({ guests, jobs }, node(3, { removalPolicy: "Force" }, runs(1), leaving));
    assert.equal(forced.decision.step, "Leave");
    assert.deepEqual(
      forced.jobsToRemove.map(({ metadata }) => metadata.name),
      ["web2-n3"],
    );
  });
  test("that is not leaving is Removable as long as nothing needs it", () => {
    assert.match(found(without({}, node(3, {}, runs(1))), "Removable", "n3") ?? "", /^True Free/);
    assert.match(
      found(without({ guests: [guest("web1", "n3")] }, node(3, {}, runs(1))), "Removable", "n3") ?? "",
      /^False Needed/,
    );
    assert.deepEqual(without({ jobs: [job("web2", "n3")] }, node(3, {}, runs(1))).jobsToRemove, []);
  });
  test("is in the configuration until it is proven off", () => {
    const start = settled();
    assert.ok(start.published);
    const { config } = start.published;
    const gone: Published = {
      ...start.published,
      admitted: ["n1", "n2"],
      config: { ...config, nodes: config.nodes.map((one) => (one.name === "n3" ? { ...one, votes: 0 } : one)) },
    };
    const agents = (third: AgentReport) =>
      new Map([
        ["n1", alive(1, [1, 2])],
        ["n2", alive(2, [1, 2])],
        ["n3", third],
      ]);
    const plan = (third: ClusterNode, agent: AgentReport) =>
      planMembership({ ...start, published: gone, nodes: [...start.nodes.slice(0, 2), third], agents: agents(agent) });
    const silent: AgentReport = { sight: { state: "Silent", forSeconds: 60 }, fenced: false };
    const dead = plan(node(3, {}, runs(1), leaving), silent);
    assert.match(
      found(dead, "Removable", "n3") ?? "",
      /^False NotProvenOff: n3 does not answer and is not proven off: power it off, then confirm/,
    );
    assert.equal(dead.decision.publish, undefined);
    const isOut = ({ decision }: Plan) => decision.publish?.config.nodes.every(({ name }) => name !== "n3") ?? false;
    assert.ok(isOut(plan(node(3, {}, runs(1), leaving), { sight: { state: "Fenced" }, fenced: true })), "fenced");
    assert.ok(isOut(plan(node(3, { detach: { confirm: "n3" } }, runs(1), leaving), silent)), "confirmed by name");
    assert.ok(
      isOut(plan(node(3, {}, { corosync: { running: false } }, leaving), { sight: { state: "Alive" }, fenced: false })),
      "its agent says so",
    );
    const fencedSince = {
      ...runs(1),
      fence: { lastFence: { at: "2026-11-21T00:30:00Z" } },
      agent: { lastSeen: "2026-11-21T00:29:00Z" },
    };
    assert.ok(isOut(plan(node(3, {}, fencedSince, leaving), silent)), "fenced after it was last seen");
    const fencedBefore = {
      ...runs(1),
      fence: { lastFence: { at: "2026-11-20T00:30:00Z" } },
      agent: { lastSeen: "2026-11-21T00:29:00Z" },
    };
    assert.ok(!isOut(plan(node(3, {}, fencedBefore, leaving), silent)), "it came back since");
  });
  test("is released when it is out of the configuration and off", () => {
    const start = settled({
      nodes: [1, 2].map((n) => node(n, {}, runs(1))),
      agents: new Map([1, 2].map((n) => [`n${n}`, alive(n, [1, 2])])),
    });
    const plan = (status: ClusterNodeStatus) =>
      planMembership({
        ...start,
        nodes: [...start.nodes, node(3, {}, status, leaving)],
        agents: new Map(start.agents).set("n3", { sight: { state: "Alive" }, fenced: false }),
      });
    assert.deepEqual(plan(runs(1)).released, []);
    assert.deepEqual(
      plan({ corosync: { running: false } }).released.map(({ metadata }) => metadata.name),
      ["n3"],
    );
    assert.deepEqual(
      plan({}).released.map(({ metadata }) => metadata.name),
      ["n3"],
      "it never ran",
    );
  });
  test("goes at once when there is no Cluster", () => {
    const plan = planMembership(view({ clusters: [], nodes: [node(1, {}, runs(1), leaving), node(2)] }));
    assert.deepEqual(
      plan.released.map(({ metadata }) => metadata.name),
      ["n1"],
    );
  });
});

test("ids: the smallest never used, in order of age, then of name", () => {
  const fresh = (name: string, creationTimestamp: string): ClusterNode => {
    const { nodeId: _, ...rest } = node(1).spec;
    return { ...node(1), metadata: { name, creationTimestamp }, spec: rest };
  };
  const nodes = [fresh("b", created), fresh("a", created), fresh("old", "2025-01-01T00:00:00Z"), node(5)];
  assert.deepEqual(Object.fromEntries(allocateNodeIds(nodes, 3)), { old: 4, a: 6, b: 7 });
});

test("a cluster does not form while a node has no id: of three that were declared, one would be it", () => {
  const withoutId = (n: number): ClusterNode => {
    const { nodeId: _, ...rest } = node(n).spec;
    return { ...node(n, {}, {}), spec: rest };
  };
  const { decision } = planMembership(view({ nodes: [node(1), withoutId(2), withoutId(3)] }));
  assert.deepEqual(
    [decision.step, decision.node, decision.publish, decision.reason],
    ["WaitForNodes", "n2", undefined, "n2 is to have an id first"],
  );
});
