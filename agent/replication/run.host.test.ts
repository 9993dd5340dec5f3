import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { QuorateError } from "../../errors.ts";
import { openStorage, type VolumeRef } from "../storage/index.ts";
import { until, zfsFuseMissing } from "../storage/testing/index.ts";
import { TransferClient } from "../transfer/index.ts";
import {
  newestCompleteSet,
  type ReplicationParts,
  type ReplicationRequest,
  type ReplicationResult,
  replicate,
} from "./index.ts";
import { checksum, diskOf, scribble, shell, snapshots, TwoNodes, volumeRef } from "./testing/index.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;

let lab: TwoNodes;
let vmid = 100;
let root: VolumeRef;
let data: VolumeRef;

before(async () => {
  if (!skip) lab = await TwoNodes.start();
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

// A guest of its own for each test, with 6 MiB of data in two volumes.
beforeEach(async () => {
  if (skip) return;
  vmid += 1;
  root = volumeRef("root", vmid);
  data = volumeRef("data", vmid);
  for (const volume of [root, data]) {
    await lab.n1.storage.ensureVolume(volume, { sizeBytes: 16 * MIB });
    await scribble(lab.n1, volume, { mib: 3 });
  }
  lab.n2.verdict = () => ({ allowed: true });
});

const request = (overrides: Partial<ReplicationRequest> = {}): ReplicationRequest => ({
  job: `${vmid}-0`,
  source: "n1",
  target: "n2",
  volumes: [root, data],
  ...overrides,
});
const run = (overrides: Partial<ReplicationParts> = {}, wanted = request(), signal?: AbortSignal) =>
  replicate(wanted, { ...lab.parts(lab.n1, lab.n2), ...overrides }, signal);

function succeeded(result: ReplicationResult): Extract<ReplicationResult, { outcome: "Succeeded" }> {
  assert.ok(
    result.outcome === "Succeeded",
    result.outcome === "Failed" ? `${result.reason}: ${result.message}\n${result.log.join("\n")}` : "",
  );
  return result;
}

function failed(result: ReplicationResult, reason: string): Extract<ReplicationResult, { outcome: "Failed" }> {
  assert.ok(result.outcome === "Failed", "the run should have failed");
  assert.equal(result.reason, reason, `${result.message}\n${result.log.join("\n")}`);
  return result;
}

async function same(volume: VolumeRef): Promise<void> {
  assert.equal(await checksum(lab.n2, volume), await checksum(lab.n1, volume), `${volume.volume} differs`);
}

describe("a run", { skip }, () => {
  test("sends all of it once, then only what changed, and keeps one base on each side", async () => {
    const first = succeeded(await run());
    assert.ok(first.bytes > 6 * MIB && first.bytes < 8 * MIB, `${first.bytes} bytes`);
    assert.deepEqual(
      first.volumes.map(({ volume, kind }) => [volume, kind]),
      [
        ["root", "full"],
        ["data", "full"],
      ],
    );
    await same(root);
    await same(data);

    await scribble(lab.n1, root, { mib: 1, at: 1 });
    const second = succeeded(await run());
    assert.ok(second.bytes > MIB && second.bytes < 2 * MIB, `${second.bytes} bytes`);
    assert.deepEqual(
      second.volumes.map(({ kind }) => kind),
      ["incremental", "incremental"],
    );
    await same(root);
    await same(data);
    for (const node of [lab.n1, lab.n2]) {
      assert.deepEqual(await snapshots(node, root), [second.snapshot]);
      assert.deepEqual(await snapshots(node, data), [second.snapshot]);
    }
  });

  test("pauses the guest for volumes that cannot be snapshot at once, and lets it go before anything is sent", async () => {
    const events: string[] = [];
    const parts = lab.parts(lab.n1, lab.n2);
    const target = {
      ...bind(parts.target),
      send: (options: Parameters<typeof parts.target.send>[0]) => {
        events.push("send");
        return parts.target.send(options);
      },
    };
    const quiesce = async (level: string) => {
      events.push(level);
      return async () => {
        events.push("let go");
      };
    };
    succeeded(await run({ target, quiesce }));
    assert.deepEqual(events, ["Pause", "let go", "send", "send"]);
    events.length = 0;
    succeeded(await run({ target, quiesce }, request({ volumes: [root] })));
    assert.deepEqual(events, ["Freeze", "let go", "send"]);
  });

  test("keeps as many snapshots as the retention says, the user's and the other job's besides", async () => {
    await lab.n1.zfs.zfs("snapshot", `tank/guests/vm-${vmid}-root@0`);
    const retention = { source: 2, target: 3 };
    const made: string[] = [];
    for (let i = 0; i < 4; i++) made.push(succeeded(await run({}, request({ volumes: [root], retention }))).snapshot);
    const other = succeeded(await run({}, request({ job: `${vmid}-1`, volumes: [root], target: "n2" })));
    made.push(succeeded(await run({}, request({ volumes: [root], retention }))).snapshot);
    assert.deepEqual(await snapshots(lab.n1, root), ["0", ...made.slice(3, 4), other.snapshot, ...made.slice(4)]);
    assert.deepEqual(await snapshots(lab.n2, root), [...made.slice(2, 4), other.snapshot, ...made.slice(4)]);
  });

  test("turns round: what was the target becomes the source and sends the difference only", async () => {
    succeeded(await run());
    await lab.n1.storage.deactivate(root);
    await lab.n2.storage.activate(root);
    await scribble(lab.n2, root, { mib: 1, at: 5 });
    const back = await replicate(request({ source: "n2", target: "n1", volumes: [root] }), lab.parts(lab.n2, lab.n1));
    assert.ok(succeeded(back).bytes < 2 * MIB);
    await same(root);
    assert.equal(
      await shell(lab.n1, `test -e ${diskOf(root)} || echo gone`),
      "gone",
      "the old source can no longer be started from",
    );
  });
});

describe("a refusal", { skip }, () => {
  test("comes before the guest is disturbed and before anything is made", async () => {
    succeeded(await run());
    await lab.n2.zfs.zfs("snapshot", `tank/guests/vm-${vmid}-root@mine`);
    const quiesce = () => assert.fail("the guest was disturbed");
    const result = failed(await run({ quiesce }), "TargetNewer");
    assert.equal(result.class, "user");
    assert.match(result.message, /source:[\s\S]*target:[\s\S]*mine guid=/);
    assert.equal((await snapshots(lab.n1, root)).length, 1);
  });

  test("a target that was written to is not overwritten", async () => {
    succeeded(await run());
    await lab.n2.storage.activate(root);
    await shell(lab.n2, `echo changed | dd of=${diskOf(root)} conv=notrunc status=none`);
    const before = await checksum(lab.n2, root);
    await scribble(lab.n1, root, { mib: 1 });
    failed(await run(), "TargetModified");
    assert.equal(await checksum(lab.n2, root), before);
  });

  test("a dataset of the user's that has the volume's name is left alone", async () => {
    await lab.n2.zfs.zfs("create", `tank/guests/vm-${vmid}-root`);
    await shell(lab.n2, `echo precious > /run/pool/guests/vm-${vmid}-root/file`);
    failed(await run(), "NameTaken");
    assert.equal(await shell(lab.n2, `cat /run/pool/guests/vm-${vmid}-root/file`), "precious");
  });

  test("a diverged copy can be set aside, whole, and the run then sends all of it", async () => {
    succeeded(await run());
    await lab.n1.zfs.zfs(
      "release",
      `quorate:${vmid}-0`,
      `tank/guests/vm-${vmid}-root@${(await snapshots(lab.n1, root))[0]}`,
    );
    await lab.n1.zfs.zfs("destroy", `tank/guests/vm-${vmid}-root@${(await snapshots(lab.n1, root))[0]}`);
    failed(await run(), "NoCommonBase");
    const old = await checksum(lab.n2, root);
    const kept = await lab.n2.storage.replication?.setAside(root, Date.UTC(2026, 10, 21));
    assert.equal(kept, `tank/guests/kept-vm-${vmid}-root-20261121T000000Z`);
    await scribble(lab.n1, root, { mib: 1 });
    succeeded(await run());
    await same(root);
    await lab.n2.zfs.zfs("mount", kept ?? "");
    assert.match(
      await shell(lab.n2, `sha256sum /run/pool/guests/kept-vm-${vmid}-root-20261121T000000Z/disk.raw`),
      new RegExp(old),
    );
  });

  test("a missing volume fails the run as a whole and is named; once it is there it is sent whole, the other as a difference", async () => {
    succeeded(await run({}, request({ volumes: [root] })));
    const extra = volumeRef("extra", vmid);
    const result = failed(await run({}, request({ volumes: [root, extra] })), "DataMissing");
    assert.match(result.message, new RegExp(`vm-${vmid}-extra: the volume is not on the source`));
    assert.equal((await snapshots(lab.n1, root)).length, 1);
    await lab.n1.storage.ensureVolume(extra, { sizeBytes: MIB });
    const whole = succeeded(await run({}, request({ volumes: [root, extra] })));
    assert.deepEqual(
      whole.volumes.map(({ kind }) => kind),
      ["incremental", "full"],
    );
  });

  test("a node that owns the guest takes nothing from others", async () => {
    lab.n2.verdict = () => ({ allowed: false, reason: "GuestIsHere", message: "the guest is bound to n2" });
    failed(await run(), "GuestIsHere");
    assert.equal(await shell(lab.n2, `zfs list -H -o name | grep -c vm-${vmid} || true`), "0");
  });
});

describe("a broken run", { skip }, () => {
  test("the receiving command is killed: said so, nothing to be seen on the target, the next run is right", async () => {
    const result = run({ onProgress: () => {} }, request({ volumes: [root], bytesPerSecond: 2_000_000 }));
    await until("the receive", async () => (await receivers()).length > 0);
    for (const pid of await receivers()) process.kill(pid, "SIGKILL");
    assert.match(failed(await result, "CommandFailed").message, /SIGKILL/);
    assert.deepEqual(await lab.n2.storage.inspect([root]), [{ id: root, exists: false, snapshots: [] }]);
    succeeded(await run());
    await same(root);
  });

  test("the receiving command is killed in a difference: the target stays as it was, the next run is right", async () => {
    succeeded(await run());
    const before = await checksum(lab.n2, root);
    await scribble(lab.n1, root, { mib: 3, at: 4 });
    const result = run({}, request({ volumes: [root], bytesPerSecond: 1_000_000 }));
    await until("the receive", async () => (await receivers()).length > 0);
    for (const pid of await receivers()) process.kill(pid, "SIGKILL");
    failed(await result, "CommandFailed");
    assert.equal(await checksum(lab.n2, root), before);
    succeeded(await run());
    await same(root);
  });

  test("it is aborted in the middle of the stream: no process remains, the next run is right", async () => {
    const abort = new AbortController();
    const result = run({}, request({ volumes: [root], bytesPerSecond: 2_000_000 }), abort.signal);
    await until("the receive", async () => (await receivers()).length > 0);
    abort.abort();
    failed(await result, "Aborted");
    await until("the end of the receive", async () => (await receivers()).length === 0);
    succeeded(await run());
    await same(root);
  });

  test("the target's ZFS dies in the middle: the next run after its return is right", async () => {
    succeeded(await run({}, request({ volumes: [root] })));
    await scribble(lab.n1, root, { mib: 3, at: 4 });
    const result = run({}, request({ volumes: [root, data], bytesPerSecond: 1_000_000 }));
    await until("the receive", async () => (await receivers()).length > 0);
    await lab.n2.zfs.killDaemon();
    assert.equal((await result).outcome, "Failed");
    failed(await run(), "StorageMissing");
    await lab.n2.zfs.startDaemon();
    succeeded(await run());
    await same(root);
    await same(data);
  });

  test("the target is not there: unreachable, and no snapshot was made for nothing", async () => {
    const { client } = lab;
    const target = client.call(lab, lab.n1, { ...lab.n2, server: { ...lab.n2.server, port: 1 } });
    assert.equal(failed(await run({ target }), "NetworkUnreachable").class, "transient");
    assert.deepEqual(await snapshots(lab.n1, root), []);
  });

  test("a stream that ends too early is refused by the receiving side, though everybody calls it complete", async () => {
    const name = `quorate-${vmid}-0-20261121T000000Z`;
    await lab.n1.storage.replication?.snapshot([root], name, `${vmid}-0`);
    const [state] = await lab.n1.storage.inspect([root]);
    const cutAt = (bytes: number) =>
      lab.client(lab.n1, lab.n2).send({
        job: `${vmid}-0`,
        volume: root,
        toGuid: state?.snapshots[0]?.guid ?? "",
        produce: () =>
          lab.n1.zfs.host.spawn(
            "sh",
            ["-c", `zfs send tank/guests/vm-${vmid}-root@${name} 2>/dev/null | head -c ${bytes}`],
            { stdio: ["ignore", "pipe", "pipe"] },
          ),
        failure: (error) => error,
      });
    for (const bytes of [0, 100, MIB, 2 * MIB, 3 * MIB]) {
      await assert.rejects(cutAt(bytes), { class: /transient|environment/ }, `cut at ${bytes} bytes`);
      assert.deepEqual(
        await lab.n2.storage.inspect([root]),
        [{ id: root, exists: false, snapshots: [] }],
        `cut at ${bytes} bytes`,
      );
    }
    succeeded(await run());
    await same(root);
  });

  test("it breaks between two volumes: what a guest may be recovered to is the last whole set", async () => {
    const whole = succeeded(await run());
    await scribble(lab.n1, root, { mib: 1 });
    const parts = lab.parts(lab.n1, lab.n2);
    const target = {
      ...bind(parts.target),
      send: (options: Parameters<typeof parts.target.send>[0]) =>
        options.volume.volume === "data"
          ? Promise.reject(new QuorateError("transient", "ConnectionLost", "cut"))
          : parts.target.send(options),
    };
    failed(await run({ target }), "ConnectionLost");
    const states = await lab.n2.storage.inspect([root, data]);
    const set = newestCompleteSet(`${vmid}-0`, states);
    assert.equal(set?.name, whole.snapshot);
    assert.deepEqual(
      set?.ahead.map(({ id }) => id),
      [root],
    );
    const [ahead] = states;
    const old = ahead?.snapshots.find(({ name }) => name === whole.snapshot);
    assert.ok(old);
    await lab.n2.storage.replication?.rollback(root, `${vmid}-0`, old);
    assert.deepEqual(await snapshots(lab.n2, root), [whole.snapshot]);
    succeeded(await run());
    await same(root);
  });

  /** Receiving commands of the target, as this machine sees them. */
  async function receivers(): Promise<number[]> {
    const found = await shell(lab.n2, `pgrep -f '^zfs receive .*vm-${vmid}-' || true`);
    return found.split("\n").filter(Boolean).map(Number);
  }
});

function bind(target: ReplicationParts["target"]): ReplicationParts["target"] {
  return {
    listSnapshots: (...args) => target.listSnapshots(...args),
    send: (...args) => target.send(...args),
    destroySnapshots: (...args) => target.destroySnapshots(...args),
    rollBack: (...args) => target.rollBack(...args),
    branchOff: (...args) => target.branchOff(...args),
  };
}

describe("the surroundings", { skip }, () => {
  test("a full target is said to be full, keeps its old copy, and is caught up with when there is room", async () => {
    await using small = await TwoNodes.start({ n2: 128 * MIB });
    const volume = volumeRef("root");
    await small.n1.storage.ensureVolume(volume, { sizeBytes: 128 * MIB });
    await scribble(small.n1, volume, { mib: 4 });
    const job = { job: "100-0", source: "n1", target: "n2", volumes: [volume] };
    succeeded(await replicate(job, small.parts(small.n1, small.n2)));
    const before = await checksum(small.n2, volume);
    await small.n2.zfs.zfs("create", "-o", "reservation=64M", "tank/filler");
    await scribble(small.n1, volume, { mib: 40, at: 4 });
    const full = failed(await replicate(job, small.parts(small.n1, small.n2)), "NoSpace");
    assert.equal(full.class, "environment");
    assert.equal(await checksum(small.n2, volume), before);
    await small.n2.zfs.zfs("set", "reservation=none", "tank/filler");
    succeeded(await replicate(job, small.parts(small.n1, small.n2)));
    assert.equal(await checksum(small.n2, volume), await checksum(small.n1, volume));
  });

  test("two jobs of one guest to two targets at once: the slow one does not hold up the other", async () => {
    await using third = await TwoNodes.start();
    const slow = run({}, request({ volumes: [root], bytesPerSecond: 1_000_000 }));
    const parts = {
      ...lab.parts(lab.n1, lab.n2),
      target: new TransferClient({
        node: "n2",
        address: "127.0.0.1",
        port: third.n2.server.port,
        identity: third.n1.identity,
      }),
    };
    const fast = await replicate(request({ job: `${vmid}-1`, volumes: [root] }), parts);
    assert.equal(await Promise.race([slow.then(() => "ended"), "running"]), "running");
    succeeded(fast);
    succeeded(await slow);
    assert.equal(await checksum(third.n2, root), await checksum(lab.n1, root));
    await same(root);
    assert.equal((await snapshots(lab.n1, root)).length, 2);
  });

  test("what others have in the pool costs nothing: the same commands with hundreds of snapshots beside", async () => {
    const commands = async () => {
      const host = lab.n1.zfs.host;
      let count = 0;
      const counting = {
        ...host,
        run: (...args: Parameters<typeof host.run>) => {
          count++;
          return host.run(...args);
        },
      };
      const storage = openStorage(counting, { name: "tank", type: "ZFS", dataset: lab.n1.zfs.dataset });
      succeeded(await run({ host: counting, storage: () => storage }));
      return count;
    };
    succeeded(await run());
    const alone = await commands();
    await shell(
      lab.n1,
      "zfs create tank/guests/others; i=0; while [ $i -lt 300 ]; do zfs snapshot tank/guests/others@s$i; i=$((i+1)); done",
    );
    assert.equal(await commands(), alone);
  });
});
