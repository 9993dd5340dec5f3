import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import type { Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { systemClock } from "../../clock.ts";
import { FakeHost } from "../host/index.ts";
import { type InstallKeeperOptions, installKeeper, removeKeeper } from "./install.ts";
import type { KeeperStatus } from "./protocol.ts";
import { listen } from "./server.ts";
import { CONFIG_PATH, SOCKET_PATH, UNIT_NAME } from "./unit.ts";

const UNIT_PATH = `/etc/systemd/system/${UNIT_NAME}`;
const config = {
  device: "/dev/watchdog0",
  timeoutSeconds: 4,
  proofMaxAgeMilliseconds: 2000,
  corosyncTimeoutMilliseconds: 1500,
};

/** A host whose systemd "runs" the keeper of the unit file: a socket that answers as the release in it. */
class KeeperHost extends FakeHost {
  status: Partial<KeeperStatus> = {};
  /** Releases that do not load on this host, and that load but never answer. */
  broken = "";
  mute = "";
  active = false;
  #server: Server | undefined;

  constructor() {
    super();
    this.on(["systemctl"], "");
    this.on(["sync"], "");
    this.on(
      ["systemctl", "--no-ask-password", "show"],
      () => `LoadState=loaded\nActiveState=${this.active ? "active" : "inactive"}\n`,
    );
    this.on(["systemctl", "--no-ask-password", "start"], () => (this.active ? "" : this.#run()));
    this.on(["systemctl", "--no-ask-password", "restart"], () => this.#run());
    for (const version of ["1.0", "1.1", "1.2"]) {
      this.on([`/opt/quorate/versions/${version}/node`], () => {
        const isThere = statSync(this.path(`/opt/quorate/versions/${version}/node`)).isFile();
        return isThere && this.broken !== version ? "" : { exitCode: 1, stderr: "cannot load koffi" };
      });
    }
  }

  async #run(): Promise<string> {
    this.#server?.close();
    const release = /"--release" "([^"]+)"/.exec(readFileSync(this.path(UNIT_PATH), "utf8"))?.[1] ?? "";
    this.active = true;
    if (release === this.mute) return "";
    const status: KeeperStatus = {
      ok: true,
      armed: false,
      expiring: false,
      device: config.device,
      quorate: true,
      held: true,
      ...this.status,
    };
    this.#server = await listen(this.path(SOCKET_PATH), async (operation) =>
      operation === "hello" ? { ok: true, release, protocol: 1, pid: 1 } : status,
    );
    return "";
  }

  restarts(): number {
    return this.commands.filter((command) => command.includes("restart")).length;
  }

  override [Symbol.dispose](): void {
    this.#server?.close();
    super[Symbol.dispose]();
  }
}

describe("the keeper is installed", () => {
  let image = "";
  let host: KeeperHost;
  before(() => {
    image = mkdtempSync(join(tmpdir(), "quorate-keeper-image-"));
    mkdirSync(join(image, "lib"));
    writeFileSync(join(image, "node"), "program", { mode: 0o755 });
    writeFileSync(join(image, "lib/quorate.mjs"), "script");
  });
  after(() => rmSync(image, { recursive: true, force: true }));
  beforeEach((t) => {
    host = new KeeperHost();
    if ("after" in t) t.after(() => host[Symbol.dispose]());
  });
  const options = (version: string, more: Partial<InstallKeeperOptions["config"]> = {}): InstallKeeperOptions => ({
    release: { folder: image, version, node: "node", script: "lib/quorate.mjs" },
    config: { ...config, ...more },
  });
  const unit = async () => String(await host.readFile(UNIT_PATH));

  test("on a host without one: copied, configured, enabled, started; the second time nothing happens", async () => {
    assert.equal(await installKeeper(host, options("1.0")), true);
    const folder = host.path("/opt/quorate/versions/1.0");
    assert.equal(readFileSync(join(folder, "lib/quorate.mjs"), "utf8"), "script");
    assert.equal(statSync(join(folder, "node")).mode & 0o777, 0o755);
    assert.equal(readlinkSync(join(dirname(dirname(folder)), "current")), "versions/1.0");
    assert.deepEqual(JSON.parse(String(await host.readFile(CONFIG_PATH))), config);
    assert.match(
      await unit(),
      /^ExecStart="\/opt\/quorate\/versions\/1.0\/node" "\/opt\/quorate\/versions\/1.0\/lib\/quorate.mjs" "keeper" "--release" "1.0"$/m,
    );
    assert.ok(host.commands.includes(`systemctl --no-ask-password enable ${UNIT_NAME}`));
    host.commands.length = 0;
    assert.equal(await installKeeper(host, options("1.0")), false);
    assert.deepEqual(host.commands, [`systemctl --no-ask-password show --property=ActiveState,LoadState ${UNIT_NAME}`]);
  });

  test("a newer release replaces an armed one; the one before is kept, older ones go", async () => {
    host.status = { armed: true, petAgeMs: 100 };
    for (const version of ["1.0", "1.1", "1.2"]) assert.equal(await installKeeper(host, options(version)), true);
    assert.equal(host.restarts(), 2);
    assert.match(await unit(), /versions\/1.2/);
    assert.deepEqual(readdirSync(host.path("/opt/quorate/versions")).sort(), ["1.1", "1.2"]);
  });

  test("a changed setting restarts it", async () => {
    await installKeeper(host, options("1.0"));
    assert.equal(await installKeeper(host, options("1.0", { corosyncTimeoutMilliseconds: 1000 })), true);
    assert.equal(host.restarts(), 1);
    assert.equal(JSON.parse(String(await host.readFile(CONFIG_PATH))).corosyncTimeoutMilliseconds, 1000);
  });

  test("nothing is touched while an armed keeper is without proof, or lets the host reset", async () => {
    for (const [status, reason] of [
      [{ armed: true, quorate: false, error: "no quorum" }, "KeeperNotPetting"],
      [{ armed: true, expiring: true }, "KeeperExpiring"],
    ] as const) {
      host.status = {};
      await installKeeper(host, options("1.0"));
      host.status = status;
      host.active = false;
      await host.run("systemctl", ["--no-ask-password", "start", UNIT_NAME], { timeoutMs: 1 });
      const before = await unit();
      await assert.rejects(installKeeper(host, options("1.1")), { class: "transient", reason });
      assert.equal(await unit(), before);
      assert.equal(host.restarts(), 0);
    }
  });

  test("a release that does not load on this host never becomes the keeper", async () => {
    await installKeeper(host, options("1.0"));
    host.broken = "1.1";
    await assert.rejects(installKeeper(host, options("1.1")), {
      reason: "CommandFailed",
      message: /cannot load koffi/,
    });
    assert.match(await unit(), /versions\/1.0/);
    assert.equal(host.restarts(), 0);
  });

  test("a release that does not pet within half the time-out is taken back", async () => {
    host.status = { armed: true, petAgeMs: 100 };
    await installKeeper(host, options("1.0"));
    host.mute = "1.1";
    const started = systemClock.elapsedMs();
    await assert.rejects(installKeeper(host, options("1.1")), {
      reason: "KeeperNotStarted",
      message: /keeper 1.1: not seen at work.*The one before it was started again/,
    });
    assert.ok(systemClock.elapsedMs() - started < 4000, "before the watchdog fires");
    assert.match(await unit(), /versions\/1.0/);
  });

  test("it is removed when it is disarmed, not before", async () => {
    host.status = { armed: true };
    await installKeeper(host, options("1.0"));
    await assert.rejects(removeKeeper(host), { reason: "KeeperArmed" });
    assert.match(await unit(), /versions/);
    host.status = {};
    await host.run("systemctl", ["--no-ask-password", "restart", UNIT_NAME], { timeoutMs: 1 });
    await removeKeeper(host);
    assert.equal(await host.readFile(UNIT_PATH), undefined);
    assert.equal(await host.readFile(CONFIG_PATH), undefined);
    assert.equal(existsSync(host.path("/opt/quorate")), false);
  });

  test("one that was stopped while armed in this boot stays: nobody knows any more how its watchdog is", async () => {
    await installKeeper(host, options("1.0"));
    const state = (bootId: string) => JSON.stringify({ armed: true, expiring: false, since: "", bootId });
    const path = "/var/lib/quorate/keeper-state.json";
    await host.writeFileAtomic(path, state(host.currentBootId), { mode: 0o600 });
    host.active = false;
    await assert.rejects(removeKeeper(host), { reason: "KeeperArmed" });
    await host.writeFileAtomic(path, state("an earlier one"), { mode: 0o600 });
    await removeKeeper(host);
    assert.equal(await host.readFile(path), undefined);
  });

  test("what would reach a command or a path is checked first", async () => {
    await assert.rejects(installKeeper(host, options("../1.0")), { reason: "InvalidRelease" });
    await assert.rejects(installKeeper(host, options("1.0", { device: "/etc/passwd" })), { reason: "InvalidWatchdog" });
    await assert.rejects(installKeeper(host, options("1.0", { timeoutSeconds: 1 })), {
      class: "user",
      reason: "InvalidWatchdog",
      message: /timeoutSeconds/,
    });
    assert.deepEqual(host.commands, []);
  });
});
