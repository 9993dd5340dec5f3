import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { HA_RESOURCES } from "../../crds/index.ts";
import { whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { eventually } from "../membership/testing.ts";
import { type CrmWorld, CrmWorlds } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;

describe("kubectl describe haresource", { skip }, () => {
  let worlds: CrmWorlds;
  let world: CrmWorld;
  const web1 = async () => (await world.get(HA_RESOURCES, "web1")).status;
  const error = async () => (await web1())?.conditions?.find(({ type }) => type === "Error");

  before(async () => {
    worlds = await CrmWorlds.start();
    world = await worlds.world({ namespace: "story", nodes: ["n1", "n2", "n3"] });
    await world.service("web1", "n1", { maxRelocate: 0 });
    await world.until("web1 runs", async () => (await web1())?.result?.outcome === "Ok");
    await world.pass(3);
  });
  after(async () => {
    await worlds?.stop();
  });

  it("tells the story of a failover in order", async () => {
    world.membership(["n2", "n3"]);
    await world.until("the failover", async () => (await web1())?.lastFailover?.startedAt !== undefined);
    const story = [
      "Adopted: service web1 on node n1 is under HA now",
      "StateChanged: service web1: RequestStart -> Started on n1",
      "StateChanged: service web1: Started -> Fence: its node is lost; it starts elsewhere once that is proven off",
      "StateChanged: service web1: Fence -> Recovery: its node is fenced; a node that may take it is chosen now",
      "Recovered: service web1 of the fenced node n1 is recovered on node n2",
      "StateChanged: service web1: Recovery -> Started on n2",
    ];
    await eventually(
      "the events",
      () => world.story("HAResource", "web1"),
      (told) => assert.deepEqual(told, story),
    );
    const { stdout } = await worlds.controlPlane.kubectl(["describe", "haresource", "web1", "-n", "story"]);
    const shown = story.map((line) => stdout.indexOf(line.slice(line.indexOf(": ") + 2)));
    assert.ok(
      shown.every((at) => at !== -1),
      stdout,
    );
    assert.deepEqual(
      shown,
      [...shown].sort((a, b) => a - b),
      stdout,
    );
    await eventually(
      "the node's events",
      () => world.story("ClusterNode", "n1"),
      (told) =>
        assert.deepEqual(told.map((line) => line.split(":")[0]).slice(-5), [
          "NodeStateChanged",
          "FenceStarted",
          "Fenced",
          "NodeStateChanged",
          "FenceDone",
        ]),
    );
    const { lastFailover } = (await web1()) ?? {};
    assert.deepEqual([lastFailover?.from, lastFailover?.to, lastFailover?.reason], ["n1", "n2", "NodeFenced"]);
    const times = [lastFailover?.cutAt, lastFailover?.fencedAt, lastFailover?.startedAt];
    assert.deepEqual(times, [...times].sort());
  });

  it("says of a guest that was given up what failed and what to do, and that way leads out", async () => {
    world.obeys = false;
    await world.pass(2);
    const { command, node = "" } = (await web1()) ?? {};
    await world.answer("web1", node, command?.uid ?? "", "Failed", "qemu: disk.raw: No such file");
    await world.pass(2);
    const given = await error();
    assert.deepEqual([given?.status, given?.reason], ["True", "StartFailed"]);
    assert.match(
      given?.message ?? "",
      /^"web1" did not start on n2 \(qemu: disk\.raw: No such file\), and is left alone\./,
    );
    const [disable, start] = given?.message.match(/kubectl patch haresource web1 -n story .*?\}\}'/g) ?? [];
    assert.ok(disable && start, given?.message);
    const run = async (line: string) => {
      const [, patch = ""] = /-p '(.*)'/.exec(line) ?? [];
      await worlds.controlPlane.kubectl(["patch", "haresource", "web1", "-n", "story", "--type=merge", "-p", patch]);
    };
    await run(disable);
    await world.until("Stopped", async () => (await web1())?.state === "Stopped");
    assert.equal((await error())?.status, "False");
    world.obeys = true;
    await run(start);
    await world.until("Started", async () => (await web1())?.state === "Started");
  });
});
