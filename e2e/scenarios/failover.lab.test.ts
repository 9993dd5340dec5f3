import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import { Installed } from "../installed/index.ts";
import { type Lab, labUp, waitFor, whyNoLab } from "../lab/index.ts";

/**
 * Failover on real parts: real kubelets, corosync, ZFS, QEMU, the chart installed. Throughout, the machine's own process
 * table is watched from outside of the hosts: never are there two processes of the guest.
 */
const LAB = "failover";

/** Counts the machines of this lab's guest, twice a second. A frozen or cut-off one counts: it could wake up. */
class ProcessWatch {
  most = 0;
  readonly #timer = setInterval(() => {
    this.most = Math.max(this.most, this.now());
  }, 500);

  now(): number {
    return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && isGuest(pid)).length;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function isGuest(pid: string): boolean {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return (
      command.includes("qemu-system") &&
      command.includes("guest=lab.web1") &&
      readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(`quorate-lab-${LAB}`)
    );
  } catch {
    return false;
  }
}

describe("failover of a guest under HA", { skip: whyNoLab() ?? false }, () => {
  let lab: Lab;
  let installed: Installed;
  let watch: ProcessWatch;

  before(async () => {
    lab = await labUp({ hosts: 3, name: LAB, onReset: { reboot: false, delaySeconds: 0 } });
    installed = await Installed.install(lab);
    await installed.applyExamples((object) =>
      // An old disk makes a way back impossible, so the tests decide themselves when the guest moves.
      object.kind === "HAGroup" ? { ...object, spec: { ...object.spec, failback: false } } : object,
    );
    await installed.untilQuorate(120_000);
    await installed.untilRunning("web1", 120_000, "n1");
    watch = new ProcessWatch();
  });

  after(async () => {
    watch?.stop();
    await lab?.down();
  });

  /** No host was reset, the guest is where it was, as the same process. */
  async function undisturbed(work: () => Promise<void>): Promise<void> {
    const { node } = (await installed.resource()).status ?? {};
    const guest = lab.host(node ?? "");
    const pid = await guest.output("pgrep", ["-f", "guest=lab.web1"]);
    await work();
    for (const host of lab.hosts) assert.equal(host.isOn(), true, `${host.name} was reset`);
    assert.equal(await guest.output("pgrep", ["-f", "guest=lab.web1"]), pid, "the guest was started anew");
    assert.equal((await installed.resource()).status?.node, node);
  }

  it("loses the API server for a minute and nothing happens to hosts and guests", async () => {
    await undisturbed(async () => {
      await lab.controlPlane.stopApiServer();
      await systemClock.sleep(60_000);
      await lab.controlPlane.startApiServer();
      await waitFor(
        async () => (await installed.node("n1")).status?.state === "Online",
        60_000,
        "n1 to be Online again",
      );
      // Twice the fence delay: a fence on stale reports would come now.
      await systemClock.sleep(40_000);
    });
    const events = await installed.kubectl(["get", "events", "-o", "name", "--field-selector", "reason=FenceStarted"]);
    assert.equal(events.trim(), "", "a node was fenced for the loss of the API server");
  });

  it("loses the agent of the guest's host: the guest runs on, and the node says so", async () => {
    await undisturbed(async () => {
      const host = lab.host("n1");
      await host.freeze("/quorate.mjs agent/");
      await waitFor(
        async () =>
          (await installed.node("n1")).status?.conditions?.some(
            (each) => each.type === "AgentReady" && each.status === "False",
          ),
        60_000,
        "AgentReady=False",
      );
      await systemClock.sleep(30_000);
      await host.thaw("/quorate.mjs agent/");
      await waitFor(
        async () =>
          (await installed.node("n1")).status?.conditions?.some(
            (each) => each.type === "AgentReady" && each.status === "True",
          ),
        90_000,
        "AgentReady=True",
      );
    });
  });

  it("loses the keeper to SIGKILL: it is back before the watchdog fires", async () => {
    await undisturbed(async () => {
      const host = lab.host("n1");
      for (let kill = 0; kill < 2; kill += 1) {
        await host.kill("quorate-keeper");
        await systemClock.sleep(8_000);
      }
      assert.equal((await host.watchdog()).armed, true, "the watchdog is no longer armed");
    });
  });

  it("is cut off: the guest runs elsewhere within 35 s, with its replicated data", async () => {
    const from = lab.host("n1");
    await installed.inGuest(from, "web1", "echo first > /data/note && sync", 90_000);
    // In this order n2 also gets the snapshot that n3 has: later the job to n3 goes on from it.
    await installed.replicate("web1-n3", 90_000);
    await installed.replicate("web1-n2", 90_000);
    const cutAt = systemClock.elapsedMs();
    await from.cut();
    const to = await waitFor(
      async () => {
        const { node } = (await installed.resource()).status ?? {};
        return node !== "n1" && node;
      },
      60_000,
      "web1 to be recovered",
      { intervalMs: 100 },
    );
    const decided = (systemClock.elapsedMs() - cutAt) / 1000;
    await installed.untilRunning("web1", 60_000, to);
    const ran = (systemClock.elapsedMs() - cutAt) / 1000;
    process.stdout.write(`    cut -> recovered on ${to} ${decided.toFixed(1)} s, running ${ran.toFixed(1)} s\n`);
    assert.ok(ran <= 45, `the guest ran ${ran} s after the cut`);
    assert.equal(from.isOn(), false, "the cut-off host was not reset by its watchdog");
    assert.equal(await installed.inGuest(lab.host(to), "web1", "cat /data/note", 90_000), "first");
    assert.ok((await installed.resource()).status?.lastFailover?.to === to);
  });

  it("is uninstalled by helm: the guest runs on, and no host is reset", async () => {
    const { node = "" } = (await installed.resource()).status ?? {};
    const up = lab.hosts.filter((host) => host.isOn());
    const pid = await lab.host(node).output("pgrep", ["-f", "guest=lab.web1"]);
    await installed.uninstall();
    // Longer than the watchdog's time-out: a keeper that had lost its mind would reset the host by now.
    await systemClock.sleep(20_000);
    for (const host of up) assert.equal(host.isOn(), true, `${host.name} was reset`);
    assert.equal(await lab.host(node).output("pgrep", ["-f", "guest=lab.web1"]), pid);
    assert.equal((await lab.host(node).watchdog()).armed, true);
  });

  it("never had two processes of the guest", () => {
    assert.equal(watch.most, 1);
  });
});
