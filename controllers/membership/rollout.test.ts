import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type CorosyncConfig, normalize, totalVotes } from "./corosync-config.ts";
import { decideRollout } from "./rollout.ts";
import {
  type Desired,
  type DesiredNode,
  LOAD_DEADLINE_MS,
  type NodeObserved,
  type Observed,
  type Published,
} from "./rollout-types.ts";

/** A cluster of agents that load what is published, with their corosyncs. */
class World {
  published: Published | undefined;
  desired: Desired;
  readonly hosts = new Map<string, Host>();
  /** Every configuration that was published, in order. */
  readonly history: Published[] = [];
  readonly steps: string[] = [];
  publishedForMs = 0;
  agentsForMs = 60_000;
  declaredForMs = 60_000;

  constructor(nodes: number, changes: Partial<Desired> = {}) {
    this.desired = desired(nodes, changes);
    for (const node of this.desired.nodes) this.boot(node.name);
  }

  boot(name: string): Host {
    const host = { alive: true, running: false, version: 0, loads: true, brokenLinks: new Set<number>() };
    this.hosts.set(name, host);
    return host;
  }

  host(name: string): Host {
    const host = this.hosts.get(name);
    assert.ok(host, `no host ${name}`);
    return host;
  }

  get config(): CorosyncConfig {
    assert.ok(this.published);
    return this.published.config;
  }

  /** All running corosyncs see each other. */
  get membership(): Set<number> {
    const members = this.published?.config.nodes.filter(({ name }) => this.hosts.get(name)?.running) ?? [];
    return new Set(members.map(({ nodeId }) => nodeId));
  }

  get quorate(): boolean {
    if (this.published === undefined) return false;
    const votes = this.config.nodes.reduce(
      (sum, { nodeId, votes }) => sum + (this.membership.has(nodeId) ? votes : 0),
      this.config.qdevice?.votes ?? 0,
    );
    return votes > (this.config.expectedVotes ?? totalVotes(this.config)) / 2;
  }

  observe(): Observed {
    const nodes = new Map<string, NodeObserved>();
    for (const [name, { alive, running, version, brokenLinks }] of this.hosts) {
      const addresses = this.published?.config.nodes.find((node) => node.name === name)?.addresses ?? [];
      const linksUp = new Map(
        addresses.filter(({ link }) => !brokenLinks.has(link)).map(({ link, address }) => [link, address]),
      );
      nodes.set(name, { alive, running, version, linksUp });
    }
    return {
      nodes,
      membership: this.quorate ? this.membership : undefined,
      publishedForMs: this.publishedForMs,
      agentsForMs: this.agentsForMs,
      declaredForMs: this.declaredForMs,
    };
  }

  /** The controller looks once. */
  decide() {
    const decision = decideRollout(this.published, this.desired, this.observe());
    const { step, node, publish } = decision;
    const line = node === undefined ? step : `${step} ${node}`;
    if (this.steps.at(-1) !== line) this.steps.push(line);
    if (publish !== undefined) {
      this.published = publish;
      this.history.push(publish);
      this.publishedForMs = 0;
    }
    return decision;
  }

  /** The agents load what is published, if they can. */
  load(): void {
    const { published } = this;
    if (published === undefined) return;
    for (const [name, host] of this.hosts) {
      if (!host.alive) continue;
      const known = published.config.nodes.some((node) => node.name === name);
      if (!published.admitted.includes(name) || !known) host.running = false;
      else if (host.loads) Object.assign(host, { running: true, version: published.version });
    }
  }

  settle(): void {
    for (let turn = 0; turn < 200; turn += 1) {
      const { publish, step } = this.decide();
      this.load();
      if (publish === undefined && step === "Stable") return;
      this.publishedForMs += 1000;
    }
    assert.fail(`it does not settle: ${this.steps.join(", ")}`);
  }

  change(name: string, changes: Partial<DesiredNode>): void {
    this.desired = {
      ...this.desired,
      nodes: this.desired.nodes.map((node) => (node.name === name ? { ...node, ...changes } : node)),
    };
  }
}

interface Host {
  alive: boolean;
  running: boolean;
  version: number;
  loads: boolean;
  brokenLinks: Set<number>;
}

const wish = (n: number): DesiredNode => ({ name: `n${n}`, nodeId: n, votes: 1 });

/** @param networks link number -> the third number of its addresses */
const linksOf = (names: readonly string[], networks: Record<number, number>) =>
  Object.entries(networks).map(([number, net]) => ({
    number: Number(number),
    priority: 1,
    addresses: new Map(names.map((name) => [name, { address: `10.6.${net}.${name.slice(1)}` }])),
  }));

const ALL = ["n1", "n2", "n3", "n4", "n5", "n6"];

function desired(nodes: number, changes: Partial<Desired> = {}): Desired {
  return {
    clusterName: "lab",
    cipher: "aes256",
    hash: "sha256",
    tokenMilliseconds: 3000,
    tokenCoefficientMilliseconds: 125,
    realtime: true,
    links: linksOf(ALL, { 0: 0, 1: 1 }),
    nodes: Array.from({ length: nodes }, (_, n) => wish(n + 1)),
    ...changes,
  };
}

const votesOf = ({ nodes }: CorosyncConfig) => Object.fromEntries(nodes.map(({ name, votes }) => [name, votes]));
const networksOf = ({ nodes }: CorosyncConfig) =>
  nodes[0]?.addresses.map(({ link, address }) => `${link}=${address.split(".")[2]}`).join(" ");

describe("forming a cluster", () => {
  test("admits all nodes that have an agent at once", () => {
    const world = new World(3);
    world.settle();
    assert.deepEqual(world.steps, ["Form", "Formed", "Stable"]);
    assert.equal(world.history[0]?.version, 1);
    assert.deepEqual(world.published?.admitted, ["n1", "n2", "n3"]);
    assert.deepEqual(votesOf(world.config), { n1: 1, n2: 1, n3: 1 });
  });
  test("waits a while for a missing agent, then begins without it", () => {
    const world = new World(3);
    world.host("n3").alive = false;
    world.change("n3", { notReady: "waiting for the agent of n3" });
    world.agentsForMs = 1000;
    assert.equal(world.decide().step, "WaitForAgents");
    world.agentsForMs = 20_000;
    world.decide();
    assert.deepEqual(votesOf(world.config), { n1: 1, n2: 1 });
  });
  test("does not begin with a part of what one apply declares", () => {
    const world = new World(3);
    world.declaredForMs = 999;
    assert.equal(world.decide().step, "WaitForNodes");
    world.declaredForMs = 1_000;
    const { desired: all } = world;
    // The ids are written one after the other, and seen so.
    world.desired = { ...all, nodes: all.nodes.slice(0, 2), unnumbered: "n3" };
    assert.equal(world.decide().step, "WaitForNodes");
    world.desired = all;
    assert.equal(world.decide().step, "Form");
  });
  test("a mistake can be corrected before the first quorum", () => {
    const world = new World(2);
    world.decide();
    world.desired = { ...world.desired, links: linksOf(ALL, { 0: 9 }) };
    world.decide();
    assert.equal(networksOf(world.config), "0=9");
    assert.equal(world.published?.version, 2);
  });
  test("without nodes nothing happens, and it says so", () => {
    const { step, reason, publish } = decideRollout(undefined, desired(0), new World(0).observe());
    assert.deepEqual([step, publish], ["WaitForAgents", undefined]);
    assert.match(reason, /apply one for each host/);
  });
});

describe("a fourth node joins", () => {
  test("members first, without a vote, then it starts, then it votes", () => {
    const world = new World(3);
    world.settle();
    world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(4)] };
    world.boot("n4");
    const before = world.history.length;
    world.settle();
    const seen = world.history.slice(before).map(({ version, config, admitted }) => ({
      version,
      votes: votesOf(config).n4,
      starts: admitted.includes("n4"),
    }));
    assert.deepEqual(seen, [
      { version: 2, votes: 0, starts: false },
      { version: 2, votes: 0, starts: true },
      { version: 3, votes: 1, starts: true },
    ]);
  });
  test("is not admitted while one member has not loaded the configuration", () => {
    const world = new World(3);
    world.settle();
    world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(4)] };
    world.boot("n4");
    world.host("n2").loads = false;
    world.decide();
    world.load();
    for (let turn = 0; turn < 5; turn += 1)
      assert.deepEqual([world.decide().step, world.published?.admitted.includes("n4")], ["Load", false]);
  });
  test("that never starts costs nobody the quorum", () => {
    const world = new World(1);
    world.settle();
    world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(2)] };
    world.boot("n2").loads = false;
    for (let turn = 0; turn < 20; turn += 1) {
      world.decide();
      world.load();
      assert.ok(world.quorate);
    }
    assert.deepEqual(votesOf(world.config), { n1: 1, n2: 0 });
  });
  test("waits until all nodes are members", () => {
    const world = new World(3);
    world.settle();
    Object.assign(world.host("n3"), { alive: false, running: false });
    world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(4)] };
    world.boot("n4");
    assert.match(world.decide().reason, /n4 joins when all nodes are members; n3 is not/);
  });
});

describe("a node leaves", () => {
  test("its vote first, then its corosync stops, then it is out of the configuration", () => {
    const world = new World(3);
    world.settle();
    world.change("n3", { leaving: {} });
    const before = world.history.length;
    world.settle();
    const seen = world.history
      .slice(before)
      .map(({ config, admitted }) => ({ votes: votesOf(config).n3, runs: admitted.includes("n3") }));
    assert.deepEqual(seen, [
      { votes: 0, runs: true },
      { votes: 0, runs: false },
      { votes: undefined, runs: false },
    ]);
    assert.equal(world.published?.highestNodeId, 3, "its id is not given out again");
  });
  test("from two nodes, without a moment without quorum", () => {
    const world = new World(2);
    world.settle();
    world.change("n2", { leaving: {} });
    for (let turn = 0; turn < 10; turn += 1) {
      world.decide();
      world.load();
      assert.ok(world.quorate, world.steps.join());
    }
    assert.deepEqual(votesOf(world.config), { n1: 1 });
  });
  test("not while guests need it, and not out of the configuration before it is proven off", () => {
    const world = new World(3);
    world.settle();
    world.change("n3", { leaving: { neededBy: "guest web1 is on n3" } });
    assert.deepEqual([world.decide().reason, world.published?.version], ["guest web1 is on n3", 1]);
    Object.assign(world.host("n3"), { alive: false, running: false });
    world.change("n3", { leaving: { notOff: "n3 is not proven off" } });
    for (let turn = 0; turn < 10; turn += 1) {
      world.decide();
      world.load();
    }
    assert.deepEqual([world.decide().reason, votesOf(world.config).n3], ["n3 is not proven off", 0]);
    world.change("n3", { leaving: {} });
    world.settle();
    assert.deepEqual(votesOf(world.config), { n1: 1, n2: 1 });
  });
  test("the last node stays", () => {
    const world = new World(1);
    world.settle();
    world.change("n1", { leaving: {} });
    assert.match(world.decide().reason, /n1 is the last node; delete the Cluster/);
  });
  test("whose object was removed by force leaves when it is no member", () => {
    const world = new World(3);
    world.settle();
    world.desired = { ...world.desired, nodes: world.desired.nodes.slice(0, 2) };
    world.settle();
    assert.deepEqual(votesOf(world.config), { n1: 1, n2: 1 });
  });
});

describe("links", () => {
  const networks = (world: World, from: number) => world.history.slice(from).map(({ config }) => networksOf(config));
  test("one is added, verified, and the old one removed", () => {
    const world = new World(3, { links: linksOf(ALL, { 0: 0 }) });
    world.settle();
    const before = world.history.length;
    world.desired = { ...world.desired, links: linksOf(ALL, { 1: 1 }) };
    world.settle();
    assert.deepEqual(networks(world, before), ["0=0 1=1", "1=1"]);
  });
  test("the only link moves by way of a spare one", () => {
    const world = new World(3, { links: linksOf(ALL, { 0: 0 }) });
    world.settle();
    const before = world.history.length;
    world.desired = { ...world.desired, links: linksOf(ALL, { 0: 9 }) };
    world.settle();
    assert.deepEqual(networks(world, before), ["0=0 7=9", "7=9", "0=9 7=9", "0=9"]);
  });
  test("one of two moves while the other carries the traffic", () => {
    const world = new World(3);
    world.settle();
    const before = world.history.length;
    world.desired = { ...world.desired, links: linksOf(ALL, { 0: 9, 1: 1 }) };
    world.settle();
    assert.deepEqual(networks(world, before), ["1=1", "0=9 1=1"]);
  });
  test("the last that works is not taken away", () => {
    const world = new World(3);
    world.settle();
    world.host("n2").brokenLinks.add(1);
    world.desired = { ...world.desired, links: linksOf(ALL, { 0: 9, 1: 1 }) };
    assert.match(world.decide().reason, /repair link 1 first/);
    assert.equal(world.published?.version, 1);
  });
  test("a new one that does not reach a node is taken back, and not tried again at once", () => {
    const world = new World(3, { links: linksOf(ALL, { 0: 0 }) });
    world.settle();
    world.host("n3").brokenLinks.add(1);
    world.desired = { ...world.desired, links: linksOf(ALL, { 0: 0, 1: 1 }) };
    world.decide();
    world.load();
    assert.deepEqual([world.decide().step, networksOf(world.config)], ["Load", "0=0 1=1"]);
    world.publishedForMs = LOAD_DEADLINE_MS;
    const reverted = world.decide();
    assert.deepEqual(
      [reverted.step, reverted.node, networksOf(world.config), world.published?.version],
      ["Revert", "n3", "0=0", 3],
    );
    world.load();
    assert.equal(world.decide().step, "Reverted");
    assert.match(world.decide().reason, /AddLink was reverted: link 1 of n3 does not reach all members/);
    world.publishedForMs = 600_000;
    world.host("n3").brokenLinks.clear();
    world.settle();
    assert.equal(networksOf(world.config), "0=0 1=1");
  });
  test("one on which a node has no address waits, and says which", () => {
    const world = new World(3, { links: linksOf(ALL, { 0: 0 }) });
    world.settle();
    world.desired = { ...world.desired, links: [...linksOf(ALL, { 0: 0 }), ...linksOf(["n1", "n3"], { 1: 1 })] };
    assert.match(world.decide().reason, /link 1 changes when every node has an address on it; n2 has none/);
  });
});

describe("cipher and hash", () => {
  test("change while no watchdog is armed", () => {
    const world = new World(3);
    world.settle();
    world.desired = { ...world.desired, cipher: "aes128" };
    world.settle();
    assert.equal(world.config.cipher, "aes128");
  });
  test("wait while one is, and other settings do not", () => {
    const world = new World(3);
    world.settle();
    world.desired = { ...world.desired, cipher: "aes128", tokenMilliseconds: 4000, cryptoHeld: "a watchdog is armed" };
    world.decide();
    world.load();
    assert.deepEqual([world.config.cipher, world.config.tokenMilliseconds], ["aes256", 4000]);
    assert.equal(world.decide().reason, "a watchdog is armed");
    world.desired = { ...world.desired, cipher: "aes256" };
    assert.equal(world.decide().step, "Stable");
  });
});

describe("a member that does not take a change", () => {
  test("makes it revert after a while, and other changes go on", () => {
    const world = new World(3);
    world.settle();
    world.host("n2").loads = false;
    world.desired = { ...world.desired, tokenMilliseconds: 5000 };
    world.decide();
    world.load();
    assert.equal(world.decide().step, "Load");
    world.publishedForMs = LOAD_DEADLINE_MS;
    assert.deepEqual([world.decide().step, world.config.tokenMilliseconds], ["Revert", 3000]);
    world.host("n2").loads = true;
    world.load();
    assert.equal(world.decide().step, "Reverted");
    world.change("n3", { leaving: {} });
    for (let turn = 0; turn < 10; turn += 1) {
      world.decide();
      world.load();
    }
    assert.equal(votesOf(world.config).n3, undefined);
  });
  test("because its agent is silent holds everything up, and nothing is reverted", () => {
    const world = new World(3);
    world.settle();
    world.host("n2").alive = false;
    world.desired = { ...world.desired, tokenMilliseconds: 5000 };
    world.publishedForMs = LOAD_DEADLINE_MS * 2;
    const { step, node, publish, reason } = world.decide();
    assert.deepEqual([step, node, publish], ["ChangeSettings", "n2", undefined]);
    assert.match(reason, /held, because the agent of n2 is silent/);
    world.host("n2").version = 0;
    assert.deepEqual([world.decide().step, world.published?.version], ["Load", 1]);
  });
});

describe("quorum", () => {
  test("without it nothing changes", () => {
    const world = new World(3);
    world.settle();
    for (const name of ["n2", "n3"]) Object.assign(world.host(name), { alive: false, running: false });
    world.desired = { ...world.desired, tokenMilliseconds: 5000 };
    assert.deepEqual([world.decide().step, world.published?.version], ["WaitForQuorum", 1]);
  });
  test("an override changes the votes to expect and nothing else, and is taken back", () => {
    const world = new World(3);
    world.settle();
    for (const name of ["n2", "n3"]) Object.assign(world.host(name), { alive: false, running: false });
    world.desired = { ...world.desired, override: { expectedVotes: 1 }, tokenMilliseconds: 5000 };
    world.decide();
    assert.deepEqual(
      [world.config.expectedVotes, world.config.tokenMilliseconds, world.published?.version],
      [1, 3000, 2],
    );
    world.load();
    assert.equal(world.decide().step, "Overridden");
    for (const name of ["n2", "n3"]) world.host(name).alive = true;
    world.load();
    const { override: _, ...rest } = world.desired;
    world.desired = rest;
    world.settle();
    assert.deepEqual([world.config.expectedVotes, world.config.tokenMilliseconds], [undefined, 5000]);
  });
  test("votes change by one at a time, and never all to none", () => {
    const world = new World(3);
    world.settle();
    world.change("n1", { votes: 3 });
    const before = world.history.length;
    world.settle();
    assert.deepEqual(
      world.history.slice(before).map(({ config }) => votesOf(config).n1),
      [2, 3],
    );
    for (const name of ["n1", "n2", "n3"]) world.change(name, { votes: 0 });
    for (let turn = 0; turn < 10; turn += 1) {
      world.decide();
      world.load();
    }
    assert.match(world.decide().reason, /no node would have a vote/);
    assert.equal(totalVotes(world.config), 1);
  });
  test("a change that would take it from the nodes that are there is held", () => {
    const world = new World(3);
    world.settle();
    Object.assign(world.host("n3"), { alive: false, running: false });
    world.change("n1", { votes: 0 });
    assert.match(world.decide().reason, /held, because the nodes that are there would no longer be a majority/);
  });
});

describe("a QDevice", () => {
  const device = { host: "10.6.0.99", port: 5403, algorithm: undefined, tieBreaker: "lowest", allowOddNodes: false };
  test("comes when all nodes are members, goes while a node joins, and comes back", () => {
    const world = new World(2, { qdevice: device });
    world.settle();
    assert.deepEqual(world.config.qdevice, {
      host: "10.6.0.99",
      port: 5403,
      algorithm: "ffsplit",
      tieBreaker: "lowest",
      votes: 1,
    });
    world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(3), wish(4)] };
    for (const name of ["n3", "n4"]) world.boot(name);
    world.steps.length = 0;
    world.settle();
    assert.deepEqual(world.steps, [
      "SuspendQDevice",
      "Join n3",
      "ChangeVotes n3",
      "Join n4",
      "ChangeVotes n4",
      "AddQDevice",
      "Stable",
    ]);
  });
  test("on an odd number of nodes is refused with the reason, unless allowed", () => {
    const world = new World(3, { qdevice: device });
    for (let turn = 0; turn < 5; turn += 1) {
      world.decide();
      world.load();
    }
    assert.match(world.decide().reason, /losing it and one node stops the cluster/);
    world.desired = { ...world.desired, qdevice: { ...device, allowOddNodes: true } };
    world.settle();
    assert.deepEqual([world.config.qdevice?.algorithm, world.config.qdevice?.votes], ["lms", 2]);
  });
  test("is not taken out while it is what makes the rest quorate", () => {
    const world = new World(2, { qdevice: device });
    world.settle();
    Object.assign(world.host("n2"), { alive: false, running: false });
    const { qdevice: _, ...rest } = world.desired;
    world.desired = rest;
    assert.match(world.decide().reason, /held, because/);
  });
});

describe("what was published is lost", () => {
  test("it is made again from what runs, with a greater version", () => {
    const world = new World(3);
    world.settle();
    const { config } = world;
    const seen = world.observe();
    const { publish, step } = decideRollout(undefined, world.desired, seen);
    assert.deepEqual([step, publish?.version, publish?.formed], ["Recover", 2, true]);
    assert.deepEqual(publish?.config, normalize(config));
  });
  test("an older copy that was put back gets a greater version than any that runs", () => {
    const world = new World(2);
    world.settle();
    const old = world.published;
    world.desired = { ...world.desired, tokenMilliseconds: 4000 };
    world.settle();
    world.desired = { ...world.desired, tokenMilliseconds: 5000 };
    world.settle();
    world.published = old;
    world.decide();
    assert.deepEqual([world.published?.version, world.config.tokenMilliseconds], [4, 3000]);
    world.settle();
    assert.equal(world.config.tokenMilliseconds, 5000);
  });
});

describe("whatever happens in whatever order", () => {
  type Act = (world: World) => void;
  const names = fc.constantFrom(...ALL);
  const acts: fc.Arbitrary<Act> = fc.oneof(
    names.map(
      (name): Act =>
        (world) => {
          if (world.desired.nodes.some((node) => node.name === name)) return;
          world.desired = { ...world.desired, nodes: [...world.desired.nodes, wish(Number(name.slice(1)))] };
          if (!world.hosts.has(name)) world.boot(name);
        },
    ),
    names.map(
      (name): Act =>
        (world) =>
          world.change(name, { leaving: {} }),
    ),
    fc.tuple(names, fc.integer({ min: 0, max: 3 })).map(
      ([name, votes]): Act =>
        (world) =>
          world.change(name, { votes }),
    ),
    fc.constantFrom<Record<number, number>>({ 0: 0, 1: 1 }, { 0: 0 }, { 0: 9, 1: 1 }, { 1: 1 }, { 0: 9 }).map(
      (networks): Act =>
        (world) => {
          world.desired = { ...world.desired, links: linksOf(ALL, networks) };
        },
    ),
    fc.integer({ min: 1, max: 9 }).map(
      (n): Act =>
        (world) => {
          world.desired = { ...world.desired, tokenMilliseconds: n * 1000 };
        },
    ),
    fc.tuple(names, fc.boolean()).map(
      ([name, alive]): Act =>
        (world) => {
          const host = world.hosts.get(name);
          // A host that dies takes its corosync along; one that comes back loads before it starts.
          if (host) Object.assign(host, alive ? { alive } : { alive, running: false });
        },
    ),
    fc.tuple(names, fc.boolean()).map(
      ([name, loads]): Act =>
        (world) => {
          const host = world.hosts.get(name);
          if (host) host.loads = loads;
        },
    ),
    fc.constant<Act>((world) => {
      world.publishedForMs += LOAD_DEADLINE_MS;
    }),
    fc.constant<Act>((world) => world.load()),
    fc.constant<Act>((world) => {
      world.decide();
    }),
  );

  test("versions grow by one, majorities of neighbours meet, a common link stays, and in the end all is as asked", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(acts, { maxLength: 60, size: "max" }), (nodes, sequence) => {
        const world = new World(nodes);
        world.settle();
        for (const act of sequence) {
          const before = world.published;
          const lagging = [...world.hosts].filter(
            ([name, host]) => before?.admitted.includes(name) && host.running && host.version !== before.version,
          );
          const wasQuorate = world.quorate;
          act(world);
          const after = world.published;
          if (before === undefined || after === undefined || before === after) continue;
          checkStep(before, after);
          const reverts = after.refused !== undefined && before.refused === undefined;
          if (after.version !== before.version && !reverts)
            assert.deepEqual(lagging, [], "changed while a member lagged");
          if (after.version !== before.version && !reverts)
            assert.ok(wasQuorate && world.quorate, "changed without quorum, or to none");
        }
        converge(world);
      }),
      { numRuns: 500 },
    );
  });

  function checkStep(before: Published, after: Published): void {
    assert.ok(after.version - before.version <= 1 && after.version >= before.version);
    if (after.version === before.version) assert.deepEqual(after.config, before.config);
    const [a, b] = [votesOf(before.config), votesOf(after.config)];
    const changed = [...new Set([...Object.keys(a), ...Object.keys(b)])].map((name) =>
      Math.abs((a[name] ?? 0) - (b[name] ?? 0)),
    );
    assert.ok(changed.reduce((sum, one) => sum + one, 0) <= 1, `votes ${JSON.stringify(a)} -> ${JSON.stringify(b)}`);
    const gone = before.config.nodes.filter(({ name }) => !after.config.nodes.some((node) => node.name === name));
    for (const { name, votes } of gone)
      assert.ok(votes === 0 && !before.admitted.includes(name), `${name} was dropped with a vote or running`);
    const isKept = (node: CorosyncConfig["nodes"][number]) =>
      node.addresses.some(({ link, address }) =>
        after.config.nodes.some(
          ({ name, addresses }) =>
            name === node.name && addresses.some((one) => one.link === link && one.address === address),
        ),
      );
    for (const node of before.config.nodes.filter((one) => !gone.includes(one)))
      assert.ok(isKept(node), `${node.name} kept no link`);
    for (const name of after.admitted)
      assert.ok(
        before.config.nodes.some((node) => node.name === name),
        `${name} starts before the members know it`,
      );
  }

  /** Everything is repaired: then everything asked for comes about. */
  function converge(world: World): void {
    const nodes = world.desired.nodes.map((node) =>
      node.leaving ? node : { ...node, votes: Math.max(1, node.votes) },
    );
    world.desired = {
      ...world.desired,
      nodes: nodes.some(({ leaving }) => leaving === undefined) ? nodes : [...nodes, wish(9)],
      links: linksOf([...ALL, "n9"], { 0: 0, 1: 1 }),
    };
    for (const { name } of world.desired.nodes) if (!world.hosts.has(name)) world.boot(name);
    for (const host of world.hosts.values()) Object.assign(host, { alive: true, loads: true });
    world.load();
    world.publishedForMs = 1_000_000;
    world.settle();
    const staying = world.desired.nodes.filter(({ leaving }) => leaving === undefined);
    assert.deepEqual(
      votesOf(world.config),
      Object.fromEntries(staying.sort((a, b) => a.nodeId - b.nodeId).map(({ name, votes }) => [name, votes])),
    );
    assert.equal(networksOf(world.config), "0=0 1=1");
    assert.equal(world.config.tokenMilliseconds, world.desired.tokenMilliseconds);
  }
});
