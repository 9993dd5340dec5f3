import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { zfsFuseMissing } from "../storage/testing/index.ts";
import { replicate } from "./index.ts";
import { scribble, TwoNodes, volumeRef } from "./testing/index.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;
const root = volumeRef("root", 600);
let lab: TwoNodes;

before(async () => {
  if (skip) return;
  lab = await TwoNodes.start({ n1: 256 * MIB, n2: 256 * MIB });
  await lab.n1.storage.ensureVolume(root, { sizeBytes: 4 * MIB, guest: "u1" });
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

async function run(guest?: string): Promise<{ name: string; guid: string }> {
  await scribble(lab.n1, root, { mib: 1 });
  const request = { job: "600-0", source: "n1", target: "n2", volumes: [root] };
  const result = await replicate(
    { ...request, ...(guest === undefined ? {} : { guest }), retention: { source: 9, target: 9 } },
    lab.parts(lab.n1, lab.n2),
  );
  assert.ok(result.outcome === "Succeeded", result.log.join("\n"));
  return { name: result.snapshot, guid: result.volumes[0]?.guid ?? "" };
}

const onTarget = async () => (await lab.n2.storage.inspect([root]))[0];

test("a copy says of which Guest object it is, whole or brought up to date, and when it is taken back", {
  skip,
}, async () => {
  // As of an earlier version.
  const first = await run();
  assert.equal((await onTarget())?.guest, undefined);
  await run("u1");
  assert.equal((await onTarget())?.guest, "u1");
  const before = await onTarget();
  await run("u1");
  assert.equal((await onTarget())?.guid, before?.guid, "a difference makes no other volume of it");
  await lab.n2.storage.replication?.branchOff(root, "600-0", first, Date.UTC(2026, 10, 21));
  assert.equal((await onTarget())?.guest, "u1");
  assert.notEqual((await onTarget())?.guid, before?.guid);
  await lab.n2.storage.replication?.destroyReplica(root, "600-0");
  await run("u1");
  assert.deepEqual([(await onTarget())?.guest, (await onTarget())?.replicaOf], ["u1", "600-0"]);
  await assert.rejects(lab.n2.storage.requireGuest(root, "u2"), { reason: "OtherGuest" });
});

test("a copy that lost its name while it was taken back gets it again, wherever that was broken off", {
  skip,
}, async () => {
  const dataset = "tank/guests/vm-600-root";
  const staged = "tank/guests/.quorate-recv/vm-600-root";
  const storage = lab.n2.storage.replication;
  for (const promoted of [false, true]) {
    const base = await run("u1");
    const newer = await run("u1");
    const marks = ["-o", "canmount=noauto", "-o", "readonly=on", "-o", "dev.quorate:replica=600-0"];
    await lab.n2.zfs.zfs("clone", ...marks, `${dataset}@${base.name}`, staged);
    assert.equal(await storage?.finishBranch(root), false, "it has its name");
    await storage?.setAside(root, Date.UTC(2026, 10, promoted ? 22 : 23));
    if (promoted) await lab.n2.zfs.zfs("promote", staged);
    assert.equal(await storage?.finishBranch(root), true);
    assert.equal(await storage?.finishBranch(root), false);
    const state = await onTarget();
    assert.equal(state?.snapshots.at(-1)?.guid, base.guid);
    assert.equal(state?.replicaOf, "600-0");
    // The other side of the branch is there as well.
    const kept = await lab.n2.zfs.zfs("list", "-H", "-t", "snapshot", "-o", "name");
    assert.match(kept, new RegExp(`kept-vm-600-root-[^@]*@${newer.name}`));
    await lab.n2.zfs.zfs("rename", dataset, `${dataset}-aside-${promoted}`);
  }
});

test("a receive that was broken off is no copy that lost its name", { skip }, async () => {
  await lab.n2.zfs.zfs("create", "tank/guests/.quorate-recv/vm-600-root");
  assert.equal(await lab.n2.storage.replication?.finishBranch(root), false);
  assert.equal((await onTarget())?.exists, false);
});
