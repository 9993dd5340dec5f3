import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { QuorateError } from "../../errors.ts";
import type { VolumeRef } from "../storage/index.ts";
import { until, zfsFuseMissing } from "../storage/testing/index.ts";
import { type ReplicationResult, replicate } from "./index.ts";
import { checksum, scribble, shell, snapshots, TestNodes, volumeRef } from "./testing/index.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;
const POOL_BYTES = 256 * MIB;

let lab: TestNodes;
let vmid = 200;
let root: VolumeRef;

before(async () => {
  if (!skip) lab = await TestNodes.start({ n1: POOL_BYTES, n2: POOL_BYTES, n3: POOL_BYTES, n4: POOL_BYTES });
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

// A guest of its own for each test, on n1, with 4 MiB of data.
beforeEach(async () => {
  if (skip) return;
  vmid += 1;
  root = volumeRef("root", vmid);
  await lab.node("n1").storage.ensureVolume(root, { sizeBytes: 8 * MIB });
  await scribble(lab.node("n1"), root, { mib: 4 });
});

const nodes = ["n1", "n2", "n3", "n4"];

/** A run of the guest's job with this number; whatever was there before, 1 MiB is written first. */
async function run(
  number: number,
  from: string,
  to: string,
): Promise<Extract<ReplicationResult, { outcome: "Succeeded" }>> {
  await scribble(lab.node(from), root, { mib: 1, at: number % 4 });
  const result = await replicate(
    {
      job: `${vmid}-${number}`,
      source: from,
      target: to,
      volumes: [root],
      nodes,
      mayHave: nodes,
      jobs: [`${vmid}-0`, `${vmid}-1`, `${vmid}-2`],
    },
    lab.parts(lab.node(from), lab.node(to)),
  );
  assert.ok(
    result.outcome === "Succeeded",
    result.outcome === "Failed" ? `${result.reason}: ${result.message}\n${result.log.join("\n")}` : "",
  );
  assert.equal(await checksum(lab.node(to), root), await checksum(lab.node(from), root), `${to} differs from ${from}`);
  return result;
}

const kindOf = (result: Extract<ReplicationResult, { outcome: "Succeeded" }>) => result.volumes.map(({ kind }) => kind);
const kept = async (node: string) =>
  (await shell(lab.node(node), `zfs list -H -o name -t filesystem | grep kept-vm-${vmid}- || true`))
    .split("\n")
    .filter(Boolean);

/** Userland ZFS hears of the last close of a file some moments later. */
function unmount(name: string, dataset: string): Promise<unknown> {
  return until(`${name} to unmount ${dataset}`, () =>
    lab
      .node(name)
      .zfs.zfs("unmount", dataset)
      .then(
        () => true,
        () => false,
      ),
  );
}

/** As the guide says; it is mounted. */
async function destroyKept(name: string, branch: string): Promise<void> {
  await unmount(name, branch);
  await lab.node(name).zfs.zfs("destroy", "-r", branch);
}

describe("the guest is recovered on n2 after n1 died", { skip }, () => {
  for (const [last, runs] of Object.entries({
    "n2, which had both": [1, 0, 1, 0],
    "n2, for the first time": [1, 0],
    "n3, for the first time": [0, 1],
    "n3, which was ahead": [0, 1, 0, 1],
  }))
    test(`the last that n1 copied to was ${last}: the job to n3 goes on from n2 with the difference only`, async () => {
      for (const number of runs) await run(number, "n1", number === 0 ? "n2" : "n3");
      const ahead = runs.at(-1) === 1;
      const before = ahead ? await checksum(lab.node("n3"), root) : "";
      await lab.node("n2").storage.activate(root);

      const first = await run(1, "n2", "n3");
      assert.deepEqual(kindOf(first), ["incremental"]);
      assert.ok(first.bytes < 3 * MIB, `${first.bytes} bytes`);

      const n3 = lab.node("n3").zfs;
      const branches = await kept("n3");
      assert.equal(branches.length, ahead ? 1 : 0, "what n3 had beyond n2 is kept");
      for (const branch of branches) {
        await n3.zfs("mount", branch);
        const sum = await shell(lab.node("n3"), `sha256sum /run/pool/guests/${branch.split("/").at(-1)}/disk.raw`);
        assert.equal(sum.split(" ")[0], before);
        assert.match(first.log.join("\n"), /that data is kept there as tank\/guests\/kept-vm-/);
      }
      assert.deepEqual(kindOf(await run(1, "n2", "n3")), ["incremental"], "and so the next one");
      // Consent: the administrator destroys it, and nothing of ours is in the way.
      for (const branch of branches) await destroyKept("n3", branch);
      await run(1, "n2", "n3");
      // The new base, and what n2 had when it took over: n1 was heard of for the last time before.
      assert.ok((await snapshots(lab.node("n3"), root)).length <= 3, String(await snapshots(lab.node("n3"), root)));
    });
});

test("a guest goes n1, n2, n1, n3, n1: the job to n2 goes on with the difference", { skip }, async () => {
  const move = async (number: number, from: string, to: string) => {
    await run(number, from, to);
    await lab.node(from).storage.deactivate(root);
    await lab.node(to).storage.activate(root);
  };
  await run(0, "n1", "n2");
  await move(0, "n1", "n2");
  await move(0, "n2", "n1");
  await move(9999, "n1", "n3");
  await move(9999, "n3", "n1");
  const result = await run(0, "n1", "n2");
  assert.deepEqual(kindOf(result), ["incremental"]);
  for (const name of nodes) {
    const have = await snapshots(lab.node(name), root);
    assert.ok(have.length <= nodes.length + 1, `${name}: ${have}`);
  }
});

test("two failovers, the second to older data that knows nothing of the first: the job to n4 goes on with the difference", {
  skip,
}, async () => {
  await run(1, "n1", "n3");
  await run(2, "n1", "n4");
  await run(0, "n1", "n2");
  await lab.node("n3").storage.activate(root);
  // n4 is taken back to what n3 had: what n2 was told of n4 is not so any more.
  assert.deepEqual(kindOf(await run(2, "n3", "n4")), ["incremental"]);
  await lab.node("n2").storage.activate(root);
  // An administrator sets aside what n3 had written.
  const dataset = `tank/guests/vm-${vmid}-root`;
  await unmount("n3", dataset);
  await lab.node("n3").zfs.zfs("rename", dataset, `tank/guests/aside-${vmid}`);
  assert.deepEqual(kindOf(await run(0, "n2", "n3")), ["full"]);
  await run(0, "n2", "n3");
  await lab.node("n3").storage.activate(root);
  assert.deepEqual(kindOf(await run(2, "n3", "n4")), ["incremental"]);
});

test("a user's snapshots are not sent, and a snapshot that was a base once is let go", { skip }, async () => {
  await lab.node("n1").zfs.zfs("snapshot", `tank/guests/vm-${vmid}-root@mine`);
  await run(0, "n1", "n2");
  await lab.node("n1").zfs.zfs("snapshot", `tank/guests/vm-${vmid}-root@mine-too`);
  await run(1, "n1", "n3");
  await run(0, "n1", "n2");
  await run(1, "n1", "n3");
  const all = (await Promise.all(["n2", "n3"].map((name) => snapshots(lab.node(name), root)))).flat();
  assert.deepEqual(
    all.filter((name) => name.startsWith("mine")),
    [],
  );
  assert.equal(await shell(lab.node("n1"), `zfs get -H -r -o value userrefs tank/guests/vm-${vmid}-root@mine`), "0");
});

test("the hold on another job's snapshot goes, also that of a run that failed", { skip }, async () => {
  const [n1, n2] = [lab.node("n1"), lab.node("n2")];
  const { snapshot } = await run(0, "n1", "n2");
  const holds = async () =>
    (await n1.storage.inspect([root]))[0]?.snapshots.find(({ name }) => name === snapshot)?.holds;
  const parts = lab.parts(n1, n2);
  const atSend: unknown[] = [];
  const target = Object.assign(Object.create(parts.target), {
    listSnapshots: parts.target.listSnapshots.bind(parts.target),
    send: async () => {
      atSend.push(await holds());
      throw new QuorateError("transient", "ConnectionLost", "n2 went away");
    },
  });
  const request = { job: `${vmid}-1`, source: "n1", target: "n2", volumes: [root] };
  const failed = await replicate(request, { ...parts, target });
  assert.equal(failed.outcome === "Failed" && failed.reason, "ConnectionLost");
  assert.deepEqual([...atSend, await holds()], [2, 2], "its maker's, and that of the run that goes on from it");
  await n2.zfs.zfs("rename", `tank/guests/vm-${vmid}-root`, `tank/guests/aside-${vmid}`);
  assert.deepEqual(kindOf(await run(1, "n1", "n2")), ["full"]);
  assert.equal(await holds(), 1);
});

describe("a copy that went on is taken back", { skip }, () => {
  const job = () => `${vmid}-1`;
  const dataset = () => `tank/guests/vm-${vmid}-root`;
  /** A copy on n3 with an older snapshot and a newer one. */
  const twoSnapshots = async () => {
    const first = await run(1, "n1", "n3");
    await lab.node("n1").storage.replication?.mark(root, [{ node: "n2", guid: first.volumes[0]?.guid ?? "" }]);
    await run(1, "n1", "n3");
    return { name: first.snapshot, guid: first.volumes[0]?.guid ?? "" };
  };

  test("broken off before the history changed hands: the next run sends all of it, the branch is there", async () => {
    const older = await twoSnapshots();
    await lab
      .node("n3")
      .zfs.zfs(
        "clone",
        "-o",
        "canmount=noauto",
        `${dataset()}@${older.name}`,
        `tank/guests/.quorate-recv/vm-${vmid}-root`,
      );
    await lab.node("n3").storage.replication?.setAside(root, Date.UTC(2026, 10, 21));
    assert.deepEqual(kindOf(await run(1, "n1", "n3")), ["full"]);
    const branches = await kept("n3");
    assert.equal(branches.length, 1);
    await lab.node("n3").zfs.zfs("destroy", "-r", branches[0] ?? "");
  });

  test("broken off after that: the next run finds the copy under its name again and goes on from it", async () => {
    const older = await twoSnapshots();
    const n3 = lab.node("n3");
    const staged = `tank/guests/.quorate-recv/vm-${vmid}-root`;
    await n3.zfs.zfs(
      "clone",
      "-o",
      "canmount=noauto",
      "-o",
      "readonly=on",
      "-o",
      `dev.quorate:replica=${job()}`,
      `${dataset()}@${older.name}`,
      staged,
    );
    await n3.storage.replication?.setAside(root, Date.UTC(2026, 10, 21));
    await n3.zfs.zfs("promote", staged);
    const request = { job: job(), source: "n1", target: "n3", volumes: [root] };
    const refused = await replicate(request, lab.parts(lab.node("n1"), n3));
    assert.equal(refused.outcome === "Failed" && refused.reason, "Locked");
    assert.deepEqual(kindOf(await run(1, "n1", "n3")), ["incremental"]);
    assert.equal((await kept("n3")).length, 1);
  });

  test("what is nobody's copy is not", async () => {
    const older = await twoSnapshots();
    const n3 = lab.node("n3");
    await n3.storage.activate(root);
    await assert.rejects(async () => n3.storage.replication?.branchOff(root, job(), older, 0), { reason: "NotOurs" });
    assert.deepEqual(await kept("n3"), []);
  });

  test("a branch that was kept outlives the copy", async () => {
    const older = await twoSnapshots();
    const n3 = lab.node("n3");
    const before = await checksum(n3, root);
    const branch = await n3.storage.replication?.branchOff(root, job(), older, Date.UTC(2026, 10, 21));
    assert.deepEqual(await snapshots(n3, root), [older.name]);
    await n3.storage.replication?.destroyReplica(root, job());
    assert.deepEqual((await n3.storage.inspect([root]))[0]?.exists, false);
    await n3.zfs.zfs("mount", branch ?? "");
    assert.match(
      await shell(n3, `sha256sum /run/pool/guests/${branch?.split("/").at(-1)}/disk.raw`),
      new RegExp(before),
    );
    await destroyKept("n3", branch ?? "");
  });
});
