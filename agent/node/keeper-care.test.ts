import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { pino } from "pino";
import type { Clock } from "../../clock.ts";
import { FakeHost } from "../host/index.ts";
import { SOCKET_PATH, UNIT_NAME } from "../keeper/index.ts";
import type { NodeCaches } from "./caches.ts";
import type { CorosyncSight } from "./corosync-sight.ts";
import type { GuestWatch } from "./guest-watch.ts";
import { KeeperCare } from "./keeper-care.ts";
import { Membership } from "./membership.ts";

const log = pino({ level: "silent" });
const UNIT_PATH = `/etc/systemd/system/${UNIT_NAME}`;
const STATE_PATH = "/var/lib/quorate/keeper-state.json";
const AUTHKEY_PATH = "/etc/corosync/authkey";

describe("the keeper of a node", () => {
  let host: FakeHost;
  let now = 0;
  let armed = false;
  let asked: string[] = [];
  let arming: Promise<void> | undefined;
  let server: Server;
  let self: Record<string, unknown> = {};
  const clock: Clock = {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
  const caches = {
    self: () => self,
    cluster: () => undefined,
    corosyncKey: () => undefined,
    corosyncConfig: () => ({
      metadata: { name: "quorate-corosync" },
      data: { "corosync.conf": "x", version: "7", admitted: "[]" },
    }),
  } as unknown as NodeCaches;
  const corosync = { status: undefined, quorum: { state: "Stopped" } } as unknown as CorosyncSight;
  const care = () =>
    new KeeperCare({
      host,
      clock,
      log,
      release: { folder: "", version: "1", node: "", script: "" },
      caches,
      corosync,
      goesDown: () => false,
      onChange: () => {},
    });
  const listen = async () => {
    server = createServer((socket) =>
      socket.on("data", async (data) => {
        const { op } = JSON.parse(String(data));
        asked.push(op);
        if (op === "arm") {
          await arming;
          armed = true;
        }
        if (op === "disarm") armed = false;
        socket.end(
          `${JSON.stringify({ ok: true, armed, expiring: false, device: "/dev/watchdog0", quorate: true })}\n`,
        );
      }),
    );
    await new Promise<void>((resolve) => server.listen(host.path(SOCKET_PATH), resolve));
  };
  beforeEach(async () => {
    host = new FakeHost();
    now = 0;
    armed = false;
    asked = [];
    arming = undefined;
    self = { metadata: { name: "n1" }, spec: { watchdog: { device: "/dev/watchdog0" } } };
    mkdirSync(host.path("/dev"), { recursive: true });
    mkdirSync(dirname(host.path(SOCKET_PATH)), { recursive: true });
    await listen();
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    host[Symbol.dispose]();
  });

  it("is armed without a look at drivers where the device is there", async () => {
    await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
    await care().arm();
    assert.deepEqual(asked, ["arm"]);
    assert.equal(host.commands.length, 0);
  });

  it("gets softdog loaded before it is armed on a host without any watchdog", async () => {
    host.on(["modprobe"], async () => {
      assert.deepEqual(asked, []);
      await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
      return "";
    });
    await care().arm();
    assert.deepEqual(host.commands, ["modprobe softdog"]);
    assert.deepEqual(asked, ["arm"]);
  });

  it("is not armed without a device; the way out is shown, and the driver is not asked for all the time", async () => {
    host.on(["modprobe"], { exitCode: 1, stderr: "Module softdog not found" });
    const made = care();
    await assert.rejects(made.arm(), { reason: "WatchdogMissing" });
    assert.match(made.problem ?? "", /no \/dev\/watchdog0.*softdog not found.*spec.watchdog/);
    now += 5_000;
    await assert.rejects(made.arm(), { reason: "WatchdogMissing" });
    assert.equal(host.commands.length, 1);
    await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
    now += 60_000;
    await made.arm();
    assert.equal(made.problem, undefined);
    assert.deepEqual(asked, ["arm"]);
  });

  const leaving = async (here: string[]) => {
    self = { metadata: { name: "n1", deletionTimestamp: "2026-11-21T00:00:00Z" }, spec: { watchdog: {} } };
    host.on(["systemctl"], "").on(["systemctl", "--no-ask-password", "show"], "ActiveState=active\nLoadState=loaded\n");
    await host.writeFileAtomic(UNIT_PATH, "unit", { mode: 0o644 });
    await host.writeFileAtomic(AUTHKEY_PATH, "key", { mode: 0o600 });
    mkdirSync(host.path("/var/lib/corosync"), { recursive: true });
    const keeper = care();
    await keeper.keep();
    let looked: string[] = [];
    const look = async () => {
      looked = here;
    };
    const guests = { look, here: () => looked } as unknown as GuestWatch;
    return { keeper, made: new Membership({ node: "n1", host, clock, log, caches, corosync, keeper, guests }) };
  };

  it("is removed from a host that left the cluster, once its watchdog is closed", async () => {
    armed = true;
    const { made, keeper } = await leaving([]);
    await made.follow();
    assert.ok(asked.indexOf("disarm") > 0);
    assert.equal(await host.readFile(UNIT_PATH), undefined);
    assert.equal(await host.readFile(AUTHKEY_PATH), undefined);
    assert.equal(keeper.program, undefined);
    // The LRM may still think that it guards something; corosync is stopping, and an armed host would reset.
    await assert.rejects(keeper.arm(), { reason: "NodeLeaves" });
    assert.ok(!asked.includes("arm"));
    const commands = host.commands.length;
    await made.follow();
    assert.equal(host.commands.length, commands);
  });

  const stays = async (made: Membership, reason: string) => {
    await assert.rejects(made.follow(), { reason });
    assert.ok(await host.readFile(UNIT_PATH), "the keeper is gone");
    assert.ok(await host.readFile(AUTHKEY_PATH), "corosync was wiped");
    assert.ok(!host.commands.some((command) => command.includes("stop")), "something was stopped");
  };

  for (const [what, isArmed] of Object.entries({ armed: true, "not armed": false })) {
    it(`stays where guests still run, ${what}, and so does corosync; the guests are looked for first`, async () => {
      armed = isArmed;
      const { made } = await leaving(["web1"]);
      await stays(made, "GuestsStillRun");
      assert.equal(armed, isArmed);
    });
  }

  it("that does not answer may be armed: corosync stays until it says that the watchdog is closed", async () => {
    armed = true;
    const { made, keeper } = await leaving([]);
    await new Promise((resolve) => server.close(resolve));
    await keeper.keep();
    assert.equal(keeper.status, undefined);
    await stays(made, "KeeperUnreachable");
    await listen();
    await made.follow();
    assert.equal(armed, false);
    assert.equal(await host.readFile(AUTHKEY_PATH), undefined);
  });

  it("is asked to close the watchdog whatever it said last", async () => {
    const { made } = await leaving([]);
    armed = true;
    await made.follow();
    assert.equal(armed, false);
  });

  it("that was stopped while armed keeps corosync there; one that was never installed does not", async () => {
    const { made } = await leaving([]);
    await new Promise((resolve) => server.close(resolve));
    const show = (state: string) => host.on(["systemctl", "--no-ask-password", "show"], state);
    const state = { armed: true, expiring: false, since: "", bootId: host.currentBootId };
    await host.writeFileAtomic(STATE_PATH, JSON.stringify(state), { mode: 0o600 });
    show("ActiveState=inactive\nLoadState=loaded\n");
    await stays(made, "KeeperArmed");
    // Without its file a unit that runs is "not-found" too.
    await host.removeFile(STATE_PATH);
    show("ActiveState=active\nLoadState=not-found\n");
    await stays(made, "KeeperUnreachable");
    await host.removeFile(UNIT_PATH);
    await host.removeFile(SOCKET_PATH);
    await made.follow();
    assert.equal(await host.readFile(AUTHKEY_PATH), undefined);
  });

  it("is not armed any more by an order that still looks for the device when the node begins to leave", async () => {
    const { made, keeper } = await leaving([]);
    const ordered = keeper.arm();
    host.on(["modprobe"], async () => {
      await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
      return "";
    });
    const [result] = await Promise.allSettled([ordered, made.follow()]);
    assert.equal(armed, false);
    assert.equal(result.status, "rejected");
    assert.equal(await host.readFile(AUTHKEY_PATH), undefined);
  });

  it("that is arming when the node begins to leave has ended that before it is asked to close", async () => {
    const { made, keeper } = await leaving([]);
    await host.writeFileAtomic("/dev/watchdog0", "", { mode: 0o600 });
    let go = () => {};
    arming = new Promise((resolve) => {
      go = resolve;
    });
    const ordered = keeper.arm();
    while (!asked.includes("arm")) await setImmediate();
    const left = made.follow();
    await delay(50);
    assert.ok(await host.readFile(AUTHKEY_PATH), "corosync was wiped");
    go();
    await Promise.all([ordered, left]);
    assert.equal(armed, false);
  });

  it("stays while it is armed, whatever was thought of it", async () => {
    const { keeper } = await leaving([]);
    armed = true;
    await assert.rejects(keeper.remove(), { reason: "KeeperArmed" });
    assert.ok(await host.readFile(UNIT_PATH));
  });
});
