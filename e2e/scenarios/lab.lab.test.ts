/**
 * The lab itself: what the other scenarios rely on is tried here on its own, without Quorate.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../clock.ts";
import { findLab, type Lab, type LabHost, labUp, tearDown, waitFor } from "../lab/index.ts";
import { cacheFolder } from "../tools/index.ts";

const NAME = "test-lab";
const skip =
  process.platform !== "linux" ? "a lab needs Linux" : process.getuid?.() !== 0 ? "a lab needs root" : false;

describe("three hosts", { skip }, () => {
  let lab: Lab;
  let upSeconds: number;

  before(async () => {
    await tearDown(NAME);
    const began = systemClock.elapsedMs();
    lab = await labUp({ hosts: 3, name: NAME });
    upSeconds = (systemClock.elapsedMs() - began) / 1000;
  });
  after(async () => {
    await tearDown(NAME);
  });

  test("are Ready Kubernetes nodes with an orderly systemd", async (t) => {
    t.diagnostic(`up in ${upSeconds.toFixed(1)} s`);
    const nodes = await lab.kubectl(["get", "nodes", "--no-headers"]);
    assert.deepEqual(nodes.match(/^\S+ +\S+/gm), ["n1     Ready", "n2     Ready", "n3     Ready"]);
    for (const host of lab.hosts) {
      assert.equal(await host.output("systemctl", ["is-system-running"]), "running", host.name);
    }
  });

  test("have corosync installed, but neither enabled nor configured", async () => {
    const host = lab.host("n1");
    const { stdout } = await host.run("systemctl", ["is-enabled", "corosync.service"], { exitCodes: [1] });
    assert.equal(stdout.trim(), "disabled");
    await host.run("test", ["!", "-e", "/etc/corosync/corosync.conf"]);
  });

  test("have ZFS, btrfs, a folder they share, and an identity of their own", async () => {
    const ids = await Promise.all(lab.hosts.map((host) => host.output("cat", ["/etc/machine-id"])));
    assert.equal(new Set(ids).size, 3);
    for (const host of lab.hosts) {
      assert.equal(await host.output("zfs", ["get", "-H", "-o", "value", "mountpoint", "tank/guests"]), "/srv/tank");
      assert.equal(await host.output("stat", ["--file-system", "--format=%T", "/srv/btrfs"]), "btrfs");
    }
    await lab.host("n1").run("sh", ["-c", "echo from n1 >/srv/shared/note"]);
    assert.equal(await lab.host("n3").output("cat", ["/srv/shared/note"]), "from n1");
  });

  test("run the pods of a DaemonSet, which reach the API server by its service address", async () => {
    await lab.kubectl(["apply", "-f", "-"], { input: JSON.stringify(daemonSet("probe", false)) });
    await lab.kubectl(["rollout", "status", "daemonset/probe", "--timeout=60s"], { timeoutMs: 70_000 });
    const pods = await lab.kubectl(["get", "pods", "--selector=app=probe", "--output=name"]);
    const [pod = ""] = pods.trim().split("\n");
    const answer = await lab.kubectl(["exec", pod, "--", "/bin/busybox", "nc", "-w", "3", "10.96.0.1", "443", "-e", "/bin/busybox", "true"]);
    assert.equal(answer, "");
  });

  describe("the watchdog", () => {
    const petter = (seconds: number) =>
      `exec 3>/dev/watchdog0; while :; do echo -n . >&3; sleep ${seconds}; done`;
    const startPetter = async (host: LabHost, timeoutSeconds: number, script: string) => {
      await host.run("wdctl", ["--settimeout", String(timeoutSeconds), "/dev/watchdog0"]);
      await host.run("systemd-run", ["--quiet", "--collect", "--unit=petter", "sh", "-c", script]);
      await waitFor(() => host.watchdog().pets > 0 && host.watchdog().armed, 5_000, "the watchdog to be petted");
    };

    test("an orderly close disarms it, and it does not fire while it is petted", async () => {
      const host = lab.host("n1");
      const until = host.watchdog().pets + 8;
      await startPetter(host, 2, `trap 'echo -n V >&3; exec 3>&-; exit' TERM; ${petter(0.5)}`);
      await waitFor(() => host.watchdog().pets >= until, 10_000, "eight pets");
      assert.equal(host.watchdog().armed, true);
      assert.equal(host.watchdog().timeoutSeconds, 2);
      await host.run("systemctl", ["stop", "petter"]);
      await waitFor(() => !host.watchdog().armed, 2_000, "the watchdog to be closed");
      assert.equal(host.watchdog().expirations, 0);
    });

    test("resets a host whose petter was killed, after the time-out, and the host comes back", async (t) => {
      const host = lab.host("n1");
      const bootBefore = await startOfInit(host);
      await startPetter(host, 3, petter(0.5));
      await host.kill("petter");
      const closed = await waitFor(() => host.watchdogEvents().findLast((e) => e.event === "closed" && e.armed === true), 2_000, "the close without a V");
      const expired = await event(host, "expired", closed.time);
      const killed = await event(host, "killed", closed.time);
      const started = await event(host, "started", closed.time);
      const seconds = secondsBetween(closed.time, expired.time);
      t.diagnostic(`expired ${seconds.toFixed(2)} s after the last pet's opener died, dead ${killed.milliseconds} ms later, started ${secondsBetween(killed.time, started.time).toFixed(2)} s after`);
      assert.ok(seconds > 2.3 && seconds < 3.2, `expired after ${seconds} s`);
      await host.waitUntilBooted();
      assert.notEqual(await startOfInit(host), bootBefore);
      assert.match(await host.output("wdctl", ["--flags-only", "--noheadings"]), /CARDRESET.* 1$/m);
    });

    test("fires for a frozen host too, and the host stays off when told so", async (t) => {
      const host = lab.host("n2");
      host.setOnReset({ reboot: false, delaySeconds: 0 });
      await startPetter(host, 3, petter(0.2));
      const frozenAt = new Date().toISOString();
      await host.freeze();
      assert.equal(host.isFrozen(), true);
      const expired = await event(host, "expired", frozenAt);
      const seconds = secondsBetween(frozenAt, expired.time);
      t.diagnostic(`expired ${seconds.toFixed(2)} s after the freeze`);
      assert.ok(seconds > 2.5 && seconds < 3.6, `expired after ${seconds} s`);
      await waitFor(() => !host.isOn(), 2_000, "the frozen host to be off");
      await host.powerOn();
      assert.equal(host.watchdog().armed, false);
      host.setOnReset({ reboot: true, delaySeconds: 3 });
    });
  });

  describe("corosync on them", () => {
    before(async () => {
      await startCorosync(lab);
    });

    test("has three votes", async () => {
      await votes(lab.host("n1"), 3);
    });

    test("keeps its votes when one link is cut, and shows the link", async () => {
      const host = lab.host("n3");
      await host.cut({ link: 1 });
      const broken = async () => /link: 1|LINK ID 1[\s\S]*disconnected/.test(await host.output("corosync-cfgtool", ["-s"])) && /disconnected/.test(await host.output("corosync-cfgtool", ["-s"]));
      await waitFor(broken, 10_000, "link 1 to be disconnected");
      await votes(host, 3);
      await host.heal({ link: 1 });
      await waitFor(async () => !(await broken()), 10_000, "link 1 to be connected again");
    });

    for (const traffic of ["corosync", undefined] as const) {
      test(`loses the host whose ${traffic ?? "every"} frame is dropped, and gets it back`, async (t) => {
        const host = lab.host("n3");
        const began = systemClock.elapsedMs();
        await host.cut(traffic ? { traffic } : {});
        await Promise.all([votes(lab.host("n1"), 2), votes(host, 1)]);
        t.diagnostic(`noticed after ${systemClock.elapsedMs() - began} ms`);
        assert.equal(await reaches(host, "10.6.0.254", 6443), traffic === "corosync");
        await host.heal();
        await votes(lab.host("n1"), 3);
      });
    }

    test("does not notice when only the way to the API server is cut", async () => {
      const host = lab.host("n3");
      assert.equal(await reaches(host, "10.96.0.1", 443), true);
      await host.cut({ traffic: "api" });
      assert.equal(await reaches(host, "10.96.0.1", 443), false);
      assert.equal(await reaches(host, "10.6.0.254", 6443), false);
      assert.equal(await reaches(host, "10.6.0.1", 10250), true);
      await votes(host, 3);
      await host.heal({ traffic: "api" });
      assert.equal(await reaches(host, "10.6.0.254", 6443), true);
    });

    test("is lost when it is frozen or killed by name", async () => {
      const host = lab.host("n3");
      await host.freeze("corosync");
      await votes(lab.host("n1"), 2);
      await host.thaw("corosync");
      await votes(lab.host("n1"), 3);
      await host.kill("corosync");
      await votes(lab.host("n1"), 2);
      await host.run("systemctl", ["restart", "corosync"]);
      await votes(lab.host("n1"), 3);
    });
  });

  test("a program no host runs cannot be frozen", async () => {
    await assert.rejects(lab.host("n1").freeze("nonesuch"), { reason: "NoSuchProcess" });
  });

  describe("the power switch", () => {
    test("off kills at once, and the disk is there again after on", async (t) => {
      const host = lab.host("n2");
      await host.run("sh", ["-c", "echo kept >/root/note; echo kept >/srv/tank/note; sync; echo lost >/run/note"]);
      const began = systemClock.elapsedMs();
      await host.powerOff();
      const offMs = systemClock.elapsedMs() - began;
      assert.equal(host.isOn(), false);
      await assert.rejects(host.run("true"), { reason: "HostOff" });
      await host.powerOn();
      t.diagnostic(`off in ${offMs} ms, on and booted ${systemClock.elapsedMs() - began - offMs} ms later`);
      assert.equal(await host.output("cat", ["/root/note"]), "kept");
      await host.run("systemctl", ["is-active", "tank.service"]);
      assert.equal(await host.output("cat", ["/srv/tank/note"]), "kept");
      await host.run("test", ["!", "-e", "/run/note"]);
    });

    test("reboot and shutdown are orderly", async () => {
      const host = lab.host("n2");
      const boot = await startOfInit(host);
      await host.reboot();
      assert.notEqual(await startOfInit(host), boot);
      await host.shutdown();
      assert.equal(host.isOn(), false);
      await host.powerOn();
      assert.match(await host.output("journalctl", ["--boot=-1", "--output=cat"]), /Reached target poweroff.target/);
    });
  });

  test("the API server can be paused and stopped, and the hosts run on", async () => {
    lab.controlPlane.pauseApiServer();
    await assert.rejects(lab.kubectl(["get", "nodes", "--request-timeout=2s"]));
    lab.controlPlane.resumeApiServer();
    await lab.kubectl(["get", "nodes"]);
    await lab.controlPlane.stopApiServer("SIGKILL");
    await assert.rejects(lab.kubectl(["get", "nodes", "--request-timeout=2s"]));
    assert.equal(await lab.host("n1").output("systemctl", ["is-active", "kubelet"]), "active");
    await lab.controlPlane.startApiServer();
    await lab.kubectl(["get", "nodes"]);
  });

  test("a tiny guest boots, keeps what is written into it, and is caught when it runs twice", async (t) => {
    const [one, two] = [lab.host("n1"), lab.host("n2")];
    const seconds = await startGuest(one, "first");
    t.diagnostic(`READY after ${seconds.toFixed(1)} s`);
    await type(one, "first", "echo hello >/data/note; sync; echo WRITTEN");
    await consoleShows(one, "first", /^WRITTEN/m);
    await consoleShows(one, "first", /LOCKED boots=1/);
    assert.equal((await lockcheck("witness")).twice, undefined);

    await startGuest(two, "second");
    await consoleShows(two, "second", /TWICE/);
    await waitFor(async () => (await lockcheck("witness")).twice, 5_000, "the mark");
    await two.kill("guest-second.service");

    await type(one, "first", "poweroff");
    await waitFor(async () => (await one.run("systemctl", ["is-active", "guest-first"], { exitCodes: [0, 3, 4] })).stdout.trim() !== "active", 20_000, "the guest to power off");
    await startGuest(one, "first");
    await type(one, "first", "cat /data/note");
    await consoleShows(one, "first", /^hello/m);
  });

  test("a second lab does not meet the first", async () => {
    const other = await labUp({ hosts: 1, name: "test-other", agent: "SystemdUnit" });
    try {
      assert.equal(await other.host("n1").output("hostname"), "n1");
      assert.equal(await other.kubectl(["get", "nodes", "--output=name"]), "");
      assert.equal(await reaches(other.host("n1"), lab.host("n2").address(), 10250), false);
      await lab.kubectl(["get", "node", "n1"]);
    } finally {
      await other.down();
    }
    assert.ok(findLab(NAME));
  });

  test("a lab of a name that is up is refused", async () => {
    await assert.rejects(labUp({ hosts: 1, name: NAME }), { class: "user", reason: "LabExists" });
  });

  // Last: it ends the lab.
  test("kill -9 of everything, then down leaves nothing", async () => {
    const namespaces = ["net", "mnt"].map((kind) => readlinkSync(`/proc/${lab.record.holder?.pid}/ns/${kind}`));
    for (const pid of processesOfLab()) process.kill(pid, "SIGKILL");
    await waitFor(() => findLab(NAME) === undefined, 5_000, "the lab to be dead");
    await tearDown(NAME);
    assert.equal(existsSync(join(cacheFolder("labs"), NAME)), false);
    assert.deepEqual(processesOfLab(), []);
    await waitFor(() => !namespaceUsers().some((used) => namespaces.includes(used)), 5_000, "its namespaces to end");
    await waitFor(() => !loopFiles().some((file) => file.includes(`/labs/${NAME}/`)), 5_000, "its loop devices to be free");
    assert.doesNotMatch(readFileSync("/proc/self/mounts", "utf8"), new RegExp(`/labs/${NAME}/`));
  });
});
