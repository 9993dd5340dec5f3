import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../clock.ts";
import type { Installed } from "../installed/index.ts";
import { type Lab, type LabHost, labUp, waitFor, whyNoLab } from "../lab/index.ts";
import { condition, hostOf, installSharedGuest, processOf, SHARED, untilOnline } from "./shared-guest.ts";
import { Timeline, untilRecovered } from "./timeline.ts";
import { ProcessWatch, witnessOf } from "./twice.ts";

/**
 * Outages of parts on real hosts: those that must move nothing (API server, agent, keeper), and those after which a host
 * resets itself and its guest is recovered. The guest's second disk is on ground that all hosts share: the guest itself
 * claims it all the time and leaves a mark when it finds another one of itself.
 *
 * QUORATE_LONG=1 lets each outage last as long as an administrator would call it one.
 */
const LAB = "outages";
const LONG = process.env.QUORATE_LONG === "1";
const API_OUTAGE_MS = LONG ? 300_000 : 45_000;
const AGENT_OUTAGE_MS = LONG ? 180_000 : 30_000;
const FROZEN_HOST_MS = LONG ? 120_000 : 30_000;
const WATCHDOG_MS = 10_000;
const KEEPER_DROP_IN = "/run/systemd/system/quorate-keeper.service.d";
const AGENT = "/quorate.mjs agent/";

describe("outages", { skip: whyNoLab() ?? false }, () => {
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

  /** No host was reset, none fenced, the guest is where it was, as the same process. */
  async function undisturbed(work: (host: LabHost) => Promise<void>): Promise<void> {
    const host = await hostOf(installed);
    const pid = await processOf(host);
    const fences = await eventsOf("FenceStarted");
    await work(host);
    for (const each of lab.hosts) assert.equal(each.isOn(), true, `${each.name} was reset`);
    assert.equal(await processOf(host), pid, "the guest was started anew");
    assert.equal((await hostOf(installed)).name, host.name);
    assert.deepEqual(await eventsOf("FenceStarted"), fences, "a node was fenced");
    witnessed();
  }

  function witnessed(): number {
    const { twice, boots } = witnessOf(lab, SHARED);
    assert.equal(twice, undefined, "the guest met itself");
    return boots;
  }

  async function eventsOf(reason: string): Promise<string[]> {
    const list = await installed.kubectl(["get", "events", "-o", "name", "--field-selector", `reason=${reason}`]);
    return list.split("\n").filter(Boolean).sort();
  }

  async function agentReady(host: LabHost): Promise<string | undefined> {
    return condition((await installed.node(host.name)).status?.conditions, "AgentReady");
  }

  it(`API server stopped for ${API_OUTAGE_MS / 1000} s: no host resets, guests run on, nothing is fenced after`, async () => {
    await undisturbed(async () => {
      await lab.controlPlane.stopApiServer();
      await systemClock.sleep(API_OUTAGE_MS);
      await lab.controlPlane.startApiServer();
      for (const host of lab.hosts) await untilOnline(installed, host);
      // Longer than the fence delay: a fence on reports of before the outage would come now.
      await systemClock.sleep(30_000);
    });
  });

  /** After an agent's outage: it says so itself, and commands are carried out again. */
  async function agentOutage(work: (host: LabHost, until: number) => Promise<void>): Promise<void> {
    await undisturbed(async (host) => {
      const until = systemClock.elapsedMs() + AGENT_OUTAGE_MS;
      await work(host, until);
      // A kubelet waits up to five minutes before it starts a container again that ended so often.
      const back = LONG ? 330_000 : 120_000;
      await waitFor(async () => (await agentReady(host)) === "True", back, `AgentReady=True of ${host.name}`);
    });
  }

  it(`agent hung for ${AGENT_OUTAGE_MS / 1000} s: AgentReady says so, nothing moves, all in order after`, async () => {
    await agentOutage(async (host, until) => {
      await host.freeze(AGENT);
      await waitFor(async () => (await agentReady(host)) === "False", 40_000, "AgentReady=False");
      // A liveness probe may restart it before the time is over: that is an agent which comes back.
      await waitFor(() => systemClock.elapsedMs() >= until, AGENT_OUTAGE_MS + 10_000, "the outage to end");
      await host.thaw(AGENT).catch(() => undefined);
    });
  });

  it(`agent killed again and again for ${AGENT_OUTAGE_MS / 1000} s: AgentReady says so, nothing moves, all in order after`, async () => {
    await agentOutage(async (host, until) => {
      let seen = false;
      while (systemClock.elapsedMs() < until) {
        await host.kill(AGENT).catch(() => undefined);
        seen ||= (await agentReady(host)) === "False";
        await systemClock.sleep(500);
      }
      assert.ok(seen, "AgentReady never became False");
    });
  });

  it(`agent's pod deleted again and again for ${AGENT_OUTAGE_MS / 1000} s: nothing moves, all in order after`, async () => {
    await agentOutage(async (host, until) => {
      let deleted = 0;
      while (systemClock.elapsedMs() < until) {
        const pods = await lab.kubectl([
          ...["get", "pods", "-n", "quorate-system", "-o", "name", "-l", "app.kubernetes.io/component=agent"],
          ...["--field-selector", `spec.nodeName=${host.name}`],
        ]);
        for (const pod of pods.split("\n").filter(Boolean)) {
          await lab.kubectl(["delete", pod, "-n", "quorate-system", "--grace-period=1", "--wait=true"]);
          deleted += 1;
        }
        await systemClock.sleep(500);
      }
      assert.ok(deleted >= 3, `only ${deleted} pods were there to delete`);
    });
  });

  it("keeper killed: it is back before the watchdog fires", async () => {
    await undisturbed(async (host) => {
      for (let kill = 0; kill < 3; kill += 1) {
        await host.kill("quorate-keeper");
        await systemClock.sleep(WATCHDOG_MS / 2);
      }
      assert.equal((await host.watchdog()).armed, true, "the watchdog is no longer armed");
      await systemClock.sleep(WATCHDOG_MS);
    });
  });

  it("keeper frozen: systemd starts it anew before the watchdog fires", async () => {
    await undisturbed(async (host) => {
      await host.freeze("quorate-keeper");
      await systemClock.sleep(2 * WATCHDOG_MS);
      assert.equal((await host.watchdog()).armed, true, "the watchdog is no longer armed");
    });
  });

  /** A fault after which the host must be reset by its watchdog and its guest be recovered, once. */
  async function resets(
    what: string,
    fault: (host: LabHost) => Promise<void>,
    rest?: (host: LabHost) => Promise<void>,
  ) {
    const host = await hostOf(installed);
    const others = lab.hosts.filter((each) => each !== host);
    const boots = witnessed();
    const recovered = await recoveries();
    const timeline = new Timeline(what);
    try {
      await fault(host);
      await waitFor(() => !host.isOn(), 60_000, `${host.name} to be reset by its watchdog`);
      timeline.mark(`${host.name} reset`);
      await untilRecovered(installed, host, timeline);
      await rest?.(host);
      await waitFor(() => witnessed() === boots + 1, 60_000, "the guest to claim its witness disk");
      await waitFor(async () => (await recoveries()) > recovered, 20_000, "the event of the recovery");
      assert.equal(await recoveries(), recovered + 1, "the guest was recovered more than once");
      for (const each of others) assert.equal(each.isOn(), true, `${each.name} was reset too`);
    } finally {
      timeline.record();
      await host.heal();
      await host.powerOn();
      await untilOnline(installed, host);
    }
  }

  /** `<pod>_<start>` of the controllers that lead. */
  function leader(): Promise<string> {
    const path = "jsonpath={.spec.holderIdentity}";
    return lab.kubectl(["get", "lease", "quorate-controllers", "-n", "quorate-system", "-o", path]);
  }

  /** Events of one text are one object with a count. */
  async function recoveries(): Promise<number> {
    const list = await installed.kubectl(["get", "events", "-o", "json", "--field-selector", "reason=Recovered"]);
    const { items } = JSON.parse(list) as { items: { count?: number; series?: { count?: number } }[] };
    return items.reduce((sum, { count, series }) => sum + Math.max(1, series?.count ?? 0, count ?? 0), 0);
  }

  it("keeper frozen where nobody starts it again: the host resets, its guest recovers", async () => {
    await resets("keeper frozen", async (host) => {
      await host.run("mkdir", ["-p", KEEPER_DROP_IN]);
      await host.run("tee", [`${KEEPER_DROP_IN}/none.conf`], { input: "[Service]\nWatchdogSec=0\n" });
      await host.run("systemctl", ["daemon-reload"]);
      const started = () => host.output("systemctl", ["show", "quorate-keeper", "-p", "NRestarts,ActiveState"]);
      const before = await started();
      await host.kill("quorate-keeper");
      // The one that is started now is not watched by systemd.
      await waitFor(
        async () => {
          const now = await started();
          return now !== before && now.includes("ActiveState=active");
        },
        5_000,
        "the keeper to be back",
      );
      await systemClock.sleep(500);
      await host.freeze("quorate-keeper");
    });
  });

  it(`whole host frozen for ${FROZEN_HOST_MS / 1000} s: its watchdog resets it, its guest recovers`, async () => {
    let frozenAt = 0;
    await resets(
      "host frozen",
      async (host) => {
        frozenAt = systemClock.elapsedMs();
        await host.freeze();
      },
      async (host) => {
        await waitFor(() => systemClock.elapsedMs() >= frozenAt + FROZEN_HOST_MS, FROZEN_HOST_MS + 10_000, "the time");
        await host.thaw();
        await systemClock.sleep(5_000);
      },
    );
  });

  it("corosync dead for good on one host: that host resets, the others go on", async () => {
    await resets("corosync dead", async (host) => {
      await host.run("systemctl", ["mask", "--runtime", "corosync.service"]);
      await host.kill("corosync");
    });
  });

  it("power lost: the guest recovers", async () => {
    await resets("power lost", (host) => host.powerOff());
  });

  it("cut off, and whoever leads the controllers killed when the proof is almost there: the next one recovers, once", async () => {
    let killed = "";
    await resets("cut, leader killed", async (host) => {
      await host.cut();
      await waitFor(() => !host.isOn(), 40_000, `${host.name} to be reset`);
      killed = await leader();
      const pod = await lab.kubectl(["get", "pod", killed.split("_")[0] ?? "", "-n", "quorate-system", "-o", "json"]);
      const { spec } = JSON.parse(pod) as { spec: { nodeName: string } };
      assert.notEqual(spec.nodeName, host.name, "nobody had taken over from the leader on the host that was cut off");
      await lab.host(spec.nodeName).kill("/quorate.mjs controllers/");
    });
    assert.notEqual(await leader(), killed);
  });

  it("never ran the guest twice", () => {
    assert.equal(watch.most, 1);
    witnessed();
  });
});
