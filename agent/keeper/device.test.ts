import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { watchdogDevice } from "./device.ts";
import { ioctl } from "./libc.ts";

/** A FIFO stands for the device and files for its sysfs; no ioctl of a watchdog works on it. */
describe("a device that is only a file", () => {
  let folder = "";
  let fifo = "";
  let sysfs = "";
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "quorate-device-"));
    fifo = join(folder, "watchdog7");
    execFileSync("mkfifo", [fifo]);
    sysfs = join(folder, "sysfs");
    mkdirSync(join(sysfs, "watchdog7"), { recursive: true });
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  const sysfsSays = (values: Record<string, string>) => {
    for (const [name, value] of Object.entries(values)) writeFileSync(join(sysfs, "watchdog7", name), `${value}\n`);
  };
  /** Opens the reading end, does the work, returns what was written. */
  async function written(work: () => Promise<void> | void): Promise<string> {
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      await work();
      const buffer = Buffer.alloc(100);
      return buffer.toString("latin1", 0, readSync(reader, buffer));
    } finally {
      closeSync(reader);
    }
  }

  test("without sysfs nothing is known of it, not even a time-out", async () => {
    const device = watchdogDevice(fifo, join(folder, "nothing"));
    await written(() => {
      const open = device.open();
      assert.equal(open.setTimeout(10), undefined);
      assert.deepEqual(
        Object.values(open.facts()).filter((value) => value !== undefined),
        [],
      );
      open.abandon();
    });
  });

  test("sysfs tells what the device does not", async () => {
    sysfsSays({ timeout: "10", identity: "i6300ESB timer", nowayout: "0", options: "0x8180", state: "inactive" });
    const device = watchdogDevice(fifo, sysfs);
    const expected = {
      identity: "i6300ESB timer",
      timeoutSeconds: 10,
      nowayout: false,
      magicClose: true,
      active: false,
    };
    assert.deepEqual(device.facts(), expected);
    await written(() => {
      const open = device.open();
      assert.deepEqual(open.facts(), expected);
      assert.equal(open.setTimeout(7), 10, "what it has, not what was asked for");
      open.abandon();
    });
    sysfsSays({ options: "0x8080", nowayout: "1" });
    assert.deepEqual([device.facts().magicClose, device.facts().nowayout], [false, true]);
  });

  test("a pet is a byte that is not the magic letter; the letter comes last, before systemd's copy goes", async () => {
    sysfsSays({ state: "inactive" });
    const device = watchdogDevice(fifo, sysfs);
    const order: string[] = [];
    const bytes = await written(async () => {
      const open = device.open();
      open.pet();
      open.pet();
      assert.equal(await open.magicClose(() => order.push("dropped")), true);
      assert.throws(() => open.pet(), { code: "EBADF" });
    });
    assert.equal(bytes, "..V");
    assert.deepEqual(order, ["dropped"]);
  });

  test("a close that sysfs contradicts is not believed", async () => {
    sysfsSays({ state: "active" });
    await written(async () =>
      assert.equal(
        await watchdogDevice(fifo, sysfs)
          .open()
          .magicClose(() => {}),
        false,
      ),
    );
  });

  test("when systemd's copy cannot be taken back it stays open", async () => {
    await written(async () => {
      const open = watchdogDevice(fifo, sysfs).open();
      await assert.rejects(
        open.magicClose(() => {
          throw new Error("no systemd");
        }),
        /no systemd/,
      );
      open.pet();
      open.abandon();
    });
  });

  test("a FIFO without a reader does not stop the keeper", () => {
    assert.throws(() => watchdogDevice(fifo, sysfs).open(), { code: "ENXIO" });
  });

  test("the old name is that of the first watchdog; a link is followed", () => {
    mkdirSync(join(sysfs, "watchdog0"));
    writeFileSync(join(sysfs, "watchdog0/identity"), "first\n");
    assert.equal(watchdogDevice("/dev/watchdog", sysfs).facts().identity, "first");
    symlinkSync(fifo, join(folder, "watchdog"));
    assert.equal(watchdogDevice(join(folder, "watchdog"), sysfs).facts().identity, "i6300ESB timer");
  });

  test("ioctl reaches the kernel, and its refusal comes back by name", () => {
    const fd = openSync("/dev/null", "r");
    try {
      assert.throws(() => ioctl(fd, 0x80045707, Buffer.alloc(4)), { code: "ENOTTY" });
    } finally {
      closeSync(fd);
    }
    // FIONREAD, which a pipe knows: the argument is written by the kernel.
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    writeFileSync(writer, "12345");
    const count = Buffer.alloc(4);
    ioctl(reader, 0x541b, count);
    assert.equal(count.readInt32LE(), 5);
    closeSync(reader);
    closeSync(writer);
  });
});
