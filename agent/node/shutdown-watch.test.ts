import assert from "node:assert/strict";
import { test } from "node:test";
import { pino } from "pino";
import { systemClock } from "../../clock.ts";
import { FakeHost } from "../host/index.ts";
import { ShutdownWatch } from "./shutdown-watch.ts";

const REQUEST = "/run/quorate/shutdown/request.json";
const ANSWER = "/run/quorate/shutdown/answer.json";

function watch(host: FakeHost, ended = { is: false }, program?: string) {
  let requests = 0;
  const made = new ShutdownWatch({
    host,
    clock: systemClock,
    log: pino({ level: "silent" }),
    program: () => program,
    lrmEnded: () => ended.is,
    onRequest: () => {
      requests += 1;
    },
  });
  return { made, requests: () => requests };
}
const answer = async (host: FakeHost) => JSON.parse(String(await host.readFile(ANSWER)));

test("a request reaches the LRM with the cluster's policy, and is answered until the LRM has ended", async () => {
  using host = new FakeHost();
  const ended = { is: false };
  const { made, requests } = watch(host, ended);
  await made.look();
  assert.deepEqual(made.view("Migrate"), {});
  await host.writeFileAtomic(REQUEST, '{"kind":"reboot"}', { mode: 0o600 });
  await made.look();
  assert.deepEqual(made.view("Migrate"), { shutdown: { kind: "reboot", policy: "migrate" } });
  assert.deepEqual(made.view(undefined), { shutdown: { kind: "reboot", policy: "conditional" } });
  const first = await answer(host);
  assert.equal(first.done, false);
  ended.is = true;
  await made.look();
  const second = await answer(host);
  assert.ok(second.done && second.beat !== first.beat);
  assert.equal(requests(), 1);
});

test("a request that is taken back makes the agent begin anew", async () => {
  using host = new FakeHost();
  const { made } = watch(host);
  await host.writeFileAtomic(REQUEST, '{"kind":"power-off"}', { mode: 0o600 });
  await made.look();
  assert.equal(made.withdrawn, false);
  await host.removeFile(REQUEST);
  await made.look();
  assert.equal(made.withdrawn, true);
});

test("what is no request is none, and is said", async () => {
  using host = new FakeHost();
  const { made } = watch(host);
  await host.writeFileAtomic(REQUEST, '{"kind":"lunch"}', { mode: 0o600 });
  await assert.rejects(made.look(), { reason: "InvalidShutdownRequest" });
  assert.equal(made.requested, false);
});

const show = (state: string) => `ActiveState=${state}\nLoadState=loaded\n`;

test("a shutdown that did not come is taken back only when the host is wholly up", async () => {
  for (const [unit, system, restarted] of [
    ["inactive", "running", true],
    ["inactive", "stopping", false],
    ["inactive", "maintenance", false],
    ["deactivating", "running", false],
    ["active", "running", false],
  ] as const) {
    using host = new FakeHost()
      .on(["systemctl"], "")
      .on(["systemctl", "--no-ask-password", "show"], show(unit))
      .on(["systemctl", "is-system-running"], { stdout: `${system}\n`, exitCode: 0 });
    const { made } = watch(host);
    await host.writeFileAtomic(REQUEST, '{"kind":"reboot"}', { mode: 0o600 });
    await made.look();
    await made.keepUnit();
    assert.equal(
      host.commands.some((line) => line.includes("restart quorate-shutdown.service")),
      restarted,
      `${unit}, ${system}`,
    );
  }
});

test("the unit is installed once the program is on the host", async () => {
  using host = new FakeHost()
    .on(["systemctl"], "")
    .on(["systemctl", "--no-ask-password", "show"], show("inactive"))
    .on(["systemctl", "is-system-running"], "running\n");
  await watch(host).made.keepUnit();
  assert.equal(host.commands.length, 0);
  await watch(host, { is: false }, "/opt/quorate/current").made.keepUnit();
  const unit = String(await host.readFile("/etc/systemd/system/quorate-shutdown.service"));
  assert.match(
    unit,
    /^ExecStop=\/opt\/quorate\/current\/bin\/node \/opt\/quorate\/current\/lib\/quorate.mjs host-shutdown$/m,
  );
  assert.ok(await host.readFile("/etc/systemd/system/quorate-guest-.service.d/shutdown.conf"));
  assert.ok(host.commands.some((line) => line.includes("start quorate-shutdown.service")));
});
