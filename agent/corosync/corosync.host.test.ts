import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { processLog } from "../../log.ts";
import { applyConfig, BACKUP_PATH, CONF_PATH, type Quorum, QuorumWatch, readQuorum, readStatus } from "./index.ts";
import { makeRing, type Ring, type RingNode, ringUnavailable, until } from "./testing/ring.ts";

const TIMEOUT_MS = 2000;

/** The tests are one story on one ring, in order. */
describe("a ring of real corosyncs", { skip: ringUnavailable() }, () => {
  let ring: Ring;
  let n1: RingNode;
  let n2: RingNode;
  let n3: RingNode;

  before(async () => {
    ring = await makeRing({ tokenMilliseconds: 1000 });
    n1 = await ring.addNode();
    n2 = await ring.addNode();
    n3 = await ring.addNode();
  });
  after(async () => ring?.[Symbol.asyncDispose]());

  const ask = (node: RingNode): Promise<Quorum> => readQuorum(node.host, { timeoutMs: TIMEOUT_MS });
  async function untilVotes(total: number, ...nodes: RingNode[]): Promise<number> {
    let last = "";
    const everywhere = async () => {
      const answers = await Promise.all(nodes.map(ask));
      last = JSON.stringify(answers);
      return answers.every((quorum) => quorum.state === "Running" && quorum.quorate && quorum.votes.total === total);
    };
    return until(
      `${total} votes on ${nodes.map(({ id }) => `n${id}`).join(", ")}`,
      everywhere,
      () => `${last}\n${nodes[0]?.log()}`,
    );
  }
  const silentLog = () => {
    const log = processLog("test");
    log.level = "silent";
    return log;
  };

  test("a first configuration is written to hosts without one, and they form a ring", async () => {
    assert.equal((await ask(n1)).state, "Stopped");
    for (const node of ring.nodes) {
      const wanted = { conf: ring.config(1, [1, 2, 3]), version: 1, nodeId: node.id, authkey: ring.authkey };
      assert.deepEqual(await applyConfig(node.host, wanted), { outcome: "Written", version: 1 });
      node.start();
    }
    await untilVotes(3, n1, n2, n3);
  });

  test("its status: quorum, members, versions, links with their peers", async () => {
    const { quorum, version, running } = await readStatus(n1.host, { timeoutMs: TIMEOUT_MS });
    assert.ok(quorum.state === "Running");
    assert.equal(quorum.nodeId, 1);
    assert.deepEqual(
      quorum.members.map(({ nodeId }) => nodeId),
      [1, 2, 3],
    );
    assert.deepEqual(quorum.votes, { expected: 3, highestExpected: 3, total: 3, needed: 2 });
    assert.deepEqual(quorum.flags, ["Quorate"]);
    assert.match(version ?? "", /^3\./);
    assert.ok(running !== undefined);
    assert.equal(running.configVersion, 1);
    assert.equal(running.clusterName, "ring");
    assert.deepEqual(running.configuredNodes, [1, 2, 3]);
    assert.equal(running.tokenMilliseconds, 1125);
    assert.deepEqual(
      running.links.map(({ number, address, peers }) => [
        number,
        address,
        peers.map(({ nodeId, connected }) => [nodeId, connected]),
      ]),
      [0, 1].map((l) => [
        l,
        `10.9.${l}.1`,
        [
          [2, true],
          [3, true],
        ],
      ]),
    );
  });

  test("one of two links down is seen on that link, and quorum is kept", async () => {
    n3.link("down", 0);
    const linkToN3 = async (number: number) => {
      const { running } = await readStatus(n1.host, { timeoutMs: TIMEOUT_MS });
      return running?.links[number]?.peers.find(({ nodeId }) => nodeId === 3)?.connected;
    };
    await until("n1 sees link 0 to n3 down", async () => (await linkToN3(0)) === false);
    assert.equal(await linkToN3(1), true);
    await untilVotes(3, n1, n2, n3);
    n3.link("up", 0);
    await until("n1 sees link 0 to n3 up", async () => (await linkToN3(0)) === true);
  });

  test("a fourth node is added live: the members first, the new node last", async () => {
    const conf = ring.config(2, [1, 2, 3, 4]);
    for (const { host, id } of [n1, n2, n3]) {
      assert.deepEqual(await applyConfig(host, { conf, version: 2, nodeId: id, authkey: ring.authkey }), {
        outcome: "Loaded",
        version: 2,
      });
      assert.deepEqual(await applyConfig(host, { conf, version: 2, nodeId: id, authkey: ring.authkey }), {
        outcome: "Unchanged",
        version: 2,
      });
    }
    const n4 = await ring.addNode();
    await applyConfig(n4.host, { conf, version: 2, nodeId: 4, authkey: ring.authkey });
    n4.start();
    await untilVotes(4, n1, n4);
  });

  test("a configuration that corosync refuses is taken back, and the ring is as before", async () => {
    const before = String(await n1.host.readFile(CONF_PATH));
    const conf = ring.config(3, [1, 2, 3, 4]).replace("crypto_cipher: aes256", "crypto_cipher: rot13");
    await assert.rejects(applyConfig(n1.host, { conf, version: 3, nodeId: 1 }), {
      reason: "ConfigNotLoaded",
      message: /did not take config_version 3.*config_version 2 was put back and runs/,
    });
    assert.equal(String(await n1.host.readFile(CONF_PATH)), before);
    assert.equal((await readStatus(n1.host, { timeoutMs: TIMEOUT_MS })).running?.configVersion, 2);
    await untilVotes(4, n1, n2, n3);
  });

  test("a frozen corosync is Unresponsive within the time-out, on the watch too, and nothing is written under it", async () => {
    const states: string[] = [];
    const watch = new QuorumWatch({
      host: n2.host,
      log: silentLog(),
      timeoutMs: 1000,
      intervalMs: 200,
      onChange: ({ quorum }) => states.push(quorum.state),
    });
    watch.start();
    await until("the watch sees it running", async () => states.includes("Running"));
    n2.signal("SIGSTOP");
    const frozenAt = performance.now();
    assert.equal((await readQuorum(n2.host, { timeoutMs: 1000 })).state, "Unresponsive");
    assert.ok(performance.now() - frozenAt < 2000, "said in time");
    await until("the watch sees it frozen", async () => states.at(-1) === "Unresponsive");
    await assert.rejects(applyConfig(n2.host, { conf: ring.config(4, [1, 2, 3, 4]), version: 4, nodeId: 2 }), {
      reason: "NodeNotQuorate",
    });
    assert.equal(
      await n2.host.readFile(BACKUP_PATH).then((backup) => /config_version: 1$/m.test(String(backup))),
      true,
      "the backup is still the one of the last change",
    );
    n2.signal("SIGCONT");
    await until("the watch sees it running again", async () => states.at(-1) === "Running");
    await watch.stop();
    await untilVotes(4, n1, n2);
  });

  test("a cut is seen on both sides; the side without quorum changes nothing", async () => {
    const reports: boolean[] = [];
    const watch = new QuorumWatch({
      host: n3.host,
      log: silentLog(),
      onChange: ({ quorum }) => reports.push(quorum.state === "Running" && quorum.quorate),
    });
    watch.start();
    await until("the watch on n3 sees quorum", async () => reports.at(-1) === true);
    n3.link("down");
    await until("the watch on n3 sees the loss of quorum", async () => reports.at(-1) === false);
    await untilVotes(3, n1, n2);
    const wanted = { conf: ring.config(5, [1, 2, 3, 4]), version: 5, nodeId: 3 };
    await assert.rejects(applyConfig(n3.host, wanted), { reason: "NodeNotQuorate", message: /not quorate/ });
    assert.match(String(await n3.host.readFile(CONF_PATH)), /config_version: 2$/m);
    n3.link("up");
    await until("the watch on n3 sees quorum again", async () => reports.at(-1) === true);
    await watch.stop();
    await untilVotes(4, n1, n2, n3);
  });
});
