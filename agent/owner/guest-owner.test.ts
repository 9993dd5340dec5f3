import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import type { Guest } from "../../crds/index.ts";
import type { Guests } from "../guests/index.ts";
import { FakeHost } from "../host/index.ts";
import { GuestOwner } from "./index.ts";

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

function guest(change: { nodeName?: string; lastOn?: string }): Guest {
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
      volumes: [{ name: "root", storage: "tank", size: "64Mi", replicate: true }],
      machine: { driver: "QEMU", agent: "Disabled" },
    },
    status: { node: change.lastOn ?? "n1", volumes: [{ name: "root" }] },
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
      inspect: async ([id]: { vmid: number; volume: string }[]) => [
        {
          id,
          exists: true,
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
        rollback: async (_id: unknown, _job: string, to: { name: string }) => void rolledBack.push(to.name),
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
