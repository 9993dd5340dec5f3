import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { type Clock, systemClock } from "../../clock.ts";
import type { Host } from "../host/index.ts";
import { snapshotName, type VolumeRef } from "../storage/index.ts";
import { zfsFuseMissing } from "../storage/testing/index.ts";
import { replicate } from "./index.ts";
import { checksum, scribble, shell, snapshots, TwoNodes, volumeRef } from "./testing/index.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;

let lab: TwoNodes;
let vmid = 300;
let root: VolumeRef;

before(async () => {
  if (!skip) lab = await TwoNodes.start({ n1: 256 * MIB, n2: 256 * MIB });
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

beforeEach(async () => {
  if (skip) return;
  vmid += 1;
  root = volumeRef("root", vmid);
  await lab.n1.storage.ensureVolume(root, { sizeBytes: 4 * MIB });
  await scribble(lab.n1, root, { mib: 1 });
});

const dataset = () => `tank/guests/vm-${vmid}-root`;
const run = (volume = root, clock: Clock = systemClock) =>
  replicate(
    { job: `${vmid}-0`, source: "n1", target: "n2", volumes: [volume] },
    { ...lab.parts(lab.n1, lab.n2), clock },
  );
const reasonOf = (result: Awaited<ReturnType<typeof run>>) =>
  result.outcome === "Failed" ? result.reason : result.outcome;

test("the source's clock steps back by a day: order is that of creation, and the newest state arrives", {
  skip,
}, async () => {
  assert.equal(reasonOf(await run()), "Succeeded");
  const yesterday: Clock = { ...clockOf(), wallMs: () => systemClock.wallMs() - 86_400_000 };
  for (let i = 0; i < 2; i++) {
    await scribble(lab.n1, root, { mib: 1, at: 1 + i });
    const result = await run(root, yesterday);
    assert.ok(result.outcome === "Succeeded", JSON.stringify(result));
    assert.deepEqual(
      result.volumes.map(({ kind }) => kind),
      ["incremental"],
    );
    assert.deepEqual(await snapshots(lab.n2, root), [result.snapshot]);
    assert.equal(await checksum(lab.n2, root), await checksum(lab.n1, root));
  }
});

test("a snapshot of the same name and another GUID on the target is no base, and nothing there is touched", {
  skip,
}, async () => {
  const name = snapshotName(`${vmid}-0`, Date.UTC(2026, 10, 21), new Set());
  await lab.n2.storage.ensureVolume(root, { sizeBytes: 4 * MIB });
  for (const node of [lab.n1, lab.n2]) await node.zfs.zfs("snapshot", `${dataset()}@${name}`);
  const before = await checksum(lab.n2, root);
  const result = await run();
  assert.equal(reasonOf(result), "NoCommonBase");
  assert.equal(await checksum(lab.n2, root), before);
  assert.deepEqual(await snapshots(lab.n2, root), [name]);
});

test("a source that was broken into cannot have its copy mounted somewhere, with all of it or with a difference", {
  skip,
}, async () => {
  assert.equal(reasonOf(await run()), "Succeeded");
  const parts = lab.parts(lab.n1, lab.n2);
  // What its agent would be asked to send is sent with its properties, or with what is below it.
  const forging = (flag: "-p" | "-R") => ({
    ...parts,
    host: Object.assign(Object.create(parts.host), {
      spawn: (...[command, args, options]: Parameters<Host["spawn"]>) => {
        const [send = "", ...rest] = args;
        return parts.host.spawn(command, [send, flag, ...rest], options);
      },
    }),
  });
  const forged = volumeRef("forged", vmid);
  await lab.n1.storage.ensureVolume(forged, { sizeBytes: 4 * MIB });
  for (const volume of [root, forged]) {
    await lab.n1.zfs.zfs("unmount", `tank/guests/vm-${vmid}-${volume.volume}`);
    await lab.n1.zfs.zfs("set", "mountpoint=/run/forged", `tank/guests/vm-${vmid}-${volume.volume}`);
  }
  const before = await snapshots(lab.n2, root);
  for (const flag of ["-p", "-R"] as const)
    for (const volume of [root, forged]) {
      const request = { job: `${vmid}-0`, source: "n1", target: "n2", volumes: [volume] };
      assert.equal(reasonOf(await replicate(request, forging(flag))), "StreamRefused", `${flag} ${volume.volume}`);
    }
  assert.deepEqual(await snapshots(lab.n2, root), before);
  assert.deepEqual((await lab.n2.storage.inspect([forged]))[0]?.exists, false);
  assert.equal(await shell(lab.n2, "grep -c forged /proc/mounts || true"), "0");
});

test("properties of the source stay there; the copy inherits from where it lies", { skip }, async () => {
  await lab.n1.zfs.zfs("set", "compression=on", dataset());
  await lab.n1.zfs.zfs("set", "org.example:mine=yes", dataset());
  assert.equal(reasonOf(await run()), "Succeeded");
  const [compression, mine] = (
    await shell(lab.n2, `zfs get -H -o value,source compression,org.example:mine ${dataset()}`)
  ).split("\n");
  assert.equal(compression, "off\tdefault");
  assert.equal(mine, "-\t-");
});

test("a volume with the longest name that there can be is sent like any other", { skip }, async () => {
  const long = volumeRef(`a${"b".repeat(61)}c`, vmid);
  await lab.n1.storage.ensureVolume(long, { sizeBytes: MIB });
  assert.equal(reasonOf(await run(long)), "Succeeded");
  assert.equal(reasonOf(await run(long)), "Succeeded");
  assert.equal(await checksum(lab.n2, long), await checksum(lab.n1, long));
});

test("a run costs the same number of commands, however many snapshots of others the volume has", {
  skip,
}, async () => {
  assert.equal(reasonOf(await run()), "Succeeded");
  const before = await commands();
  await shell(lab.n1, `i=0; while [ $i -lt 100 ]; do zfs snapshot ${dataset()}@auto-$i; i=$((i+1)); done`);
  assert.equal(await commands(), before);
});

/** How many commands a run takes on the source. */
async function commands(): Promise<number> {
  let count = 0;
  const { host } = lab.n1.zfs;
  const original = host.run;
  host.run = (...args) => {
    count += 1;
    return original.apply(host, args);
  };
  try {
    assert.equal(reasonOf(await run()), "Succeeded");
  } finally {
    host.run = original;
  }
  return count;
}

function clockOf(): Clock {
  return {
    elapsedMs: () => systemClock.elapsedMs(),
    wallMs: () => systemClock.wallMs(),
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
  };
}
