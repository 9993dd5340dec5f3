import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { guestId, guestOfUnit, imageFile, macAddressOf, unitOf } from "./names.ts";
import { qemuArguments } from "./qemu-args.ts";
import type { GuestDefinition } from "./types.ts";

const MIB = 1024 * 1024;
const guest: GuestDefinition = {
  namespace: "lab",
  name: "web1",
  vmid: 100,
  cpus: 2,
  memoryBytes: 256 * MIB,
  volumes: [],
  machine: {},
};
const how = { accelerator: { type: "TCG", bufferMiB: 32 }, machineType: "q35" } as const;
const disk = { volume: "root", path: "/pool/a,b=c/disk.raw", direct: true };

function after(args: readonly string[], option: string): string[] {
  return args.flatMap((word, i) => (args[i - 1] === option ? [word] : []));
}

test("a disk is written past the host's memory where that is possible, else through it", () => {
  const [direct = "", through = ""] = after(
    qemuArguments(guest, [disk, { ...disk, volume: "data", direct: false }], how),
    "-blockdev",
  );
  assert.deepEqual(JSON.parse(direct).file.cache, { direct: true, "no-flush": false });
  assert.deepEqual(JSON.parse(through).file.cache, { direct: false, "no-flush": false });
  const devices = after(qemuArguments(guest, [disk, { ...disk, direct: false }], how), "-device").filter((json) =>
    json.includes("blk"),
  );
  assert.deepEqual(
    devices.map((json) => JSON.parse(json)["write-cache"]),
    ["on", "off"],
  );
  assert.equal(JSON.parse(direct).file.filename, "/pool/a,b=c/disk.raw", "a comma in a path is no new option");
});

test("what a user writes becomes one argument or a value in JSON, and can add no option", () => {
  const plain = qemuArguments({ ...guest, machine: { kernel: "k", commandLine: "quiet" } }, [disk], how);
  fc.assert(
    fc.property(fc.string({ maxLength: 1024 }), fc.string(), (commandLine, path) => {
      fc.pre(/^[ -~]*$/.test(commandLine));
      const args = qemuArguments({ ...guest, machine: { kernel: "k", commandLine } }, [{ ...disk, path }], how);
      assert.equal(args.length, plain.length);
      assert.deepEqual(after(args, "-append"), [commandLine]);
      assert.equal(JSON.parse(after(args, "-blockdev")[0] ?? "").file.filename, path);
    }),
  );
});

test("an image is a file in the image folder and nothing else", () => {
  assert.equal(imageFile("debian-12"), "/var/lib/quorate/images/debian-12");
  for (const name of ["", "../x", "a/b", "/etc/shadow", "-x", ".hidden", "a..b", "a\0b", "a,b", "x".repeat(129)]) {
    assert.throws(() => imageFile(name), { reason: "InvalidDefinition" }, JSON.stringify(name));
    assert.throws(() => qemuArguments({ ...guest, machine: { kernel: name } }, [], how), {
      reason: "InvalidDefinition",
    });
  }
});

test("what cannot be a machine is refused with what to write instead", () => {
  const refused = (change: Partial<GuestDefinition>, message: RegExp) =>
    assert.throws(() => qemuArguments({ ...guest, ...change }, [], how), {
      class: "user",
      reason: "InvalidDefinition",
      message,
    });
  refused({ cpus: 0 }, /1 to 1024/);
  refused({ cpus: 1.5 }, /1 to 1024/);
  refused({ memoryBytes: MIB }, /at least 16Mi/);
  refused({ memoryBytes: Number.NaN }, /at least 16Mi/);
  refused({ machine: { initrd: "i" } }, /with a kernel only/);
  refused({ machine: { kernel: "k", commandLine: "a\nb" } }, /one line/);
  refused({ machine: { networks: [{ name: "net", bridge: "br0,script=/x" }] } }, /no bridge/);
  refused(
    { machine: { networks: [{ name: "net", bridge: "br0", macAddress: "53:54:00:00:00:00" }] } },
    /no hardware address/,
  );
  assert.throws(() => qemuArguments(guest, [], { ...how, machineType: "q35,x=y" }), { reason: "InvalidDefinition" });
});

test("no two guests share a unit, and a unit tells its guest", () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$/);
  const key = fc.record({ namespace: label, name: label }, { noNullPrototype: true });
  fc.assert(
    fc.property(key, key, (a, b) => {
      assert.deepEqual(guestOfUnit(unitOf(a)), a);
      assert.equal(unitOf(a) === unitOf(b), a.namespace === b.namespace && a.name === b.name);
    }),
  );
  assert.throws(() => guestId({ namespace: "a.b", name: "c" }), { reason: "InvalidDefinition" });
  assert.equal(guestOfUnit("quorate-agent.service"), undefined);
});

test("a network interface keeps its address wherever the guest runs, and differs from every other", () => {
  assert.match(macAddressOf(guest, 100, "net0"), /^52:54:00(:[0-9a-f]{2}){3}$/);
  assert.equal(macAddressOf(guest, 100, "net0"), macAddressOf({ ...guest }, 100, "net0"));
  assert.notEqual(macAddressOf(guest, 100, "net0"), macAddressOf(guest, 100, "net1"));
});
