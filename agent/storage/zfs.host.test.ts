import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { openStorage, STREAM_HEAD_BYTES, type StorageDriver, type VolumeId } from "./index.ts";
import { startZfsFuseHost, type ZfsFuseHost, zfsFuseMissing } from "./testing/index.ts";

const skip = zfsFuseMissing();
const root: VolumeId = { vmid: 100, volume: "root" };
const MIB = 1024 * 1024;

let zfs: ZfsFuseHost;
let storage: StorageDriver;

before(async () => {
  if (skip) return;
  zfs = await startZfsFuseHost();
  storage = openStorage(zfs.host, { name: "tank", type: "ZFS", dataset: zfs.dataset });
});

after(async () => {
  if (!skip) await zfs[Symbol.asyncDispose]();
});

const sh = async (line: string) => (await zfs.host.run("sh", ["-c", line], { timeoutMs: 30_000 })).stdout.trim();
const replication = () => {
  assert.ok(storage.replication);
  return storage.replication;
};

test("a volume is made once, sparse, and is never made again over its data", { skip }, async () => {
  const { path } = await storage.ensureVolume(root, { sizeBytes: 64 * MIB, guest: "u1" });
  assert.equal(path, "/run/pool/guests/vm-100-root/disk.raw");
  assert.equal(await sh(`stat -c %s ${path}`), String(64 * MIB));
  assert.ok(Number(await sh(`stat -c %b ${path}`)) < 16, "it takes no room yet");
  await sh(`echo precious | dd of=${path} conv=notrunc status=none`);
  await storage.ensureVolume(root, { sizeBytes: 128 * MIB, guest: "u1" });
  assert.equal(await sh(`head -c 8 ${path}`), "precious");
  assert.equal(await sh(`stat -c %s ${path}`), String(64 * MIB));
});

test("a volume is filled from an image and has the size that was asked for", { skip }, async () => {
  await sh("mkdir -p /run/images; head -c 3M /dev/urandom > /run/images/debian.raw");
  const id = { vmid: 101, volume: "root" };
  const { path } = await storage.ensureVolume(id, { sizeBytes: 8 * MIB, image: "/run/images/debian.raw" });
  assert.equal(await sh(`stat -c %s ${path}`), String(8 * MIB));
  assert.equal(await sh(`head -c 3M ${path} | cmp - /run/images/debian.raw && echo same`), "same");
  const other = { vmid: 102, volume: "root" };
  await assert.rejects(storage.ensureVolume(other, { sizeBytes: MIB, image: "/run/images/debian.raw" }), {
    reason: "ImageTooLarge",
  });
  await assert.rejects(storage.ensureVolume(other, { sizeBytes: MIB, image: "/run/images/none.raw" }), {
    reason: "ImageMissing",
  });
  // The half-made volume holds no disk, so it can still be made.
  await storage.ensureVolume(other, { sizeBytes: 8 * MIB, image: "/run/images/debian.raw" });
});

test("a dataset that a deleted guest left is not the disk of a new one with its vmid, until somebody says so", {
  skip,
}, async () => {
  const id = { vmid: 103, volume: "root" };
  const dataset = "tank/guests/vm-103-root";
  const { path } = await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u1" });
  const adopt = { reason: "OtherGuest", message: new RegExp(`zfs set dev.quorate:guest=u2 ${dataset}`) };
  await assert.rejects(storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" }), adopt);
  await assert.rejects(storage.requireGuest(id, "u2"), adopt);
  await assert.rejects(storage.activate(id, "u2"), adopt);
  await assert.rejects(storage.activate(id), { reason: "OtherGuest" });
  await zfs.zfs("set", "dev.quorate:guest=u2", dataset);
  await storage.requireGuest(id, "u2");
  assert.equal((await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" })).path, path);
  assert.equal((await storage.activate(id, "u2")).path, path);
  await storage.requireGuest({ vmid: 9, volume: "none" }, "u2");
});

test("a dataset of an earlier version goes on with the guest that has data, which it says then, and with no new one", {
  skip,
}, async () => {
  const id = { vmid: 104, volume: "root" };
  await zfs.zfs("create", "tank/guests/vm-104-root");
  await sh("echo precious > /run/pool/guests/vm-104-root/disk.raw");
  await assert.rejects(storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" }), { reason: "OtherGuest" });
  await storage.requireGuest(id, "u1");
  await storage.activate(id, "u1");
  assert.equal((await storage.inspect([id]))[0]?.guest, "u1");
  await assert.rejects(storage.activate(id, "u2"), { reason: "OtherGuest" });
  // What the parent says is about none of them.
  await zfs.zfs("create", "tank/guests/vm-105-root");
  await zfs.zfs("set", "dev.quorate:guest=u1", "tank/guests");
  assert.equal((await storage.inspect([{ vmid: 105, volume: "root" }]))[0]?.guest, undefined);
  await zfs.zfs("inherit", "dev.quorate:guest", "tank/guests");
});

test("a volume has a GUID of its own that a roll back does not change, and a new one is another", {
  skip,
}, async () => {
  const id = { vmid: 106, volume: "root" };
  const guid = async () => (await storage.inspect([id]))[0]?.guid;
  await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u1" });
  const first = await guid();
  assert.match(first ?? "", /^[0-9]{5,20}$/);
  await zfs.zfs("snapshot", "tank/guests/vm-106-root@a");
  await sh("echo more > /run/pool/guests/vm-106-root/more");
  await zfs.zfs("rollback", "tank/guests/vm-106-root@a");
  assert.equal(await guid(), first);
  await storage.deactivate(id);
  await zfs.zfs("destroy", "-r", "tank/guests/vm-106-root");
  await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u1" });
  assert.notEqual(await guid(), first);
});

test("GUIDs are exact, and a missing volume is told from a missing storage", { skip }, async () => {
  await replication().snapshot([root], "quorate-100-0-20261121T000000Z", "100-0");
  const [state, missing] = await storage.inspect([root, { vmid: 7, volume: "nope" }]);
  const exact = await zfs.zfs(
    "get",
    "-H",
    "-p",
    "-o",
    "value",
    "guid",
    "tank/guests/vm-100-root@quorate-100-0-20261121T000000Z",
  );
  assert.equal(state?.snapshots[0]?.guid, exact.trim());
  assert.ok(BigInt(exact.trim()) > 2n ** 53n || exact.trim().length > 10, "a GUID of 64 bits");
  assert.equal(missing?.exists, false);

  const elsewhere = openStorage(zfs.host, { name: "gone", type: "ZFS", dataset: "tank/nowhere" });
  await assert.rejects(elsewhere.inspect([root]), { reason: "StorageMissing", message: /storage "gone"/ });
  await assert.rejects(elsewhere.activate(root), { reason: "StorageMissing" });
  await assert.rejects(storage.activate({ vmid: 7, volume: "nope" }), { reason: "DataMissing" });
});

test("of what ZFS writes only the stream of one snapshot is let in, whole or as a difference", { skip }, async () => {
  const [first, second] = ["quorate-100-1-20261121T000000Z", "quorate-100-1-20261121T000001Z"] as const;
  for (const name of [first, second]) await replication().snapshot([root], name, "100-1");
  const head = async (args: readonly string[]) =>
    Buffer.from(await sh(`zfs ${args.join(" ")} | head -c ${STREAM_HEAD_BYTES} | base64`), "base64");
  for (const base of [undefined, first]) {
    const { args } = replication().sendCommand(root, second, base);
    replication().checkStream(await head(args));
  }
  for (const forged of [["-p"], ["-R"], ["-R", "-I", `@${first}`]]) {
    const bytes = await head(["send", ...forged, `tank/guests/vm-100-root@${second}`]);
    assert.throws(() => replication().checkStream(bytes), { reason: "StreamRefused" }, forged.join(" "));
  }
  const [state] = await storage.inspect([root]);
  const own = state?.snapshots.filter(({ name }) => name === first || name === second) ?? [];
  await replication().destroySnapshots(root, "100-1", own);
});

test("a hold keeps a snapshot from everybody but its job", { skip }, async () => {
  const name = "quorate-100-0-20261121T000000Z";
  await replication().hold(root, "100-0", [name]);
  await replication().hold(root, "100-0", [name]);
  await assert.rejects(zfs.zfs("destroy", `tank/guests/vm-100-root@${name}`), /busy/);
  const [held] = await storage.inspect([root]);
  const guid = held?.snapshots[0]?.guid ?? "";
  assert.equal(held?.snapshots[0]?.holds, 1);

  await assert.rejects(replication().destroySnapshots(root, "100-0", [{ name, guid: "1" }]), { reason: "NotOurs" });
  await zfs.zfs("hold", "mine", `tank/guests/vm-100-root@${name}`);
  assert.deepEqual(await replication().destroySnapshots(root, "100-0", [{ name, guid }]), { kept: [name] });
  await zfs.zfs("release", "mine", `tank/guests/vm-100-root@${name}`);
  assert.deepEqual(await replication().destroySnapshots(root, "100-0", [{ name, guid }]), { kept: [] });
  assert.deepEqual(await replication().destroySnapshots(root, "100-0", [{ name, guid }]), { kept: [] });
});

test("snapshots of the user are refused to be destroyed, and none of the others before the refusal", {
  skip,
}, async () => {
  const name = "quorate-100-0-20261121T000001Z";
  await replication().snapshot([root], name, "100-0");
  await zfs.zfs("snapshot", "tank/guests/vm-100-root@0");
  const [state] = await storage.inspect([root]);
  await assert.rejects(replication().destroySnapshots(root, "100-0", state?.snapshots ?? []), { reason: "NotOurs" });
  const [same] = await storage.inspect([root]);
  assert.deepEqual(
    same?.snapshots.map((snapshot) => snapshot.name),
    [name, "0"],
  );
  await assert.rejects(replication().rollback(root, "100-0", { name, guid: state?.snapshots[0]?.guid ?? "" }), {
    reason: "NotOurs",
  });
});

test("a volume in use is not deactivated; one that is not becomes read-only and unmounted, and back", {
  skip,
}, async () => {
  const { path } = await storage.activate(root, "u1");
  const user = zfs.host.spawn("flock", [path, "sh", "-c", "echo open; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "ignore"],
  });
  assert.ok(user.stdout);
  await once(user.stdout, "data");
  await assert.rejects(storage.deactivate(root), { reason: "Locked" });
  user.stdin?.end();
  await once(user, "close");
  await storage.deactivate(root);
  assert.equal(await sh("grep -c vm-100-root /proc/mounts || true"), "0");
  assert.equal((await storage.activate(root, "u1")).path, path);
  assert.equal(await sh("grep -c vm-100-root /proc/mounts"), "1");
});

test("a dead daemon is a missing storage, never a missing volume", { skip }, async () => {
  await zfs.killDaemon();
  await assert.rejects(storage.inspect([root]), { reason: "StorageMissing" });
  await assert.rejects(storage.activate(root), { reason: "StorageMissing" });
  await assert.rejects(storage.ensureVolume(root, { sizeBytes: MIB }), { reason: "StorageMissing" });
  await zfs.startDaemon();
  await storage.activate(root, "u1");
});

test("names that would leave no room for snapshots are refused before anything is made", { skip }, async () => {
  const long = openStorage(zfs.host, { name: "long", type: "ZFS", dataset: `tank/${"d".repeat(140)}` });
  await assert.rejects(long.ensureVolume({ vmid: 1, volume: "v".repeat(63) }, { sizeBytes: MIB }), {
    reason: "InvalidName",
  });
  for (const dataset of ["", "-tank", "tank/../x", "tank@x", "tank/a b", "tank/-x", "tank//x"]) {
    assert.throws(
      () => openStorage(zfs.host, { name: "bad", type: "ZFS", dataset }),
      { reason: "InvalidDataset" },
      dataset,
    );
  }
});

test("a disk on a file system that became read-only keeps its guest from starting", { skip }, async () => {
  await sh("mkdir -p /run/local; mount -t tmpfs tmpfs /run/local");
  const local = openStorage(zfs.host, { name: "local", type: "Directory", path: "/run/local" });
  await local.ensureVolume(root, { sizeBytes: MIB });
  await local.activate(root);
  await sh("mount -o remount,ro /run/local");
  await assert.rejects(local.activate(root), { reason: "NotWritable" });
});
