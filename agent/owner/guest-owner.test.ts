import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import type { Guest } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { processLog } from "../../log.ts";
import type { Guests } from "../guests/index.ts";
import { FakeHost } from "../host/index.ts";
import { GuestOwner } from "./index.ts";

const quiet = Object.assign(processLog("test"), { level: "silent" });

/** One dataset as `zfs get` of a host would show it: whose replica it is, if anybody's. */
function owner(
  host: FakeHost,
  guest: Guest,
  started: string[],
  start = async () => void started.push(guest.metadata.name),
): GuestOwner {
  const drivers = { start, provision: async () => assert.fail("no disk may be made"), stop: async () => undefined };
  return new GuestOwner({
    clock: systemClock,
    log: quiet,
    host,
    node: "n2",
    namespace: "lab",
    drivers: () => drivers as unknown as Guests,
    cluster: () => undefined,
    guest: () => guest,
    abortReceives: async () => undefined,
    sendVolumes: async () => assert.fail("old data must not be sent"),
    claim: () => () => undefined,
  });
}

function guest(change: { nodeName?: string; lastOn?: string; startedAt?: string; volumes?: string[] }): Guest {
  const volumes = change.volumes ?? ["root"];
  return {
    apiVersion: "quorate.dev/v1alpha1",
    kind: "Guest",
    metadata: { name: "web1", namespace: "lab", uid: "u1", annotations: { "quorate.dev/provisioned": "true" } },
    spec: {
      nodeName: change.nodeName ?? "n2",
      vmid: 100,
      onBoot: false,
      startDelaySeconds: 0,
      resources: { cpu: 1, memory: "96Mi" },
      volumes: volumes.map((name) => ({ name, storage: "tank", size: "64Mi", replicate: true })),
      machine: { driver: "QEMU", agent: "Disabled" },
    },
    status: {
      node: change.lastOn ?? "n1",
      // An agent of an earlier version does not say it.
      ...(change.startedAt === "" ? {} : { startedAt: change.startedAt ?? "2026-11-01T00:00:00Z" }),
      volumes: volumes.map((name) => ({ name })),
    },
  };
}

/** The storage of the owner, replaced by what it says of the one volume. */
function withVolume(
  made: GuestOwner,
  volume: { replicaOf?: string; snapshots: string[] },
  rolledBack: string[] = [],
): GuestOwner {
  Object.assign(made, {
    storage: () => ({
      shared: false,
      requireGuest: async () => undefined,
      inspect: async ([id]: { vmid: number; volume: string }[]) => [
        {
          id,
          exists: true,
          guid: "7",
          snapshots: volume.snapshots.map((name, index) => ({
            name,
            guid: `${index + 1}`,
            createTxg: index,
            createdAt: 0,
            holds: 0,
          })),
          ...(volume.replicaOf === undefined ? {} : { replicaOf: volume.replicaOf }),
        },
      ],
      replication: {
        branchOff: async (_id: unknown, _job: string, to: { name: string }) => void rolledBack.push(to.name),
      },
    }),
  });
  return made;
}

const SNAPSHOT = "quorate-100-0-20261121T010000Z";
const abort = new AbortController().signal;

describe("the owner of a guest", () => {
  it("starts a guest that last ran elsewhere from the copy that replication made", async () => {
    using host = new FakeHost();
    const started: string[] = [];
    await withVolume(owner(host, guest({}), started), { replicaOf: "100-0", snapshots: [SNAPSHOT] }).start(
      "web1",
      abort,
    );
    assert.deepEqual(started, ["web1"]);
  });

  it("never starts it from an old disk of its own that is older than what it wrote since", async () => {
    using host = new FakeHost();
    const started: string[] = [];
    const made = withVolume(owner(host, guest({}), started), { snapshots: [SNAPSHOT] });
    await assert.rejects(made.start("web1", abort), { reason: "StaleData" });
    assert.deepEqual(started, []);
  });

  it("starts it from its own disk where it last ran", async () => {
    using host = new FakeHost();
    const started: string[] = [];
    await withVolume(owner(host, guest({ lastOn: "n2" }), started), { snapshots: [SNAPSHOT] }).start("web1", abort);
    assert.deepEqual(started, ["web1"]);
  });

  it("goes on with disks that it took over before a failed start", async () => {
    using host = new FakeHost();
    const started: string[] = [];
    const object = guest({});
    let fails = true;
    const first = owner(host, object, started, async () => {
      if (fails) throw new Error("the machine did not start");
      started.push("web1");
    });
    await assert.rejects(withVolume(first, { replicaOf: "100-0", snapshots: [SNAPSHOT] }).start("web1", abort));
    fails = false;
    // The disks are activated now: no replica any more.
    await withVolume(first, { snapshots: [SNAPSHOT] }).start("web1", abort);
    assert.deepEqual(started, ["web1"]);
  });

  it("sends nothing from a node on which the guest did not run last, when it moves on", async () => {
    using host = new FakeHost();
    const made = owner(host, guest({ lastOn: "n1" }), [], async () => undefined);
    await withVolume(made, { snapshots: [SNAPSHOT] }).move("web1", "n3", "restart", abort);
  });

  it("never starts a guest that is bound to another node", async () => {
    using host = new FakeHost();
    const started: string[] = [];
    await assert.rejects(owner(host, guest({ nodeName: "n3" }), started).start("web1", abort), { reason: "WrongNode" });
    assert.deepEqual(started, []);
  });
});

interface Disk {
  /** The dataset's. */
  guid: string;
  replicaOf?: string;
  /** The uid of the Guest object whose volume it is. */
  guest?: string;
  snapshots: string[];
}

/** A node with disks on which the start of the guest may fail. */
class Node {
  object = guest({});
  disks: Record<string, Disk> = {};
  startFails = false;
  readonly started: string[] = [];
  /** The volumes that were taken back, what they had beyond that being kept. */
  readonly takenBack: string[] = [];
  /** What was being taken back when an agent died. */
  brokenOff: Record<string, Disk> = {};
  readonly owner: GuestOwner;

  constructor(host: FakeHost) {
    this.owner = new GuestOwner({
      clock: systemClock,
      log: quiet,
      host,
      node: "n2",
      namespace: "lab",
      drivers: () =>
        ({
          start: async () => {
            if (this.startFails) throw new Error("the machine did not start");
            this.started.push(this.object.metadata.name);
          },
          provision: async () => assert.fail("no disk may be made"),
        }) as unknown as Guests,
      cluster: () => undefined,
      guest: () => this.object,
      abortReceives: async () => undefined,
      sendVolumes: async () => assert.fail("old data must not be sent"),
      claim: () => () => undefined,
    });
    Object.assign(this.owner, {
      storage: () => ({
        shared: false,
        requireGuest: async ({ volume }: { volume: string }, uid: string) => {
          const of = this.disks[volume]?.guest ?? uid;
          if (of !== uid) throw new QuorateError("user", "OtherGuest", `${volume} is of ${of}`);
        },
        inspect: async ([id]: { vmid: number; volume: string }[]) => [this.#state(id)],
        replication: {
          branchOff: async ({ volume }: { volume: string }, _job: string, to: { name: string }) => {
            this.takenBack.push(`${volume}@${to.name}`);
            const disk = this.disks[volume] ?? assert.fail(volume);
            // A clone: another volume under that name.
            disk.guid += "0";
            disk.snapshots.splice(disk.snapshots.indexOf(to.name) + 1);
            return `kept-${volume}`;
          },
          finishBranch: async ({ volume }: { volume: string }) => {
            const { [volume]: disk, ...others } = this.brokenOff;
            this.brokenOff = others;
            if (disk !== undefined) this.disks[volume] = disk;
            return disk !== undefined;
          },
        },
      }),
    });
  }

  /** It has a copy of the only disk, takes it over, and the machine does not start the first time. */
  async takeOverAndFailToStart(): Promise<void> {
    this.disks = { root: copy(run(1)) };
    this.startFails = true;
    await assert.rejects(this.start(), /did not start/);
    this.activate("root");
    this.startFails = false;
  }

  /** As activation does: the disk is the node's own from then on. */
  activate(volume: string): void {
    delete this.disks[volume]?.replicaOf;
  }

  start(): Promise<void> {
    return this.owner.start("web1", abort);
  }

  #state(id: { vmid: number; volume: string } | undefined) {
    const disk = this.disks[id?.volume ?? ""];
    if (disk === undefined) return { id, exists: false, snapshots: [] };
    return {
      ...disk,
      id,
      exists: true,
      snapshots: disk.snapshots.map((name, index) => ({
        name,
        guid: `${disk.guid}${name}`,
        createTxg: index,
        createdAt: 0,
        holds: 0,
      })),
    };
  }
}

const run = (day: number) => `quorate-100-0-202611${String(day).padStart(2, "0")}T000000Z`;
const copy = (...snapshots: string[]): Disk => ({ guid: "1", replicaOf: "100-0", snapshots });

describe("the mark of a take-over", () => {
  it("counts for the rest of the disks when the start failed between two of them", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.object = guest({ volumes: ["root", "data"] });
    node.disks = { root: copy(run(1), run(2)), data: copy(run(1)) };
    node.startFails = true;
    await assert.rejects(node.start(), /did not start/);
    assert.deepEqual(node.takenBack, [`root@${run(1)}`]);
    node.activate("root");
    await assert.rejects(node.start(), /did not start/);
    node.activate("data");
    node.startFails = false;
    await node.start();
    assert.deepEqual(node.started, ["web1"]);
  });

  it("counts no more when the guest ran anywhere since, on the same node too", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    await node.takeOverAndFailToStart();
    // HA took it to n3, and back to n1, where it wrote for weeks until n1 died again.
    node.object = guest({ startedAt: "2026-11-02T00:00:00Z" });
    await assert.rejects(node.start(), { reason: "StaleData" });
  });

  it("is removed when the guest runs somewhere else, and when it is bound there and that cannot be told", async () => {
    for (const [taken, seen, counts] of [
      [{}, {}, true],
      [{}, { lastOn: "n3" }, false],
      [{}, { startedAt: "2026-11-02T00:00:00Z" }, false],
      // Tried on n3 in vain: what n2 took over is still what the guest wrote last.
      [{}, { nodeName: "n3" }, true],
      [{ startedAt: "" }, { startedAt: "", nodeName: "n3" }, false],
    ] as const) {
      using host = new FakeHost();
      const node = new Node(host);
      node.object = guest(taken);
      await node.takeOverAndFailToStart();
      node.object = guest(seen);
      await node.owner.forgetTakeOvers();
      node.object = guest(taken);
      if (counts) await node.start();
      else await assert.rejects(node.start(), { reason: "StaleData" });
    }
  });

  it("never lets a mixture of two runs start: copies that came since are looked at anew", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.object = guest({ volumes: ["root", "data"] });
    node.disks = { root: copy(run(1)), data: copy(run(1)) };
    node.startFails = true;
    await assert.rejects(node.start(), /did not start/);
    node.startFails = false;
    node.disks = { root: copy(run(1), run(5), run(6)), data: copy(run(1), run(5)) };
    await node.start();
    assert.deepEqual(node.takenBack, [`root@${run(5)}`]);
  });

  it("does not count for another disk, nor for another guest of that name, nor when an earlier version made it", async () => {
    const changes: ((node: Node, host: FakeHost) => void | Promise<void>)[] = [
      (node) => void Object.assign(node.disks.root ?? {}, { guid: "2" }),
      (node) => void Object.assign(node.object.metadata, { uid: "u2" }),
      (_, host) => host.writeFileAtomic("/var/lib/quorate/takeover/lab.web1", "u1 n1", { mode: 0o600 }),
    ];
    for (const change of changes) {
      using host = new FakeHost();
      const node = new Node(host);
      await node.takeOverAndFailToStart();
      await change(node, host);
      await assert.rejects(node.start(), { reason: "StaleData" });
    }
  });
});

describe("a volume of another guest that had this vmid", () => {
  it("is not taken over, not rolled back, and not started from where the guest ran last", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.object = guest({ volumes: ["root", "data"] });
    node.disks = { root: copy(run(1), run(2)), data: { ...copy(run(1)), guest: "u0" } };
    await assert.rejects(node.start(), { reason: "OtherGuest" });
    assert.deepEqual(node.takenBack, []);
    node.activate("root");
    node.activate("data");
    node.object = guest({ volumes: ["root", "data"], lastOn: "n2" });
    await assert.rejects(node.start(), { reason: "OtherGuest" });
    node.disks.data = { ...copy(run(1)), guest: "u1" };
    await node.start();
  });

  it("is what a volume of an earlier version may be, which is taken for this guest's as it has data", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.disks = { root: copy(run(1)) };
    await node.start();
    assert.deepEqual(node.started, ["web1"]);
  });
});

describe("volumes of which some are ahead of the others", () => {
  it("are left as they are while one is missing, or its storage is", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.object = guest({ volumes: ["root", "data", "extra"] });
    node.disks = { root: copy(run(1), run(2)), data: copy(run(1)) };
    await assert.rejects(node.start(), { reason: "DataMissing", message: /"web1" can't start on n2: volume "extra"/ });
    const { storage } = node.owner;
    Object.assign(node.owner, { storage: () => undefined });
    await assert.rejects(node.start(), { reason: "StorageMissing" });
    Object.assign(node.owner, { storage });
    assert.deepEqual(node.takenBack, []);
    node.disks.extra = copy(run(1));
    await node.start();
    assert.deepEqual(node.takenBack, [`root@${run(1)}`]);
    assert.deepEqual(node.started, ["web1"]);
  });

  it("are all there when an agent died while it took one of them back", async () => {
    using host = new FakeHost();
    const node = new Node(host);
    node.object = guest({ volumes: ["root", "data"] });
    node.disks = { data: copy(run(1)) };
    node.brokenOff = { root: copy(run(1)) };
    await node.start();
    assert.deepEqual(node.started, ["web1"]);
  });
});
