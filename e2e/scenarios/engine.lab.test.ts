import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import type { Installed } from "../installed/index.ts";
import { type Lab, type LabHost, labUp, waitFor, whyNoLab } from "../lab/index.ts";
import { condition, hostOf, installSharedGuest, processOf, SHARED, untilOnline } from "./shared-guest.ts";
import { Timeline } from "./timeline.ts";
import { ProcessWatch, witnessOf } from "./twice.ts";

/** What an administrator does to a cluster, and what a guest does to itself, on real hosts: with the measured times. */
const LAB = "engine";
const KERNEL = "/var/lib/quorate/images/tiny-vmlinux";

describe("the HA engine on real hosts", { skip: whyNoLab() ?? false }, () => {
  let lab: Lab;
  let installed: Installed;
  let watch: ProcessWatch;

  before(async () => {
    lab = await labUp({ hosts: 3, name: LAB, onReset: { reboot: false, delaySeconds: 0 } });
    installed = await installSharedGuest(lab);
    watch = new ProcessWatch(LAB);
  });

  after(async () => {
    watch?.stop();
    await lab?.down();
  });

  const patch = (kind: string, name: string, spec: object) =>
    installed.kubectl(["patch", kind, name, "--type=merge", "-p", JSON.stringify({ spec })]);

  async function untilState(state: string, deadlineMs = 90_000): Promise<void> {
    await waitFor(
      async () => (await installed.resource()).status?.state === state,
      deadlineMs,
      `web1 to be in state ${state}`,
      { intervalMs: 250 },
    );
  }

  async function untilRunsOn(host: LabHost | undefined, deadlineMs = 90_000): Promise<LabHost> {
    const node = await waitFor(
      async () => {
        const [guest, resource] = [await installed.guest(), await installed.resource()];
        const { state, node } = guest.status ?? {};
        const there = state === "Running" && resource.status?.state === "Started" && resource.status.node === node;
        return there && (host === undefined || node === host.name) && node;
      },
      deadlineMs,
      `web1 to run${host === undefined ? "" : ` on ${host.name}`}`,
      { intervalMs: 250 },
    );
    return lab.host(node);
  }

  const fences = async () =>
    (await installed.kubectl(["get", "events", "-o", "name", "--field-selector", "reason=FenceStarted"])).trim();

  const expirations = (host: LabHost) => host.watchdogEvents().filter((each) => each.event === "expired");

  it("restarts a guest that died, where it was", async () => {
    const host = await untilRunsOn(undefined);
    const pid = await processOf(host);
    const timeline = new Timeline("guest killed");
    await host.run("kill", ["-9", pid]);
    await waitFor(
      async () => {
        const now = await processOf(host);
        return now !== "" && now !== pid;
      },
      60_000,
      "a new process of the guest",
      { intervalMs: 250 },
    );
    timeline.mark("process again");
    await untilRunsOn(host);
    timeline.mark("runs");
    timeline.record();
  });

  it("tries again, then relocates a guest that does not start, as its failure policy says", async () => {
    const host = await untilRunsOn(undefined);
    const timeline = new Timeline("start fails");
    await host.run("mv", [KERNEL, `${KERNEL}.away`]);
    try {
      await host.run("kill", ["-9", await processOf(host)]);
      const to = await waitFor(
        async () => {
          const { node } = (await installed.resource()).status ?? {};
          return node !== host.name && node;
        },
        120_000,
        "web1 to be relocated",
        { intervalMs: 250 },
      );
      timeline.mark("relocated");
      await untilRunsOn(lab.host(to));
      timeline.mark("runs");
      timeline.record();
    } finally {
      await host.run("mv", [`${KERNEL}.away`, KERNEL]);
    }
  });

  it("gives up in state Error when it starts nowhere, says what to do, and does what it says", async () => {
    const host = await untilRunsOn(undefined);
    const timeline = new Timeline("starts nowhere");
    for (const each of lab.hosts) await each.run("mv", [KERNEL, `${KERNEL}.away`]);
    try {
      await host.run("kill", ["-9", await processOf(host)]);
      await untilState("Error", 180_000);
      timeline.mark("Error");
      timeline.record();
      const { status } = await installed.resource();
      const error = status?.conditions?.find((each) => each.type === "Error");
      assert.equal(error?.status, "True");
      assert.match(error?.message ?? "", /Disabled/, "the condition does not tell the way out");
    } finally {
      for (const each of lab.hosts) await each.run("mv", [`${KERNEL}.away`, KERNEL]);
    }
    await patch("haresource", "web1", { state: "Disabled" });
    await untilState("Stopped");
    await patch("haresource", "web1", { state: "Started" });
    await untilRunsOn(undefined);
  });

  it("empties a host for maintenance and brings the guest back", async () => {
    const host = await untilRunsOn(undefined);
    const timeline = new Timeline("maintenance");
    await patch("clusternode", host.name, { maintenance: true });
    await waitFor(async () => (await hostOf(installed)) !== host, 90_000, "web1 to leave", { intervalMs: 250 });
    const other = await untilRunsOn(undefined);
    assert.notEqual(other.name, host.name);
    timeline.mark("runs elsewhere");
    await waitFor(
      async () => (await installed.node(host.name)).status?.state === "Maintenance",
      60_000,
      `${host.name} to be in Maintenance`,
    );
    assert.equal(await processOf(host), "");
    const back = new Timeline("maintenance over");
    await patch("clusternode", host.name, { maintenance: false });
    await untilRunsOn(host);
    back.mark("runs where it was");
    timeline.record();
    back.record();
  });

  it("disarmed, it lets the network fail: no host resets, the guest runs on, and is guarded again after", async () => {
    const host = await untilRunsOn(undefined);
    const pid = await processOf(host);
    const disarming = new Timeline("disarm");
    await patch("cluster", "lab", { ha: { disarm: "Freeze" } });
    const armed = async () => condition((await installed.cluster()).status?.conditions, "Armed");
    await waitFor(async () => (await armed()) === "False", 60_000, "the cluster to be disarmed");
    await waitFor(
      async () => (await Promise.all(lab.hosts.map((each) => each.watchdog()))).every((each) => !each.armed),
      60_000,
      "every watchdog to be closed",
    );
    disarming.mark("every watchdog closed");
    disarming.record();
    for (const each of lab.hosts) await each.cut({ traffic: "corosync" });
    // More than the watchdog's time-out and the fence delay together.
    await systemClock.sleep(45_000);
    for (const each of lab.hosts) await each.heal();
    for (const each of lab.hosts) assert.equal(each.isOn(), true, `${each.name} was reset`);
    await installed.untilQuorate(60_000);
    const arming = new Timeline("arm");
    await patch("cluster", "lab", { ha: { disarm: null } });
    await waitFor(async () => (await armed()) === "True", 60_000, "the cluster to be armed");
    await waitFor(async () => (await host.watchdog()).armed, 60_000, `the watchdog of ${host.name} to be armed`);
    arming.mark("watchdog armed");
    arming.record();
    assert.equal(await processOf(host), pid, "the guest was started anew");
  });

  it("reboot of a host, policy Conditional: its guest waits for it, nothing is fenced", async () => {
    const host = await untilRunsOn(undefined);
    const before = await fences();
    const expired = expirations(host);
    const timeline = new Timeline("reboot");
    await host.reboot(120_000);
    timeline.mark("booted");
    await untilOnline(installed, host);
    await untilRunsOn(host);
    timeline.mark("runs where it was");
    timeline.record();
    assert.equal(await fences(), before, "a node was fenced");
    assert.deepEqual(expirations(host), expired, "the watchdog fired");
  });

  it("power off of a host, policy Conditional: its guest runs elsewhere without waiting for a fence", async () => {
    const host = await untilRunsOn(undefined);
    const expired = expirations(host);
    const timeline = new Timeline("power off");
    await host.shutdown(120_000);
    timeline.mark("off");
    const to = await untilRunsOn(undefined, 120_000);
    assert.notEqual(to.name, host.name);
    timeline.mark("runs elsewhere");
    timeline.record();
    await host.powerOn();
    await untilOnline(installed, host);
    // Its Lease was free: nothing had to be waited for.
    assert.equal((await installed.node(host.name)).status?.fence?.lastFence?.by, "Released");
    assert.deepEqual(expirations(host), expired, "the watchdog fired");
  });

  it("power off, policy Freeze: its guest waits for it", async () => {
    await patch("cluster", "lab", { ha: { shutdownPolicy: "Freeze" } });
    const host = await untilRunsOn(undefined);
    await host.shutdown(120_000);
    await systemClock.sleep(45_000);
    assert.equal((await hostOf(installed)).name, host.name, "the guest was moved");
    const timeline = new Timeline("power on, Freeze");
    await host.powerOn();
    await untilOnline(installed, host);
    timeline.mark("online");
    await untilRunsOn(host);
    timeline.mark("runs where it was");
    timeline.record();
  });

  it("reboot, policy Migrate: its guest is moved away before, and comes back", async () => {
    await patch("cluster", "lab", { ha: { shutdownPolicy: "Migrate" } });
    const host = await untilRunsOn(undefined);
    const expired = expirations(host);
    const timeline = new Timeline("reboot, Migrate");
    const rebooted = host.reboot(180_000);
    await waitFor(async () => (await hostOf(installed)) !== host, 120_000, "web1 to leave", { intervalMs: 250 });
    timeline.mark("moved");
    await rebooted;
    await untilOnline(installed, host);
    await untilRunsOn(host, 120_000);
    timeline.mark("back");
    timeline.record();
    assert.deepEqual(expirations(host), expired, "the watchdog fired");
  });

  it("never ran the guest twice", () => {
    assert.equal(watch.most, 1);
    assert.equal(witnessOf(lab, SHARED).twice, undefined);
  });
});
