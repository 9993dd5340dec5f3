import assert from "node:assert/strict";
import { test } from "node:test";
import { QuorateError } from "../../errors.ts";
import { FakeHost } from "../host/index.ts";
import type { StorageDriver } from "../storage/index.ts";
import { type GuestDefinition, type GuestStatus, Guests } from "./index.ts";

const web: GuestDefinition = {
  namespace: "lab",
  name: "web",
  vmid: 7,
  cpus: 0,
  memoryBytes: 0,
  volumes: [],
  service: { unit: "web@1.service" },
};

function shown(active: string, load = "loaded"): string {
  return `Id=web@1.service\nLoadState=${load}\nActiveState=${active}\nMainPID=42\nResult=exit-code\nExecMainStatus=3\nActiveEnterTimestamp=@1795222800\n`;
}

function on(show: string | Error): { host: FakeHost; guests: Guests } {
  const host = new FakeHost().on(["systemctl"], "").on(["systemctl", "show"], show);
  return { host, guests: new Guests({ host, storage: () => undefined }) };
}

async function stateOf(guests: Guests, guest: GuestDefinition): Promise<GuestStatus> {
  const [state] = await guests.states([guest]);
  assert.ok(state);
  return state;
}

test("a service is what systemd says it is, and unknown when systemd says nothing", async () => {
  const states: [string, string][] = [
    [shown("active"), "Running"],
    [shown("inactive"), "Stopped"],
    [shown("failed"), "Stopped"],
    [shown("activating"), "Starting"],
    [shown("deactivating"), "Stopping"],
    [shown("maintenance"), "Unknown"],
    [shown("inactive", "not-found"), "Stopped"],
    ["", "Unknown"],
    ["Id=other.service\nActiveState=inactive\n", "Unknown"],
  ];
  for (const [show, expected] of states) {
    const { host, guests } = on(show);
    using _ = host;
    assert.equal((await stateOf(guests, web)).state, expected, show);
  }
  const { host, guests } = on(new Error("bus"));
  using _ = host;
  assert.equal((await stateOf(guests, web)).state, "Unknown");
});

test("all are asked for at once, and one that systemd does not tell of leaves the others known", async () => {
  const other = { ...web, name: "other", service: { unit: "other.service" } };
  const wrong = { ...web, name: "wrong", service: { unit: "wrong" } };
  const { host, guests } = on(`${shown("active")}\nId=alias.service\nActiveState=active\n`);
  using _ = host;
  const states = await guests.states([web, wrong, other, { ...web, machine: {} }]);
  assert.deepEqual(
    states.map(({ state }) => state),
    ["Running", "Unknown", "Unknown", "Unknown"],
  );
  assert.equal(host.commands.length, 1);
  assert.match(host.commands[0] ?? "", / -- web@1\.service other\.service$/);
});

test("a running one tells its process and since when", async () => {
  const { host, guests } = on(shown("active"));
  using _ = host;
  assert.deepEqual(await stateOf(guests, web), {
    state: "Running",
    pid: 42,
    startedAt: new Date(1795222800000).toISOString().replace(".000Z", "Z"),
  });
});

test("one that is not on the host is not started, and the error says what to do", async () => {
  const { host, guests } = on(shown("inactive", "not-found"));
  using _ = host;
  await assert.rejects(guests.start(web), { reason: "StartFailed", message: /install it on every node/ });
  assert.ok(!host.commands.some((line) => line.includes(" start ")));
});

test("one with volumes is started when each of them is this node's own, and not without one", async () => {
  const { host } = on(shown("inactive"));
  using _ = host;
  const activated: string[] = [];
  const driver = {
    activate: async ({ volume }: { volume: string }, uid: string) => {
      if (volume === "gone") throw new QuorateError("environment", "DataMissing", "gone");
      activated.push(`${volume} of ${uid}`);
    },
  } as unknown as StorageDriver;
  const guests = new Guests({ host, storage: (name) => (name === "tank" ? driver : undefined) });
  const volume = (name: string, storage = "tank") => ({ vmid: 7, volume: name, storage, sizeBytes: 512 });
  const isStarted = () => host.commands.some((line) => line.includes(" start "));
  for (const [volumes, reason] of [
    [[volume("data"), volume("gone")], "DataMissing"],
    [[volume("data", "other")], "StorageMissing"],
  ] as const) {
    await assert.rejects(guests.start({ ...web, volumes }), { reason });
    assert.equal(isStarted(), false);
  }
  activated.length = 0;
  await guests.start({ ...web, uid: "u1", volumes: [volume("data"), volume("more")] });
  assert.deepEqual(activated, ["data of u1", "more of u1"]);
  assert.equal(isStarted(), true);
});

test("one that does not end is killed, and is never called stopped while it runs", async () => {
  const { host, guests } = on(shown("active"));
  using _ = host;
  await assert.rejects(guests.stop(web, { timeoutSeconds: 1 }), { reason: "StopFailed" });
  assert.ok(host.commands.includes("systemctl kill --signal=SIGKILL -- web@1.service"));
});

test("one that runs is refused a pause, which nothing could give it; its moment is its own when one snapshot is enough", async () => {
  for (const active of ["active", "activating", "deactivating", "maintenance"]) {
    const { host, guests } = on(shown(active));
    using _ = host;
    const refused = { reason: "CannotPause", class: "user", message: /"web" is a service.*replicate: false/ };
    await assert.rejects(guests.quiesce(web, "Pause"), refused, active);
    await (await guests.quiesce(web, "Freeze"))();
  }
  const { host, guests } = on(new Error("bus"));
  using _ = host;
  await assert.rejects(guests.quiesce(web, "Pause"), { reason: "UnitUnknown" });
});

test("one that does not run writes nothing, so it needs no pause", async () => {
  for (const active of ["inactive", "failed"]) {
    const { host, guests } = on(shown(active));
    using _ = host;
    await (await guests.quiesce(web, "Pause"))();
  }
});

test("only the name of a service is taken, and exactly one kind of guest", async () => {
  const { host, guests } = on(shown("active"));
  using _ = host;
  for (const unit of ["", "--force.service", "web", "a b.service", "../x.service", "shutdown.target"]) {
    await assert.rejects(guests.start({ ...web, service: { unit } }), { reason: "InvalidDefinition" }, unit);
  }
  await assert.rejects(guests.start({ ...web, machine: {} }), { reason: "InvalidDefinition" });
  assert.deepEqual(host.commands, []);
});
