import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import { Installed } from "../installed/index.ts";
import { type Lab, labUp, whyNoLab } from "../lab/index.ts";
import { Timeline, untilRecovered } from "./timeline.ts";
import { ProcessWatch } from "./twice.ts";

/**
 * Failover on real parts: real kubelets, corosync, ZFS, QEMU, the chart installed. Throughout, the machine's own process
 * table is watched from outside of the hosts: never are there two processes of the guest.
 */
const LAB = "failover";

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
    watch = new ProcessWatch(LAB);
  });

  after(async () => {
    watch?.stop();
    await lab?.down();
  });

  it("is cut off: the guest runs elsewhere within 35 s, with its replicated data", async () => {
    const from = lab.host("n1");
    await installed.inGuest(from, "web1", "echo first > /data/note && sync", 90_000);
    // In this order n2 also gets the snapshot that n3 has: later the job to n3 goes on from it.
    await installed.replicate("web1-n3", 90_000);
    await installed.replicate("web1-n2", 90_000);
    const timeline = new Timeline("cut off");
    await from.cut();
    const to = await untilRecovered(installed, from, timeline);
    const ran = timeline.seconds;
    timeline.record();
    assert.ok(ran <= 45, `the guest ran ${ran} s after the cut`);
    assert.equal(from.isOn(), false, "the cut-off host was not reset by its watchdog");
    assert.equal(await installed.inGuest(to, "web1", "cat /data/note", 90_000), "first");
    assert.ok((await installed.resource()).status?.lastFailover?.to === to.name);
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
