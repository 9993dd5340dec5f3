import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../clock.ts";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { KubeClient } from "./client.ts";
import { EVENTS, NAMESPACES } from "./core-types.ts";
import { EventRecorder, type Happening } from "./events.ts";

describe("events on a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  before(async () => {
    controlPlane = await startControlPlane({ useExisting: false });
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });
  after(() => controlPlane?.stop());

  async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
    for (const endMs = systemClock.elapsedMs() + 15_000; !(await holds()); await systemClock.sleep(50)) {
      assert.ok(systemClock.elapsedMs() < endMs, `not within 15 s: ${what}`);
    }
  }

  it("are shown by kubectl events and describe, counted when they repeat, and come through an outage", async () => {
    const regarding = await client.get(NAMESPACES, { name: "default" });
    assert.ok(regarding);
    const fenced: Happening = {
      regarding,
      type: "Warning",
      reason: "NodeFenced",
      action: "Fence",
      note: "n3 is fenced",
    };
    const recorder = new EventRecorder({ client, controller: "quorate.dev/test", instance: "test-1", seriesMs: 100 });
    recorder.event(fenced);
    // An API server that starts tells events of its own in this namespace.
    const mine = async () =>
      (await client.list(EVENTS, { namespace: "default" })).items.filter(
        ({ reportingController }) => reportingController === "quorate.dev/test",
      );
    await until("the event is there", async () => (await mine()).length === 1);
    for (let i = 0; i < 41; i++) recorder.event(fenced);
    await until("its count is 42", async () => {
      const items = await mine();
      assert.equal(items.length, 1);
      return items[0]?.series?.count === 42;
    });
    await controlPlane.stopApiServer("SIGKILL");
    recorder.event({
      ...fenced,
      reason: "GuestRecovered",
      type: "Normal",
      action: "Recover",
      note: "db1 starts on n1",
    });
    await controlPlane.startApiServer();
    await until("the event of the outage is there", async () => {
      const { stdout } = await controlPlane.kubectl(["events", "-n", "default"]);
      return /Normal +GuestRecovered +Namespace\/default +db1 starts on n1/.test(stdout);
    });
    const { stdout } = await controlPlane.kubectl(["events", "-n", "default"]);
    assert.match(stdout, /\(x42 over .*\) +Warning +NodeFenced +Namespace\/default +n3 is fenced/);
    const { stdout: described } = await controlPlane.kubectl(["describe", "namespace", "default"]);
    assert.match(described, /default/);
    await recorder.stop();
  });
});
