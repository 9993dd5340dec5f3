/**
 * The lab itself: what the other scenarios rely on is tried here on its own, without Quorate.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../clock.ts";
import {
  findLab,
  type Lab,
  type LabHost,
  labProcesses,
  labUp,
  readWitnessDisk,
  tearDown,
  type WatchdogEvent,
  waitFor,
  whyNoLab,
} from "../lab/index.ts";
import { cacheFolder } from "../tools/index.ts";
import { startCorosync, untilVotes } from "./lab-corosync.ts";
import { TinyGuest } from "./lab-tiny-guest.ts";

const NAME = "test-lab";
const skip = whyNoLab() ?? false;

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
    const nodes = (await lab.kubectl(["get", "nodes", "--no-headers"])).trim().split("\n");
    const states = nodes.map((line) => line.split(/ +/).slice(0, 2).join(" "));
    assert.deepEqual(states, ["n1 Ready", "n2 Ready", "n3 Ready"]);
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
    await lab.kubectl(["apply", "-f", "-"], { input: JSON.stringify(daemonSet("probe")) });
    await lab.kubectl(["rollout", "status", "daemonset/probe", "--timeout=60s"], { timeoutMs: 70_000 });
    const pods = await lab.kubectl(["get", "pods", "--selector=app=probe", "--output=name"]);
    const [pod = ""] = pods.trim().split("\n");
    const answer = await lab.kubectl([
      "exec",
      pod,
      "--",
      "/bin/busybox",
      "nc",
      "-w",
      "3",
      "10.96.0.1",
      "443",
      "-e",
      "/bin/busybox",
      "true",
    ]);
    assert.equal(answer, "");
  });

  describe("the watchdog", () => {
    const petter = (seconds: number) => `exec 3>/dev/watchdog0; while :; do echo -n . >&3; sleep ${seconds}; done`;
    const startPetter = async (host: LabHost, timeoutSeconds: number, script: string) => {
      await host.run("wdctl", ["--settimeout", String(timeoutSeconds), "/dev/watchdog0"]);
      await host.run("systemd-run", ["--quiet", "--collect", "--unit=petter", "sh", "-c", script]);
      await waitFor(() => host.watchdog().open && host.watchdog().armed, 5_000, "the watchdog to be armed");
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
      const closed = await waitFor(
        () => host.watchdogEvents().findLast((e) => e.event === "closed" && e.armed === true),
        2_000,
        "the close without a V",
      );
      const expired = await event(host, "expired", closed.time);
      const killed = await event(host, "killed", closed.time);
      const started = await event(host, "started", closed.time);
      const seconds = secondsBetween(closed.time, expired.time);
      t.diagnostic(
        `expired ${seconds.toFixed(2)} s after the last pet's opener died, dead ${killed.milliseconds} ms later, started ${secondsBetween(killed.time, started.time).toFixed(2)} s after`,
      );
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
      await untilVotes(lab.host("n1"), 3);
    });

    test("keeps its votes when one link is cut, and shows the link", async () => {
      const host = lab.host("n3");
      await host.cut({ link: 1 });
      const broken = async () => /LINK ID 1[\s\S]*disconnected/.test(await host.output("corosync-cfgtool", ["-s"]));
      await waitFor(broken, 10_000, "link 1 to be disconnected");
      await untilVotes(host, 3);
      await host.heal({ link: 1 });
      await waitFor(async () => !(await broken()), 10_000, "link 1 to be connected again");
    });

    for (const traffic of ["corosync", undefined] as const) {
      test(`loses the host whose ${traffic ?? "every"} frame is dropped, and gets it back`, async (t) => {
        const host = lab.host("n3");
        const began = systemClock.elapsedMs();
        await host.cut(traffic ? { traffic } : {});
        await Promise.all([untilVotes(lab.host("n1"), 2), untilVotes(host, 1)]);
        t.diagnostic(`noticed after ${systemClock.elapsedMs() - began} ms`);
        assert.equal(await reaches(host, "10.6.0.254", 6443), traffic === "corosync");
        await host.heal();
        await untilVotes(lab.host("n1"), 3);
      });
    }

    test("does not notice when only the way to the API server is cut", async () => {
      const host = lab.host("n3");
      assert.equal(await reaches(host, "10.96.0.1", 443), true);
      await host.cut({ traffic: "api" });
      assert.equal(await reaches(host, "10.96.0.1", 443), false);
      assert.equal(await reaches(host, "10.6.0.254", 6443), false);
      assert.equal(await reaches(host, "10.6.0.1", 10250), true);
      await untilVotes(host, 3);
      await host.heal({ traffic: "api" });
      assert.equal(await reaches(host, "10.6.0.254", 6443), true);
    });

    test("is lost when it is frozen or killed by name", async () => {
      const host = lab.host("n3");
      await host.freeze("corosync");
      await untilVotes(lab.host("n1"), 2);
      await host.thaw("corosync");
      await untilVotes(lab.host("n1"), 3);
      await host.kill("corosync");
      await untilVotes(lab.host("n1"), 2);
      await host.run("systemctl", ["restart", "corosync"]);
      await untilVotes(lab.host("n1"), 3);
    });
  });

  test("a program no host runs cannot be frozen", async () => {
    await assert.rejects(lab.host("n1").freeze("nonesuch"), { reason: "NoSuchProcess" });
  });

  describe("the power switch", () => {
    test("off kills at once, and the disk is there again after on", async (t) => {
      const host = lab.host("n2");
      await host.run("sh", [
        "-c",
        "for disk in /root /srv/tank; do echo kept | dd of=$disk/note conv=fsync; done; echo lost >/run/note",
      ]);
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
    const first = new TinyGuest(lab.host("n1"), "first", "/srv/tank");
    t.diagnostic(`READY after ${(await first.start("/srv/shared/witness")).toFixed(1)} s`);
    await first.type("echo hello >/data/note; sync; echo WRITTEN-$?");
    await first.shows("WRITTEN-0");
    await first.shows("LOCKED boots=1");
    assert.equal(readWitnessDisk(join(lab.shared, "witness")).twice, undefined);

    const second = new TinyGuest(lab.host("n2"), "second", "/srv/btrfs");
    await second.start("/srv/shared/witness");
    await second.shows("TWICE");
    const mark = await waitFor(() => readWitnessDisk(join(lab.shared, "witness")).twice, 5_000, "the mark");
    assert.match(mark, /^TWICE boot=/);
    await second.kill();

    await first.type("poweroff");
    await first.untilStopped();
    await first.start("/srv/shared/witness");
    await first.type("cat /data/note");
    await first.shows("hello");
    await first.pressPowerButton();
    await first.untilStopped();
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
    for (const pid of labProcesses(NAME)) killIfThere(pid);
    await waitFor(() => findLab(NAME) === undefined, 5_000, "the lab to be dead");
    await tearDown(NAME);
    assert.equal(existsSync(join(cacheFolder("labs"), NAME)), false);
    assert.deepEqual(labProcesses(NAME), []);
    await waitFor(() => !namespaceUsers().some((used) => namespaces.includes(used)), 5_000, "its namespaces to end");
    await waitFor(
      () => !loopFiles().some((file) => file.includes(`/labs/${NAME}/`)),
      5_000,
      "its loop devices to be free",
    );
    assert.doesNotMatch(readFileSync("/proc/self/mounts", "utf8"), new RegExp(`/labs/${NAME}/`));
  });
});

function daemonSet(name: string): object {
  const labels = { app: name };
  const container = {
    name,
    image: "docker.io/library/pause:lab",
    imagePullPolicy: "Never",
  };
  return {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name, namespace: "default" },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 0, containers: [container] } },
    },
  };
}

/** When the host's first process was started: another value is another boot. */
function startOfInit(host: LabHost): Promise<string> {
  return host.output("cut", ["-d", " ", "-f", "22", "/proc/1/stat"]);
}

async function reaches(host: LabHost, address: string, port: number): Promise<boolean> {
  const connect = ["2", "bash", "-c", `exec 3<>/dev/tcp/${address}/${port}`];
  return (await host.run("timeout", connect, { exitCodes: [0, 1, 124] })).exitCode === 0;
}

/** The first event of that kind that the host's watchdog notes after a time. */
function event(host: LabHost, kind: string, after: string): Promise<WatchdogEvent> {
  const found = () => host.watchdogEvents().find((e) => e.event === kind && secondsBetween(after, e.time) >= 0);
  return waitFor(found, 15_000, `the watchdog of ${host.name} to note "${kind}"`, { intervalMs: 20 });
}

function secondsBetween(earlier: string, later: string): number {
  return (Date.parse(later) - Date.parse(earlier)) / 1000;
}

/** The namespaces in use on this machine, such as "net:[4026532000]". */
function namespaceUsers(): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => ["net", "mnt"].map((kind) => linkOrNothing(`/proc/${pid}/ns/${kind}`)));
}

/** The first to be killed may be the init of others, which end with it. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function linkOrNothing(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // the process ended meanwhile
  }
}

/** The files behind the loop devices of this machine. */
function loopFiles(): string[] {
  return readdirSync("/sys/block").flatMap((name) => {
    try {
      return [readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trim()];
    } catch {
      return []; // no loop device, or one that is free
    }
  });
}
