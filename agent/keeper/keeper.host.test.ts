import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../clock.ts";
import { makeRing, type Ring, type RingNode, ringUnavailable, until } from "../corosync/testing/ring.ts";
import { KeeperClient } from "./client.ts";
import type { StoredState } from "./state-file.ts";

const CONFIG = "/run/keeper.json";
const STATE = "/run/keeper-state.json";
const SOCKET = "/run/keeper.sock";
const DEVICE = "/run/watchdog0";
const SYSFS = "/run/sysfs";
const PROOF_MAX_AGE_MS = 1000;
const POLL_MS = 500;

/**
 * The keeper's process on a host with a real corosync, a ring of one. Its device is a FIFO, read by the test; sysfs is
 * made of files, as no ioctl works on a FIFO. The tests are one story, in order.
 */
describe("the keeper's process", { skip: ringUnavailable() }, () => {
  let ring: Ring;
  let node: RingNode;
  let keeper: ChildProcess | undefined;
  let fifo = -1;
  let log = "";

  before(async () => {
    ring = await makeRing({ tokenMilliseconds: 1000 });
    node = await ring.addNode();
    await node.configure(ring.config(1, [1]));
    node.start();
    await node.host.run("mkfifo", [DEVICE], { timeoutMs: 5000 });
    fifo = openSync(node.host.path(DEVICE), constants.O_RDONLY | constants.O_NONBLOCK);
    const config = {
      device: DEVICE,
      timeoutSeconds: 10,
      proofMaxAgeMilliseconds: PROOF_MAX_AGE_MS,
      corosyncTimeoutMilliseconds: 800,
      tokenMilliseconds: 2000,
      settleMilliseconds: 2000,
      descriptorStore: "None",
      sysfs: SYSFS,
    };
    await node.host.writeFileAtomic(CONFIG, JSON.stringify(config), { mode: 0o600 });
    start();
    await until(
      "the keeper has proof of quorum",
      async () => (await status())?.quorate === true,
      () => `${JSON.stringify(last)}\n${log}\n${node.log()}`,
    );
  });
  after(async () => {
    await kill("SIGKILL");
    if (fifo !== -1) closeSync(fifo);
    await ring?.[Symbol.asyncDispose]();
  });
  const client = () => new KeeperClient(node.host.path(SOCKET));
  let last: unknown;
  const status = async () => {
    const found = await client()
      .status()
      .catch((error: unknown) => {
        last = error;
        return undefined;
      });
    if (found !== undefined) last = found;
    return found;
  };
  const state = async () => JSON.parse(String(await node.host.readFile(STATE))) as StoredState;
  function start(): void {
    const namespaces = ["--target", String(node.pid), "--mount", "--uts", "--net", "--ipc"];
    const main = join(import.meta.dirname, "../../main.ts");
    const words = [
      process.execPath,
      "--disable-warning=ExperimentalWarning",
      main,
      "keeper",
      "--config",
      CONFIG,
      "--state",
      STATE,
      "--socket",
      SOCKET,
      "--release",
      "test",
    ];
    keeper = spawn("setpriv", ["--pdeathsig", "KILL", "nsenter", ...namespaces, ...words], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    keeper.stderr?.on("data", (chunk) => {
      log += String(chunk);
    });
  }
  async function kill(signal: NodeJS.Signals): Promise<void> {
    if (keeper === undefined || keeper.exitCode !== null || keeper.signalCode !== null) return;
    const ended = once(keeper, "exit");
    keeper.kill(signal);
    await ended;
  }
  /** What was written to the device since the last call. */
  function written(): string {
    const buffer = Buffer.alloc(4096);
    let bytes = "";
    try {
      for (let length = readSync(fifo, buffer); length > 0; length = readSync(fifo, buffer))
        bytes += buffer.toString("latin1", 0, length);
    } catch (error) {
      // EAGAIN: somebody has it open and wrote nothing.
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
    return bytes;
  }
  const petted = (times: number) => {
    let seen = "";
    return until(
      `${times} pets`,
      async () => {
        seen += written();
        return seen.length >= times;
      },
      () => `${JSON.stringify(last)} ${JSON.stringify(seen)}\n${log}`,
    );
  };
  /** No pet for this long, from now on. */
  async function silentFor(ms: number): Promise<void> {
    written();
    const from = systemClock.elapsedMs();
    while (systemClock.elapsedMs() - from < ms) {
      assert.equal(written(), "", `a pet ${systemClock.elapsedMs() - from} ms after it had to be silent`);
      await systemClock.sleep(50);
    }
  }

  test("says who it is", async () => {
    const hello = await client().hello();
    assert.deepEqual([hello.release, hello.protocol], ["test", 1]);
    assert.equal(hello.pid, keeper?.pid);
  });

  test("arms nothing whose time-out cannot be read back", async () => {
    await assert.rejects(client().arm(), { reason: "WatchdogTimeoutUnknown" });
    assert.equal(written(), "V", "closed again, never petted");
    assert.equal((await state()).armed, false);
  });

  test("arms with the quorum of a real corosync, and pets twice a second", async () => {
    for (const [name, value] of Object.entries({
      timeout: "10",
      identity: "FIFO",
      options: "0x8180",
      nowayout: "0",
      state: "inactive",
    })) {
      await node.host.writeFileAtomic(`${SYSFS}/watchdog0/${name}`, value, { mode: 0o644 });
    }
    const armed = await client().arm();
    assert.deepEqual([armed.armed, armed.identity, armed.timeoutSeconds, armed.held], [true, "FIFO", 10, false]);
    assert.equal((await state()).armed, true);
    const tookMs = await petted(5);
    assert.ok(tookMs > 3 * POLL_MS && tookMs < 10 * POLL_MS, `5 pets in ${tookMs} ms`);
  });

  test("killed with -9 and started again it goes on by itself", async () => {
    await kill("SIGKILL");
    await silentFor(1000);
    start();
    const backMs = await petted(1);
    assert.ok(backMs < 5000, `first pet after ${backMs} ms`);
    assert.equal((await status())?.armed, true);
  });

  test("a frozen corosync ends the petting within F and a poll; it is petted again when corosync is back", async () => {
    node.signal("SIGSTOP");
    try {
      await systemClock.sleep(PROOF_MAX_AGE_MS + POLL_MS);
      await silentFor(2000);
      assert.match((await status())?.error ?? "", /not petting: corosync did not answer/);
    } finally {
      node.signal("SIGCONT");
    }
    await petted(2);
    assert.equal((await status())?.error, undefined);
  });

  test("a killed corosync ends it too", async () => {
    await node.kill();
    await systemClock.sleep(POLL_MS);
    await silentFor(1500);
    assert.match((await status())?.error ?? "", /not petting: corosync gave no answer/);
    node.start();
    await petted(1);
  });

  test("ended by SIGTERM while armed it does not close the watchdog, and says so", async () => {
    written();
    log = "";
    await kill("SIGTERM");
    assert.ok(!written().includes("V"));
    assert.match(log, /ended while armed/);
    assert.equal(keeper?.exitCode, 0);
    start();
    await petted(1);
  });

  test("disarms with the magic letter as the last word", async () => {
    await client().disarm();
    assert.match(written(), /^\.*V$/);
    assert.equal((await state()).armed, false);
    await silentFor(1500);
  });

  test("told to let it expire it never pets again, not after kill -9 either", async () => {
    await client().arm();
    await client().expire();
    assert.deepEqual([(await state()).armed, (await state()).expiring], [true, true]);
    await silentFor(1500);
    await kill("SIGKILL");
    start();
    await until(
      "the keeper answers",
      async () => (await status())?.quorate === true,
      () => log,
    );
    assert.equal((await status())?.expiring, true);
    await silentFor(1500);
    await assert.rejects(client().disarm(), { reason: "ExpireOrdered" });
    await assert.rejects(client().arm(), { reason: "ExpireOrdered" });
  });

  test("another keeper does not start beside it", async () => {
    const first = keeper;
    log = "";
    start();
    assert.ok(keeper !== undefined);
    const [code] = await once(keeper, "exit");
    keeper = first;
    assert.notEqual(code, 0);
    assert.match(log, /another keeper answers/);
  });
});
