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

test("on kernel ZFS a stream says neither where a copy is mounted nor what it may do", async () => {
  using host = openZfs().on(["zfs", "list"], "tank/guests\ntank/guests/.quorate-recv");
  const { args } = await storageOn(host).beginReceive(root, "full");
  assert.equal(
    args.join(" "),
    "receive -u -o canmount=noauto -o readonly=on -x mountpoint -x sharenfs -x sharesmb -x exec -x setuid -x devices tank/guests/.quorate-recv/vm-100-root",
  );
});

test("only a stream of one snapshot is received: without properties, without other datasets", () => {
  using host = openZfs();
  const replication = storageOn(host);
  const head = (kind: bigint, big = false) => {
    const bytes = Buffer.alloc(312);
    if (big) {
      bytes.writeBigUInt64BE(0x2f5bacbacn, 8);
      bytes.writeBigUInt64BE(kind, 16);
    } else {
      bytes.writeBigUInt64LE(0x2f5bacbacn, 8);
      bytes.writeBigUInt64LE(kind, 16);
    }
    return bytes;
  };
  // The bits above the kind are features, as large blocks.
  for (const good of [head(1n), head(1n | (1n << 21n)), head(1n, true)]) replication.checkStream(good);
  const other = head(1n);
  other.writeUInt32LE(4, 0);
  for (const bad of [head(2n), head(3n), head(0n), head(2n, true), Buffer.alloc(312), head(1n).subarray(0, 20), other])
    assert.throws(() => replication.checkStream(bad), { reason: "StreamRefused" });
});

test("a dataset that is encrypted is known as such, and where ZFS knows no encryption it is not asked for it", async () => {
  const inspected = async (rows: string[]) => {
    using host = openZfs().on(["zfs", "get"], get(rows));
    const storage = openStorage(host, { name: "tank", type: "ZFS", dataset: "tank/guests" });
    const [state] = await storage.inspect([root]);
    assert.match(host.commands.at(-1) ?? "", /,written,encryption /);
    return state?.encrypted;
  };
  assert.equal(await inspected([`${own}\tencryption\taes-256-gcm\t-`]), true);
  assert.equal(await inspected([`${own}\tencryption\toff\tdefault`]), undefined);
  assert.equal(await inspected([]), undefined);
  using userland = new FakeHost()
    .on(["zfs", "get"], get([]))
    .on(["zfs", "version"], { exitCode: 2, stderr: "unrecognized command 'version'" });
  await openStorage(userland, { name: "tank", type: "ZFS", dataset: "tank/guests" }).inspect([root]);
  assert.doesNotMatch(userland.commands.at(-1) ?? "", /encryption/);
});

const own = "tank/guests/vm-100-root";
/** `zfs get` of the dataset, a snapshot with GUID 42 and what else there is. */
const get = (rows: string[]) =>
  [`${own}\tguid\t1\t-`, `${own}@quorate-100-0-20261121T000000Z\tguid\t42\t-`, ...rows].join("\n");
const mountpoint = (value: string, source: string) => `${own}\tmountpoint\t${value}\t${source}`;

test("a copy that has a mountpoint of its own, or datasets below it, is not taken for received, and not activated", async () => {
  const replica = `${own}\tdev.quorate:replica\t100-0\tlocal`;
  const cases: [string, string[], string | undefined][] = [
    ["inherited", [replica, mountpoint("/tank/guests/vm-100-root", "inherited from tank/guests")], undefined],
    ["received", [replica, mountpoint("/etc", "received")], "MountpointNotInherited"],
    ["local", [replica, mountpoint("/etc", "local")], "MountpointNotInherited"],
    ["children", [replica, `${own}/child\tguid\t3\t-`], "UnexpectedChildren"],
  ];
  for (const [what, rows, reason] of cases) {
    using host = openZfs().on(["zfs", "get"], get(rows));
    const finished = storageOn(host).finishReceive(root, "incremental", "100-0", "42");
    if (reason === undefined) await finished;
    else await assert.rejects(finished, { reason }, what);
    const changes = () => host.commands.filter((line) => !/^zfs (get|version|list)/.test(line));
    if (reason === undefined) continue;
    assert.deepEqual(changes(), [], what);
    const storage = openStorage(host, { name: "tank", type: "ZFS", dataset: "tank/guests" });
    await assert.rejects(storage.activate(root), { reason }, what);
    assert.deepEqual(changes(), [], what);
  }
});

test("where a guest's own disk is mounted is the administrator's to say, and no stream's", async () => {
  using host = openZfs()
    .on(["zfs", "get"], get([mountpoint("/srv/web1", "local")]))
    .on(["find"], "");
  const storage = openStorage(host, { name: "tank", type: "ZFS", dataset: "tank/guests" });
  await assert.rejects(storage.activate(root), { reason: "DataMissing", message: /holds no disk.raw/ });
  host.on(["zfs", "get"], get([mountpoint("/etc", "received")]));
  await assert.rejects(storage.activate(root), { reason: "MountpointNotInherited" });
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
