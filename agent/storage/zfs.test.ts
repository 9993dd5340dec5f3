import assert from "node:assert/strict";
import { test } from "node:test";
import { QuorateError } from "../../errors.ts";
import { FakeHost } from "../host/index.ts";
import { openStorage } from "./index.ts";

const root = { vmid: 100, volume: "root" };
const data = { vmid: 100, volume: "data" };

/** A host with kernel ZFS, as far as asking goes; what it changes is only recorded. */
function openZfs(): FakeHost {
  return new FakeHost().on(["zfs"], "").on(["zfs", "version"], "zfs-2.3.1-1\nzfs-kmod-2.3.1-1\n");
}

function storageOn(host: FakeHost) {
  const { replication } = openStorage(host, { name: "tank", type: "ZFS", dataset: "tank/guests" });
  assert.ok(replication);
  return replication;
}

test("kernel ZFS snapshots all volumes of a guest in one transaction", async () => {
  using host = openZfs();
  const replication = storageOn(host);
  assert.equal(await replication.atomicSnapshots(), true);
  await replication.snapshot([root, data], "quorate-100-0-20261121T000000Z", "100-0");
  const at = "@quorate-100-0-20261121T000000Z";
  assert.deepEqual(host.commands, [
    "zfs version",
    `zfs snapshot tank/guests/vm-100-root${at} tank/guests/vm-100-data${at}`,
  ]);
});

test("userland ZFS snapshots one after the other, which is said before", async () => {
  using host = new FakeHost()
    .on(["zfs"], "")
    .on(["zfs", "version"], { exitCode: 2, stderr: "unrecognized command 'version'\nusage: zfs command args ..." });
  const replication = storageOn(host);
  assert.equal(await replication.atomicSnapshots(), false);
  await replication.snapshot([root, data], "quorate-100-0-20261121T000000Z", "100-0");
  assert.equal(host.commands.filter((line) => line.startsWith("zfs snapshot")).length, 2);
});

test("a ZFS that cannot say what it is, is asked again", async () => {
  using host = new FakeHost().on(["zfs", "version"], {
    exitCode: 1,
    stderr: "Please make sure that the zfs-fuse daemon is running.",
  });
  const replication = storageOn(host);
  await assert.rejects(replication.atomicSnapshots(), { reason: "StorageMissing" });
  host.on(["zfs", "version"], "zfs-2.3.1-1\n");
  assert.equal(await replication.atomicSnapshots(), true);
});

test("a stream is whole or a difference, without what lies between; never forced onto the other side", async () => {
  using host = openZfs();
  const replication = storageOn(host);
  const to = "quorate-100-0-20261121T000000Z";
  const args = (base?: string) => replication.sendCommand(root, to, base).args.join(" ");
  assert.equal(args(), `send tank/guests/vm-100-root@${to}`);
  assert.equal(args("0"), `send -i @0 tank/guests/vm-100-root@${to}`);
  for (const name of ["a b", "a@b", "a/b", "../x", ""]) {
    assert.throws(() => args(name), { reason: "InvalidName" }, name);
  }
  assert.throws(() => replication.sendCommand(root, "mine", undefined), { reason: "NotOurs" });
  assert.throws(() => replication.sendCommand(root, "quorate-101-0-20261121T000000Z", undefined), {
    reason: "NotOurs",
  });
});

test("failures of ZFS get the reason a user can act on", () => {
  using host = openZfs();
  const replication = storageOn(host);
  const reason = (message: string) =>
    replication.failure(new QuorateError("environment", "CommandFailed", message)).reason;
  assert.equal(reason("cannot receive incremental stream: out of space"), "NoSpace");
  assert.equal(reason("destination tank/x has been modified\nsince most recent snapshot"), "TargetModified");
  assert.equal(reason("most recent snapshot of tank/x does not\nmatch incremental source"), "Diverged");
  assert.equal(reason("destination 'tank/x' exists\nmust specify -F to overwrite it"), "NameTaken");
  assert.equal(reason("cannot receive: invalid backup stream"), "StreamBroken");
  assert.equal(reason("The ZFS modules are not loaded."), "StorageMissing");
});
