import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { HA_RESOURCES } from "../../crds/index.ts";
import { whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { eventually } from "../membership/testing.ts";
import { type CrmWorld, CrmWorlds } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;

describe("a guest that failed over and is replaced by a file with its old node", { skip }, () => {
  let worlds: CrmWorlds;
  const web1 = async (world: CrmWorld) => (await world.get(HA_RESOURCES, "web1")).status;
  /** It runs on n2. */
  const failedOver = async (namespace: string) => {
    const world = await worlds.world({ namespace, nodes: ["n1", "n2", "n3"] });
    await world.service("web1", "n1");
    await world.until("web1 runs", async () => (await web1(world))?.result?.outcome === "Ok");
    await world.pass(3);
    world.membership(["n2", "n3"]);
    await world.until("the failover", async () => (await web1(world))?.lastFailover?.startedAt !== undefined);
    world.membership(["n1", "n2", "n3"]);
    await world.pass(5);
    assert.deepEqual([(await web1(world))?.state, (await web1(world))?.node], ["Started", "n2"]);
    return world;
  };
  const remove = async (world: CrmWorld, kind: string) => {
    await worlds.controlPlane.kubectl(["delete", kind, "web1", "-n", world.namespace]);
  };
  const error = async (world: CrmWorld) => (await web1(world))?.conditions?.find(({ type }) => type === "Error");

  before(async () => {
    worlds = await CrmWorlds.start();
  });
  after(async () => {
    await worlds?.stop();
  });

  it("is never ordered to start there, whoever leads, and what the condition says leads out", async () => {
    const world = await failedOver("replaced");
    await remove(world, "guest");
    await world.pass(11);
    await eventually(
      "the event",
      () => world.story("HAResource", "web1"),
      (told) => assert.match(told.join("\n"), /GuestNotFound: Guest web1 is gone.* it belongs to node n2/),
    );
    world.newLeader();
    await world.pass(2);
    await world.service("web1", "n1");
    await world.until("it is given up", async () => (await web1(world))?.state === "Error");
    assert.equal((await web1(world))?.node, "n2");
    const { reason, message = "" } = (await error(world)) ?? {};
    assert.equal(reason, "BoundElsewhere");
    for (const [, kind = "", name = "", manager = "", patch = ""] of message.matchAll(
      /kubectl patch (\w+) (\w+) -n replaced --type=merge( --field-manager=\S+)? -p '(.*?\}\})'/g,
    )) {
      const by = manager === "" ? [] : [manager.trim()];
      await worlds.controlPlane.kubectl(["patch", kind, name, "-n", "replaced", "--type=merge", ...by, "-p", patch]);
      await world.pass(5);
    }
    await world.until("it is started", async () => (await web1(world))?.state === "Started");
    await world.pass(15);
    assert.deepEqual([(await web1(world))?.state, (await web1(world))?.node], ["Started", "n2"]);
  });

  it("is not ordered to start there either when its HAResource was in the file too", async () => {
    const world = await failedOver("both-replaced");
    await remove(world, "guest");
    await remove(world, "haresource");
    await world.pass(2);
    await world.service("web1", "n1");
    await world.pass(3);
    assert.deepEqual([(await web1(world))?.state, (await web1(world))?.node], ["Error", "n2"]);
  });

  it("is taken under HA anew when only its HAResource was made anew, even between two looks", async () => {
    const world = await failedOver("resource-replaced");
    await remove(world, "haresource");
    await world.apply([{ kind: "HAResource", metadata: { name: "web1" }, spec: {} }]);
    assert.equal(await web1(world), undefined);
    await world.until("it runs", async () => (await web1(world))?.result?.outcome === "Ok");
    assert.deepEqual([(await web1(world))?.state, (await web1(world))?.node], ["Started", "n2"]);
  });
});
