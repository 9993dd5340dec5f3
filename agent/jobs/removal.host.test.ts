import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { replicate } from "../replication/index.ts";
import { checksum, scribble, shell, snapshots, TestNodes, volumeRef } from "../replication/testing/index.ts";
import { zfsFuseMissing } from "../storage/testing/index.ts";
import { removeCopies } from "./removal.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;
const root = volumeRef("root");
const nodes = ["n1", "n2", "n3"];

let lab: TestNodes;

before(async () => {
  if (!skip) lab = await TestNodes.start({ n1: 256 * MIB, n2: 256 * MIB, n3: 256 * MIB });
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

async function run(number: number, to: string): Promise<string> {
  await scribble(lab.node("n1"), root, { mib: 1, at: number });
  const result = await replicate(
    { job: `100-${number}`, source: "n1", target: to, volumes: [root], nodes },
    lab.parts(lab.node("n1"), lab.node(to)),
  );
  assert.ok(result.outcome === "Succeeded", JSON.stringify(result));
  return result.volumes.map(({ kind }) => kind).join();
}

const remove = (number: number, to: string) =>
  removeCopies({
    job: `100-${number}`,
    source: "n1",
    targets: [to],
    nodes,
    mayHave: ["n3"],
    volumes: [root],
    storage: (name) => (name === "tank" ? lab.node("n1").storage : undefined),
    client: async (target) => lab.client(lab.node("n1"), lab.node(target)),
  });

test("the copy of a deleted job and its snapshots go; the other job goes on with differences", { skip }, async () => {
  await lab.node("n1").storage.ensureVolume(root, { sizeBytes: 8 * MIB });
  await lab.node("n1").zfs.zfs("snapshot", "tank/guests/vm-100-root@mine");
  await run(1, "n3");
  await run(0, "n2");
  await run(1, "n3");

  lab.node("n2").verdict = () => ({ allowed: false, reason: "RanHereLast", message: "the guest ran last on n2" });
  await assert.rejects(remove(0, "n2"), { reason: "RanHereLast" });
  assert.equal((await snapshots(lab.node("n2"), root)).length > 0, true, "the target refuses by itself");
  lab.node("n2").verdict = () => ({ allowed: true });

  assert.deepEqual(await remove(0, "n2"), []);
  assert.equal(await shell(lab.node("n2"), "zfs list -H -o name | grep -c vm-100- || true"), "0");
  const here = await snapshots(lab.node("n1"), root);
  assert.deepEqual([here.length, here[0]], [2, "mine"], String(here));
  assert.deepEqual(await remove(0, "n2"), [], "once more changes nothing");

  assert.equal(await run(1, "n3"), "incremental");
  assert.equal(await checksum(lab.node("n3"), root), await checksum(lab.node("n1"), root));
  assert.equal(await run(0, "n2"), "full", "made anew, the job begins anew");
});

test("an own disk of the target is no copy: it is left alone, and named", { skip }, async () => {
  const own = volumeRef("root", 101);
  for (const name of ["n1", "n2"]) await lab.node(name).storage.ensureVolume(own, { sizeBytes: MIB });
  const left = await removeCopies({
    job: "101-0",
    source: "n1",
    targets: ["n2", "n9"],
    nodes,
    mayHave: [],
    volumes: [own],
    storage: () => lab.node("n1").storage,
    client: async (target) => lab.client(lab.node("n1"), lab.node(target)),
  });
  assert.match(
    left.join("\n"),
    /vm-101-root is not the target of job 101-0 \(but of none\); left alone\nn9 is no node/,
  );
  assert.equal((await lab.node("n2").storage.inspect([own]))[0]?.exists, true);
});
