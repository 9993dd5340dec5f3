import assert from "node:assert/strict";
import { existsSync, globSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { openStorage, type StorageDriver } from "../storage/index.ts";
import { startZfsFuseHost, until, type ZfsFuseHost, zfsFuseMissing } from "../storage/testing/index.ts";
import { type GuestDefinition, type GuestStatus, Guests, QmpClient } from "./index.ts";
import { withPlayedSystemd } from "./testing/index.ts";

const MIB = 1024 * 1024;
const FOLDER = "/run/quorate/guests/lab.web1";
const images = newestImages();
const skip = zfsFuseMissing() || missing();

let zfs: ZfsFuseHost;
let host: ReturnType<typeof withPlayedSystemd>;
let storage: StorageDriver;
let guests: Guests;

const web1: GuestDefinition = {
  namespace: "lab",
  name: "web1",
  vmid: 100,
  cpus: 1,
  memoryBytes: 128 * MIB,
  volumes: [{ storage: "tank", vmid: 100, volume: "root", sizeBytes: 64 * MIB }],
  machine: {
    image: "tiny",
    kernel: "tiny-vmlinux",
    initrd: "tiny-initrd",
    commandLine: "console=ttyS0 quiet mitigations=off note=$HOME",
  },
};

before(async () => {
  if (skip) return;
  zfs = await startZfsFuseHost();
  host = withPlayedSystemd(zfs.host);
  storage = openStorage(host, { name: "tank", type: "ZFS", dataset: zfs.dataset });
  guests = new Guests({
    host,
    storage: (name) => (name === "tank" ? storage : undefined),
    accelerator: "TCG",
    translationBufferMiB: 64,
  });
  // The image folder of this host alone: a layer over /var/lib in its private namespace.
  await sh(
    "mkdir -p /run/upper /run/work; mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work overlay /var/lib; mkdir -p /var/lib/quorate/images",
  );
  await sh(`cp --sparse=always ${images}/* /var/lib/quorate/images/`);
  await guests.provision(web1);
});

afterEach(async () => {
  if (!skip) await guests.stop(web1, { timeoutSeconds: 0 });
});

after(async () => {
  if (!skip) await zfs[Symbol.asyncDispose]();
});

const sh = async (line: string) => (await zfs.host.run("sh", ["-c", line], { timeoutMs: 60_000 })).stdout.trim();
const stateOf = async (guest: GuestDefinition): Promise<GuestStatus> => {
  const [state] = await guests.states([guest]);
  assert.ok(state);
  return state;
};
const consoleSays = (text: string) =>
  until(
    `"${text}" on the console`,
    async () => (await sh(`cat ${FOLDER}/console.log 2>/dev/null || true`)).includes(text),
    90_000,
  );

describe("a machine", { skip }, () => {
  test("boots from its ZFS volume, tells its state, and shuts itself down when asked", async () => {
    assert.deepEqual(await stateOf(web1), { state: "Stopped" });
    await guests.start(web1);
    const running = await stateOf(web1);
    assert.equal(running.state, "Running");
    assert.ok(running.pid !== undefined && existsSync(`/proc/${running.pid}`));
    assert.deepEqual(await guests.listRunning(), [{ namespace: "lab", name: "web1" }]);
    await consoleSays("READY");
    await guests.start(web1);
    assert.equal((await stateOf(web1)).pid, running.pid, "a running guest is not started twice");

    await guests.stop(web1, { timeoutSeconds: 60 });
    assert.deepEqual(await stateOf(web1), { state: "Stopped" });
    assert.ok(!existsSync(`/proc/${running.pid}`), "its process is gone");
    assert.ok(!host.calls.some((call) => call.includes("kill")), "and was not killed");
  });

  test("gets what a user wrote as it was written, though systemd would put variables in", async () => {
    await guests.start(web1);
    const { pid } = await stateOf(web1);
    assert.ok((await sh(`tr '\\0' '\\n' </proc/${pid}/cmdline`)).split("\n").includes(web1.machine?.commandLine ?? ""));
    assert.ok(
      host.calls.some((call) => call[0] === "systemd-run" && call.some((word) => word.includes("note=$$HOME"))),
    );
  });

  test("is ended when it does not shut itself down, and at once with a time of 0", async () => {
    // No system in it: nobody hears the power button.
    const deaf = { ...web1, machine: {} };
    await guests.start(deaf);
    await guests.stop(deaf, { timeoutSeconds: 1 });
    assert.equal((await stateOf(deaf)).state, "Stopped");
    await guests.start(deaf);
    const started = performance.now();
    await guests.stop(deaf, { timeoutSeconds: 0 });
    assert.ok(performance.now() - started < 5_000);
  });

  test("is killed when QEMU itself hangs, and is unknown until then, never stopped", async () => {
    await guests.start(web1);
    const { pid } = await stateOf(web1);
    assert.ok(pid !== undefined);
    process.kill(pid, "SIGSTOP");
    const { state, message } = await stateOf(web1);
    assert.equal(state, "Unknown", message);
    await guests.stop(web1, { timeoutSeconds: 0 });
    assert.ok(!existsSync(`/proc/${pid}`));
  });

  test("that dies by itself is stopped, and it is said how", async () => {
    await guests.start(web1);
    const { pid } = await stateOf(web1);
    assert.ok(pid !== undefined);
    process.kill(pid, "SIGKILL");
    await until("the end", async () => (await stateOf(web1)).state === "Stopped");
    assert.match((await stateOf(web1)).message ?? "", /signal/);
    await guests.start(web1);
    assert.equal((await stateOf(web1)).state, "Running", "and can be started again");
  });

  test("is unknown when systemd does not answer; what runs is not told as nothing", async () => {
    await guests.start(web1);
    host.silence(true);
    try {
      assert.equal((await stateOf(web1)).state, "Unknown");
      await assert.rejects(guests.listRunning(), { reason: "UnitUnknown" });
      await assert.rejects(guests.stop(web1, { timeoutSeconds: 0 }), { reason: "UnitUnknown" });
    } finally {
      host.silence(false);
    }
  });
});

describe("a pause", { skip }, () => {
  test("holds the guest for a snapshot and lets it go on", async () => {
    await guests.start(web1);
    const letGo = await guests.quiesce(web1, "Pause");
    assert.equal((await stateOf(web1)).state, "Paused");
    await letGo();
    assert.equal((await stateOf(web1)).state, "Running");
    assert.deepEqual(await guests.resumeForgotten(), []);
  });

  test("that a dead agent left behind is ended by the next one, and only that", async () => {
    await guests.start(web1);
    const dead = new Guests({ host, storage: () => storage, accelerator: "TCG" });
    await dead.quiesce(web1, "Pause");
    const next = new Guests({ host, storage: () => storage, accelerator: "TCG" });
    assert.deepEqual(await next.resumeForgotten(), ["lab.web1"]);
    assert.equal((await stateOf(web1)).state, "Running");
    // A person paused it: that is not ours to end.
    const qmp = await QmpClient.connect(host.path(FOLDER), "qmp.sock");
    await qmp.command("stop");
    qmp[Symbol.dispose]();
    assert.deepEqual(await next.resumeForgotten(), []);
    assert.equal((await stateOf(web1)).state, "Paused");
  });

  test("of a guest that does not run is nothing", async () => {
    await (await guests.quiesce(web1, "Pause"))();
    assert.equal((await stateOf(web1)).state, "Stopped");
  });
});

describe("a start is refused", { skip }, () => {
  const refused = (change: Partial<GuestDefinition>, reason: string) =>
    assert.rejects(guests.start({ ...web1, ...change }), { reason });
  const nothingRuns = async () => assert.deepEqual(await guests.listRunning(), []);

  test("without its data, whatever else is there", async () => {
    await refused(
      { volumes: [...web1.volumes, { storage: "tank", vmid: 100, volume: "data", sizeBytes: MIB }] },
      "DataMissing",
    );
    await refused({ volumes: [{ storage: "other", vmid: 100, volume: "root", sizeBytes: MIB }] }, "StorageMissing");
    await nothingRuns();
  });

  test("without its kernel", async () => {
    await refused({ machine: { kernel: "nope" } }, "ImageMissing");
    await nothingRuns();
  });

  test("and what the emulator said about it is in the error", async () => {
    const odd = new Guests({ host, storage: () => storage, accelerator: "TCG", machineType: "no-such-machine" });
    await assert.rejects(odd.start(web1), { reason: "StartFailed", message: /unsupported machine type/i });
    await nothingRuns();
  });
});

test("a console's log that has grown is cut while the guest writes on", { skip }, async () => {
  await guests.start(web1);
  await consoleSays("READY");
  const size = async () => Number(await sh(`stat -c %s ${FOLDER}/console.log`));
  assert.ok((await size()) > 50);
  await guests.trimConsoleLogs(50);
  assert.ok((await size()) < 50);
});

function newestImages(): string | undefined {
  const cache = process.env.QUORATE_CACHE ?? join(homedir(), ".cache/quorate");
  return globSync(join(cache, "lab-guests/tiny-*/tiny.raw"))
    .map((file) => join(file, ".."))
    .toSorted((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
    .at(-1);
}

function missing(): string | false {
  if (!existsSync("/usr/bin/qemu-system-x86_64")) return "qemu-system-x86_64 is not installed";
  return images === undefined ? "the lab's images of the tiny guest are not built (quorate lab up builds them)" : false;
}
