import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Reply } from "./protocol.ts";
import { CONFIG, World } from "./testing/world.ts";

function refused(reply: Reply, reason: string, message?: RegExp): void {
  assert.ok(!reply.ok, `expected a refusal with ${reason}`);
  assert.equal(reply.reason, reason);
  if (message !== undefined) assert.match(reply.message, message);
}

async function statusOf(world: World) {
  const reply = await world.ask("status");
  assert.ok(reply.ok && "armed" in reply);
  return reply;
}

const no = { quorate: false, ringId: "3.2", takesMs: 20 };
const yes = { quorate: true, ringId: "1.1", takesMs: 20 };

describe("petting", () => {
  test("a keeper that is not armed touches nothing, quorate or not", async () => {
    const world = new World();
    await world.tick(5);
    world.corosync = no;
    await world.tick(5);
    assert.deepEqual(world.device.pings, []);
  });

  test("each proof is one pet", async () => {
    const world = await new World().armed();
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), ["pet", "pet", "pet"]);
  });

  test("no quorum, no pet; quorum again, petting again", async () => {
    const world = await new World().armed();
    world.corosync = no;
    assert.deepEqual(await world.pingsOf(() => world.tick(5)), []);
    assert.match((await statusOf(world)).error ?? "", /not petting: .*without quorum/);
    world.corosync = { ...yes, ringId: "1.3" };
    assert.deepEqual(await world.pingsOf(() => world.tick()), ["pet"]);
    assert.equal((await statusOf(world)).error, undefined);
  });

  test("no answer, no pet", async () => {
    const world = await new World().armed();
    world.corosync = "silent";
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
  });

  test("an answer that comes when its question is older than F is no proof", async () => {
    for (const [takesMs, pings] of [
      [CONFIG.proofMaxAgeMilliseconds - 10, ["pet"]],
      // The clock's step counts as age.
      [CONFIG.proofMaxAgeMilliseconds - 9, []],
    ] as const) {
      const world = await new World().armed();
      world.corosync = { ...yes, takesMs };
      assert.deepEqual(await world.pingsOf(() => world.tick()), pings, `${takesMs} ms`);
    }
  });

  test("a corosync that was silent beyond its token time-out is not believed on its old ring", async () => {
    const world = await new World().armed();
    await world.tick();
    world.nowMs += 3500;
    assert.deepEqual(await world.pingsOf(() => world.tick(2)), [], "it may not know yet that it is out");
    world.corosync = { ...yes, ringId: "1.5" };
    assert.deepEqual(await world.pingsOf(() => world.tick()), ["pet"], "it took part in a new membership");
  });

  test("a failing write is said and tried again", async () => {
    const world = await new World().armed();
    world.device.petFails = Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
    await world.tick(2);
    assert.match((await statusOf(world)).error ?? "", /host resets.*EIO/);
    world.device.petFails = undefined;
    assert.deepEqual(await world.pingsOf(() => world.tick()), ["pet"]);
  });

  test("a device that is gone is opened again when it is back", async () => {
    const world = await new World().armed();
    world.device.petFails = Object.assign(new Error("ENODEV"), { code: "ENODEV" });
    world.device.openFails = Object.assign(new Error("ENOENT: no such file"), { code: "ENOENT" });
    await world.tick(2);
    assert.match((await statusOf(world)).error ?? "", /ENOENT/);
    assert.equal((await statusOf(world)).armed, true);
    refused(await world.ask("arm"), "WatchdogUnavailable");
    world.device.petFails = undefined;
    world.device.openFails = undefined;
    await world.tick();
    const status = await statusOf(world);
    assert.equal(status.error, undefined);
    assert.equal(status.timeoutSeconds, 10);
  });

  test("a host that outlived the time in which it had to be reset is petted no more", async () => {
    const world = await new World().armed();
    await world.tick();
    // Suspended: the watchdog stood still, corosync wakes up and rejoins.
    world.nowMs += 60_000;
    world.corosync = { ...yes, ringId: "1.9" };
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
    assert.equal(world.disk?.expiring, true);
    assert.match((await statusOf(world)).error ?? "", /suspended/);
  });
});

describe("arm", () => {
  test("opens, reads the time-out back, pets, is on the disk, and says so", async () => {
    const world = new World();
    await world.tick();
    const reply = await world.ask("arm");
    assert.ok(reply.ok && "armed" in reply);
    assert.deepEqual(
      [reply.armed, reply.timeoutSeconds, reply.identity, reply.held, reply.quorate],
      [true, 10, "Fake Watchdog", true, true],
    );
    assert.deepEqual(
      world.device.pings.map(({ by }) => by),
      ["open", "setTimeout", "pet"],
    );
    assert.deepEqual([world.disk?.armed, world.disk?.bootId], [true, "boot-1"]);
  });

  test("twice is once", async () => {
    const world = await new World().armed();
    assert.deepEqual(await world.pingsOf(() => world.ask("arm")), []);
  });

  test("is refused without a fresh proof of quorum, and the device is not touched", async () => {
    const world = new World();
    refused(await world.ask("arm"), "NoQuorumProof");
    world.corosync = no;
    await world.tick();
    refused(await world.ask("arm"), "NoQuorumProof", /without quorum/);
    world.corosync = yes;
    await world.tick();
    world.nowMs += 2000;
    refused(await world.ask("arm"), "NoQuorumProof");
    await world.tick();
    world.corosync = no;
    await world.tick();
    refused(await world.ask("arm"), "NoQuorumProof");
    assert.deepEqual(world.device.pings, []);
    assert.equal(world.disk, undefined);
  });

  for (const [what, reason, spoil] of [
    ["a longer time-out than asked for", "WatchdogTimeoutMismatch", (w: World) => (w.device.granted = () => 30)],
    ["a time-out that cannot be read", "WatchdogTimeoutUnknown", (w: World) => (w.device.granted = () => undefined)],
    ["a time-out too short for a healthy host", "WatchdogTimeoutTooShort", (w: World) => (w.device.granted = () => 2)],
    [
      "a driver that disarms when the keeper dies",
      "WatchdogStopsOnClose",
      (w: World) => (w.device.supports.magicClose = false),
    ],
    [
      "a driver of which that is not known",
      "WatchdogStopsOnClose",
      (w: World) => (w.device.supports.magicClose = undefined),
    ],
  ] as const) {
    test(`is refused for ${what}, and the device is closed again`, async () => {
      const world = new World();
      spoil(world);
      await world.tick();
      refused(await world.ask("arm"), reason);
      assert.equal(world.device.isActive, false);
      assert.equal(world.disk?.armed, false);
      assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
    });
  }

  test("is refused when the device is not there, or its state cannot be written", async () => {
    const world = new World();
    await world.tick();
    world.device.openFails = Object.assign(new Error("ENOENT: no such file"), { code: "ENOENT" });
    refused(await world.ask("arm"), "WatchdogUnavailable", /ENOENT/);
    world.device.openFails = undefined;
    world.diskFails = "write";
    refused(await world.ask("arm"), "StateNotWritten");
    assert.deepEqual(world.device.pings, []);
  });

  test("is refused when nobody would hold the device for a dead keeper", async () => {
    const world = new World();
    world.systemd = "absent";
    world.startKeeper();
    await world.tick();
    refused(await world.ask("arm"), "NoDescriptorStore");
    world.startKeeper({ descriptorStore: "None" });
    await world.tick();
    assert.equal((await world.ask("arm")).ok, true);
  });

  test("that failed and could not be closed again stays armed and petted", async () => {
    const world = new World();
    world.device.granted = () => 30;
    world.device.closeFails = "error";
    await world.tick();
    refused(await world.ask("arm"), "WatchdogNotClosed");
    assert.equal((await statusOf(world)).armed, true);
    assert.deepEqual(await world.pingsOf(() => world.tick()), ["pet"]);
  });
});

describe("disarm", () => {
  test("closes with the magic letter, verified, then forgets", async () => {
    const world = await new World().armed();
    const reply = await world.ask("disarm");
    assert.ok(reply.ok && "armed" in reply && !reply.armed && !reply.held);
    assert.equal(world.device.isActive, false);
    assert.equal(world.disk?.armed, false);
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
  });

  test("of what is not armed is done", async () => {
    assert.equal((await new World().ask("disarm")).ok, true);
  });

  test("that leaves the device active is refused, and it is petted on", async () => {
    const world = await new World().armed();
    for (const fault of ["error", "stays active"] as const) {
      world.device.closeFails = fault;
      refused(await world.ask("disarm"), "WatchdogNotClosed");
      assert.equal(world.disk?.armed, true);
      assert.equal((await world.pingsOf(() => world.tick())).at(-1), "pet");
    }
  });

  test("is refused for a device without a way out", async () => {
    const world = await new World().armed();
    world.device.supports.nowayout = true;
    refused(await world.ask("disarm"), "WatchdogNoWayOut");
    assert.equal(world.device.isActive, true);
  });

  test("whose word cannot be written leaves it armed", async () => {
    const world = await new World().armed();
    world.diskFails = "write";
    refused(await world.ask("disarm"), "StateNotWritten");
    assert.equal((await statusOf(world)).armed, true);
    assert.equal(world.device.isActive, true, "said to be armed, and closed");
  });

  test("whose disk fails when the device is closed says what is so, and writes it when asked again", async () => {
    const world = await new World().armed();
    world.writesLeft = 1;
    refused(await world.ask("disarm"), "StateNotWritten");
    assert.equal(world.device.isActive, false);
    assert.equal((await statusOf(world)).armed, false);
    const pings = world.device.pings.length;
    refused(await world.ask("disarm"), "StateNotWritten");
    world.writesLeft = Number.POSITIVE_INFINITY;
    assert.equal((await world.ask("disarm")).ok, true);
    assert.equal(world.disk?.armed, false);
    assert.equal(world.device.pings.length, pings, "opened anew, which starts it");
  });

  test("works after a restart, before this keeper has petted", async () => {
    const world = await new World().armed();
    world.corosync = no;
    world.killKeeper();
    world.startKeeper();
    await world.tick();
    assert.equal((await world.ask("disarm")).ok, true);
    assert.equal(world.device.isActive, false);
  });
});

describe("expire", () => {
  test("ends petting for good, whatever corosync says", async () => {
    const world = await new World().armed();
    assert.equal((await world.ask("expire")).ok, true);
    assert.equal(world.disk?.expiring, true);
    assert.deepEqual(await world.pingsOf(() => world.tick(5)), []);
    assert.equal(world.device.isActive, true);
  });

  test("survives the keeper; arm and disarm are refused; only a reset ends it", async () => {
    const world = await new World().armed();
    await world.ask("expire");
    const pings = await world.pingsOf(async () => {
      world.killKeeper();
      world.startKeeper();
      await world.tick(5);
      refused(await world.ask("arm"), "ExpireOrdered");
      refused(await world.ask("disarm"), "ExpireOrdered");
    });
    assert.deepEqual(pings, []);
    assert.equal((await statusOf(world)).expiring, true);
    world.reset();
    assert.equal((await statusOf(world)).expiring, false);
    await world.armed();
  });

  test("is refused when nothing is armed: nothing would reset the host", async () => {
    refused(await new World().ask("expire"), "NotArmed");
  });

  test("stops the petting even when it cannot be written", async () => {
    const world = await new World().armed();
    world.diskFails = "write";
    refused(await world.ask("expire"), "StateNotWritten");
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
  });
});

describe("a keeper that is started", () => {
  test("while armed goes on where the other was: no pet by dying or starting, the first with its own proof", async () => {
    const world = await new World().armed();
    await world.tick();
    const pings = await world.pingsOf(() => {
      world.killKeeper();
      world.startKeeper();
    });
    assert.deepEqual(pings, []);
    const status = await statusOf(world);
    assert.deepEqual([status.armed, status.held], [true, true]);
    assert.deepEqual(await world.pingsOf(() => world.tick(2)), ["setTimeout", "pet", "pet"]);
  });

  test("while armed and without quorum does not touch the device", async () => {
    const world = await new World().armed();
    world.corosync = no;
    const pings = await world.pingsOf(async () => {
      for (let i = 0; i < 5; i++) {
        world.killKeeper();
        world.startKeeper();
        await world.tick();
      }
    });
    assert.deepEqual(pings, []);
  });

  test("remembers how long no keeper was there, and doubts corosync on the old ring", async () => {
    const world = await new World().armed();
    await world.tick();
    world.killKeeper();
    world.nowMs += 4000;
    world.startKeeper();
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
    assert.match((await statusOf(world)).error ?? "", /not believed yet/);
    assert.deepEqual(
      await world.pingsOf(() => world.tick(8)).then((pings) => pings.at(-1)),
      "pet",
      "it went on answering",
    );
  });

  test("without that memory doubts too", async () => {
    const world = await new World().armed();
    world.killKeeper();
    world.record = undefined;
    world.startKeeper();
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
  });

  test("after a reset of the host is not armed", async () => {
    const world = await new World().armed();
    world.reset();
    assert.equal((await statusOf(world)).armed, false);
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
  });

  test("between the magic letter and the last close finishes that close", async () => {
    const world = await new World().armed();
    assert.ok(world.disk !== undefined);
    world.disk = { ...world.disk, armed: false };
    world.killKeeper();
    world.startKeeper();
    const status = await statusOf(world);
    assert.deepEqual([status.armed, status.held], [false, false]);
  });

  test("with a state that cannot be read arms, pets, disarms and expires nothing", async () => {
    const world = await new World().armed();
    world.killKeeper();
    world.diskFails = "read";
    world.startKeeper();
    assert.deepEqual(await world.pingsOf(() => world.tick(3)), []);
    for (const operation of ["arm", "disarm", "expire"] as const)
      refused(await world.ask(operation), "StateUnreadable", /remove the file/);
    const status = await statusOf(world);
    assert.match(status.error ?? "", /cannot be read/);
    assert.equal(status.armed, true, "the device still counts, and nothing may rest on that it does not");
  });
});
