import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { localHost } from "../host/index.ts";
import { openStorage, type StorageDriver, type VolumeId } from "./index.ts";

const root: VolumeId = { vmid: 100, volume: "root" };
const MIB = 1024 * 1024;
let folder: string;
let storage: StorageDriver;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "quorate-directory-"));
  storage = openStorage(localHost(), { name: "local", type: "Directory", path: folder });
});

after(() => rmSync(folder, { recursive: true, force: true }));

test("a volume is made once, sparse, of its size, and never again over its data", async () => {
  const { path } = await storage.ensureVolume(root, { sizeBytes: 8 * MIB, guest: "u1" });
  assert.equal(path, `${folder}/vm-100-root/disk.raw`);
  assert.equal(statSync(path).size, 8 * MIB);
  assert.equal(statSync(path).blocks, 0);
  writeFileSync(path, "precious");
  await storage.ensureVolume(root, { sizeBytes: 8 * MIB, guest: "u1" });
  assert.equal(readFileSync(path, "utf8"), "precious");
  assert.deepEqual(await storage.activate(root, "u1"), { path });
});

test("a disk that a deleted guest left is not the disk of a new one with its vmid, until somebody says so", async () => {
  const id = { vmid: 102, volume: "root" };
  const { path } = await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u1" });
  const adopt = { reason: "OtherGuest", message: new RegExp(`echo u2 > ${folder}/vm-102-root/guest.uid`) };
  await assert.rejects(storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" }), adopt);
  await assert.rejects(storage.requireGuest(id, "u2"), adopt);
  await assert.rejects(storage.activate(id, "u2"), adopt);
  writeFileSync(`${folder}/vm-102-root/guest.uid`, "u2\n");
  await storage.requireGuest(id, "u2");
  assert.deepEqual(await storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" }), { path });
  assert.deepEqual(await storage.activate(id, "u2"), { path });
});

test("a disk of an earlier version goes on with the guest that has data, which it says then, and with no new one", async () => {
  const id = { vmid: 103, volume: "root" };
  mkdirSync(`${folder}/vm-103-root`);
  writeFileSync(`${folder}/vm-103-root/disk.raw`, "precious");
  await assert.rejects(storage.ensureVolume(id, { sizeBytes: MIB, guest: "u2" }), { reason: "OtherGuest" });
  await assert.rejects(storage.ensureVolume(id, { sizeBytes: MIB }), { reason: "OtherGuest" });
  await storage.requireGuest(id, "u1");
  await storage.activate(id, "u1");
  await assert.rejects(storage.activate(id, "u2"), { reason: "OtherGuest" });
});

test("an image that was being copied when the host died is copied anew, and is never taken for the disk", async () => {
  writeFileSync(join(folder, "image.raw"), Buffer.alloc(MIB, 7));
  const id = { vmid: 101, volume: "root" };
  mkdirSync(join(folder, "vm-101-root"));
  writeFileSync(join(folder, "vm-101-root/.disk.raw.partial"), "half");
  await assert.rejects(storage.activate(id), { reason: "DataMissing" });
  const { path } = await storage.ensureVolume(id, { sizeBytes: 2 * MIB, image: join(folder, "image.raw") });
  assert.deepEqual(readFileSync(path).subarray(0, MIB), Buffer.alloc(MIB, 7));
  assert.equal(statSync(path).size, 2 * MIB);
});

test("a path that is not there is a missing storage and is not made: a share may not be mounted", async () => {
  const gone = openStorage(localHost(), { name: "nfs", type: "Directory", path: `${folder}/share`, shared: true });
  assert.equal(gone.shared, true);
  await assert.rejects(gone.ensureVolume(root, { sizeBytes: MIB }), {
    reason: "StorageMissing",
    message: /storage "nfs"/,
  });
  await assert.rejects(gone.activate(root), { reason: "StorageMissing" });
  await assert.rejects(gone.inspect([root]), { reason: "StorageMissing" });
});

test("a path that is none is refused", () => {
  for (const path of ["", "relative", "/a/../b", "/", "/a/", "/a\n"]) {
    assert.throws(
      () => openStorage(localHost(), { name: "bad", type: "Directory", path }),
      { reason: "InvalidPath" },
      JSON.stringify(path),
    );
  }
});
