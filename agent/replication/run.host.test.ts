import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { QuorateError } from "../../errors.ts";
import type { VolumeRef } from "../storage/index.ts";
import { until, zfsFuseMissing } from "../storage/testing/index.ts";
import { type ReplicationParts, type ReplicationRequest, type ReplicationResult, replicate } from "./index.ts";
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
      send: (options: Parameters<typeof parts.target.send>[0]) => (events.push("send"), parts.target.send(options)),
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
    const back = await replicate(request({ target: "n1", volumes: [root] }), lab.parts(lab.n2, lab.n1));
    assert.ok(succeeded(back).bytes < 2 * MIB);
    await same(root);
    assert.equal(await shell(lab.n1, `test -e ${diskOf(root)} || echo gone`), "gone", "the old source can no longer be started from");
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

  /** Receiving commands of the target, as this machine sees them. */
  async function receivers(): Promise<number[]> {
    const found = await shell(lab.n2, `pgrep -f 'zfs receive.*vm-${vmid}-' || true`);
    return found
      .split("\n")
      .filter(Boolean)
      .map(Number)
      .filter((pid) => pid !== process.pid);
  }
});

/**
 * The agent is killed: from a chosen effect on, nothing it does has any effect any more. `before` it, or `after` it
 * happened but before the agent knew.
 */
class Killer {
  effects: string[] = [];
  readonly #at: number;
  readonly #when: "before" | "after";
  #dead = false;

  constructor(at: number, when: "before" | "after") {
    this.#at = at;
    this.#when = when;
  }

  async effect<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#dead) throw new Killed();
    this.effects.push(name);
    const fatal = this.effects.length - 1 === this.#at;
    if (fatal) this.#dead = true;
    if (fatal && this.#when === "before") throw new Killed();
    const result = await work();
    if (this.#dead) throw new Killed();
    return result;
  }

  around<T extends object>(subject: T, prefix: string): T {
    return new Proxy(subject, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        if (key === "sendCommand" || key === "failure") return value.bind(target);
        return (...args: unknown[]) => this.effect(`${prefix}.${String(key)}`, () => value.apply(target, args));
      },
    });
  }

  parts(parts: ReplicationParts): ReplicationParts {
    const tank = parts.storage("tank");
    assert.ok(tank?.replication);
    const replication = this.around(tank.replication, "source");
    const storage = Object.assign(Object.create(tank), {
      replication,
      inspect: (ids: never) => this.effect("source.inspect", () => tank.inspect(ids)),
    });
    return {
      ...parts,
      storage: (name) => (name === "tank" ? storage : undefined),
      target: this.around(parts.target, "target"),
      quiesce: (level) =>
        this.effect("quiesce", async () => {
          const letGo = await parts.quiesce(level);
          return () => this.effect("let go", letGo);
        }),
      record: (success) => this.effect("record", () => parts.record(success)),
    };
  }
}

class Killed extends QuorateError {
  constructor() {
    super("bug", "Killed", "the agent was killed");
  }
}

describe("the agent is killed at every step of a run", { skip }, () => {
  for (const history of ["the first run", "a later run"] as const) {
    test(`of ${history}: the next run is right, and nothing is lost`, async () => {
      const counted = new Killer(-1, "before");
      const prepare = async () => {
        if (history === "a later run") succeeded(await run());
        await scribble(lab.n1, root, { mib: 1, at: 3 });
        await scribble(lab.n1, data, { mib: 1, at: 4 });
      };
      await lab.n1.zfs.zfs("snapshot", `tank/guests/vm-${vmid}-root@mine`);
      await prepare();
      succeeded(await run(counted.parts(lab.parts(lab.n1, lab.n2))));
      assert.ok(counted.effects.includes("record") && counted.effects.includes("let go"), counted.effects.join(" "));

      for (const [at, name] of counted.effects.entries()) {
        for (const when of ["before", "after"] as const) {
          if (history === "the first run") for (const volume of [root, data]) await removeCopy(volume);
          await scribble(lab.n1, root, { mib: 1, at: 5 });
          await scribble(lab.n1, data, { mib: 1, at: 6 });
          const killer = new Killer(at, when);
          const broken = await run(killer.parts(lab.parts(lab.n1, lab.n2)));
          const tidying = broken.outcome === "Succeeded";
          if (!tidying) failed(broken, "Killed");
          const context = `killed ${when} ${name} (${at})`;
          const next = await run();
          assert.ok(next.outcome === "Succeeded", `${context}: ${JSON.stringify(next, undefined, 1)}`);
          for (const volume of [root, data]) {
            assert.equal(
              await checksum(lab.n2, volume),
              await checksum(lab.n1, volume),
              `${context}: ${volume.volume} differs`,
            );
            const mine = volume === root ? ["mine"] : [];
            assert.deepEqual(await snapshots(lab.n1, volume), [...mine, next.snapshot], context);
            assert.deepEqual(await snapshots(lab.n2, volume), [next.snapshot], context);
          }
        }
      }
    });
  }

  async function removeCopy(volume: VolumeRef): Promise<void> {
    await lab.n2.storage.replication?.destroyReplica(volume, `${vmid}-0`);
  }
});

function bind(target: ReplicationParts["target"]): ReplicationParts["target"] {
  return {
    listSnapshots: (...args) => target.listSnapshots(...args),
    send: (...args) => target.send(...args),
    destroySnapshots: (...args) => target.destroySnapshots(...args),
    rollBack: (...args) => target.rollBack(...args),
  };
}
