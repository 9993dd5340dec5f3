import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { agentClient } from "../../charts/quorate/testing.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { CLUSTER_NODES, type ClusterNode, GUESTS, type Guest } from "../../crds/index.ts";
import { startApi } from "../../crds/testing.ts";
import { type ControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { classify } from "../../errors.ts";
import { KubeClient, WatchCache } from "../../kube/index.ts";
import { processLog } from "../../log.ts";
import { Admission, OUT_OF_TOUCH_MS } from "./admission.ts";

const skip = whyNoControlPlane() ?? false;
const namespace = "lab";
const HURRY = 10;

/** Ten seconds in one: what is waited for here is only time. */
const hurried: Clock = {
  elapsedMs: () => systemClock.elapsedMs() * HURRY,
  wallMs: () => systemClock.wallMs(),
  sleep: (ms, signal) => systemClock.sleep(ms / HURRY, signal),
};

describe("who is let in, by watches of a real API server", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let nodes: WatchCache<ClusterNode>;
  let guests: WatchCache<Guest>;
  let admission: Admission;
  const log = Object.assign(processLog("test"), { level: "silent" });

  before(async () => {
    controlPlane = await startApi();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    await controlPlane.kubectl(["create", "namespace", namespace]);
    for (const name of ["n1", "n2"])
      await controlPlane.kubectl(["apply", "-f", "-"], {
        input: JSON.stringify({
          apiVersion: "quorate.dev/v1alpha1",
          kind: "ClusterNode",
          metadata: { name, namespace },
          spec: {},
        }),
      });
    // The server, whose clock does not hurry, never ends a watch in time: each lives for as long as the cache bears it.
    const settings = { client: await agentClient(controlPlane, namespace, "n2"), namespace, clock: hurried, log };
    nodes = new WatchCache({ ...settings, type: CLUSTER_NODES });
    guests = new WatchCache({ ...settings, type: GUESTS });
    await Promise.all([nodes.start(), guests.start()]);
    admission = new Admission({ node: "n2", nodes, guests, running: () => false });
  });

  after(async () => {
    await Promise.all([nodes?.stop(), guests?.stop()]);
    await controlPlane?.stop();
  });

  const verdict = (peer: string) => {
    try {
      return admission.isMember(peer) ? "member" : "stranger";
    } catch (error) {
      return classify(error).reason;
    }
  };
  const becomes = async (peer: string, wanted: string, withinMs: number) => {
    const deadline = systemClock.elapsedMs() + withinMs;
    while (verdict(peer) !== wanted) {
      assert.ok(systemClock.elapsedMs() < deadline, `${peer} is ${verdict(peer)} and not ${wanted}`);
      await systemClock.sleep(20);
    }
  };

  it("refuses a node within a moment of its removal", async () => {
    assert.equal(verdict("n1"), "member");
    await client.delete(CLUSTER_NODES, { namespace, name: "n1" });
    await becomes("n1", "stranger", 1_000);
    assert.equal(verdict("n2"), "member");
  });

  it("lets the members in while nothing happens for long", async () => {
    const end = hurried.elapsedMs() + 2 * OUT_OF_TOUCH_MS;
    while (hurried.elapsedMs() < end) {
      assert.equal(verdict("n2"), "member");
      await systemClock.sleep(50);
    }
  });

  it("lets nobody in once the API server has been away for the bound, and the members when it is back", async () => {
    const stoppedAt = hurried.elapsedMs();
    await controlPlane.stopApiServer("SIGKILL");
    await becomes("n2", "OutOfTouch", (OUT_OF_TOUCH_MS / HURRY) * 2);
    assert.ok(hurried.elapsedMs() - stoppedAt < OUT_OF_TOUCH_MS + 20_000);
    await controlPlane.startApiServer();
    await becomes("n2", "member", 20_000);
    assert.equal(verdict("n1"), "stranger");
  });
});
