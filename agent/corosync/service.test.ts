import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { FakeHost } from "../host/index.ts";
import { AUTHKEY_PATH, BACKUP_PATH, CONF_PATH } from "./config-file.ts";
import { startCorosync, wipeCorosync } from "./service.ts";

test("corosync is started for now and every boot, and comes back after a crash", async () => {
  using host = new FakeHost().on(["systemctl"], "");
  await startCorosync(host);
  assert.match(
    String(await host.readFile("/etc/systemd/system/corosync.service.d/quorate.conf")),
    /^Restart=on-failure$/m,
  );
  assert.deepEqual(
    host.commands,
    ["daemon-reload", "enable corosync.service", "start corosync.service"].map(
      (words) => `systemctl --no-ask-password ${words}`,
    ),
  );
});

test("a wiped host has no trace of its cluster; corosync is stopped before its files go", async () => {
  using host = new FakeHost();
  host.on(["systemctl"], async (args) => {
    if (args.includes("stop")) assert.notEqual(await host.readFile(CONF_PATH), undefined);
    return "";
  });
  for (const path of [CONF_PATH, BACKUP_PATH, AUTHKEY_PATH, "/var/lib/corosync/ringid_1", "/var/lib/corosync/other"]) {
    await host.writeFileAtomic(path, "x", { mode: 0o600 });
  }
  await startCorosync(host);
  await wipeCorosync(host);
  assert.deepEqual(readdirSync(host.path("/etc/corosync")), []);
  assert.deepEqual(readdirSync(host.path("/var/lib/corosync")), ["other"]);
  assert.deepEqual(readdirSync(host.path("/etc/systemd/system/corosync.service.d")), []);
  assert.deepEqual(
    host.commands.slice(-3),
    ["disable corosync.service", "stop corosync.service", "daemon-reload"].map(
      (words) => `systemctl --no-ask-password ${words}`,
    ),
  );
});
