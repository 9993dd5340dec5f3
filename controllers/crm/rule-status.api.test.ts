import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { HA_GROUPS, HA_RULES, MIGRATIONS } from "../../crds/index.ts";
import { whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { eventually } from "../membership/testing.ts";
import { type CrmWorld, CrmWorlds } from "./testing.ts";

const skip = whyNoControlPlane() ?? false;

describe("what became of rules, groups and migrations", { skip }, () => {
  let worlds: CrmWorlds;
  let world: CrmWorld;
  const rule = (name: string, spec: object) => ({ kind: "HARule", metadata: { name }, spec });
  const apart = (...resources: string[]) => ({ resourceAffinity: { affinity: "Apart", resources } });
  const together = (...resources: string[]) => ({ resourceAffinity: { affinity: "Together", resources } });
  const prefer = (resources: string[], nodes: object[], more: object = {}) => ({
    nodeAffinity: { resources, nodes, ...more },
  });
  const says = async (name: string, expected: RegExp) =>
    eventually(
      name,
      async () => {
        await world.pass(1);
        const object = await world.get(HA_RULES, name);
        const ready = object.status?.conditions?.find(({ type }) => type === "Ready");
        assert.equal(object.status?.observedGeneration ?? object.metadata.generation, object.metadata.generation);
        return `${ready?.status} ${ready?.reason} ${ready?.message}`;
      },
      (text) => assert.match(text, expected),
    );

  before(async () => {
    worlds = await CrmWorlds.start();
    world = await worlds.world({ namespace: "rules", nodes: ["n1", "n2", "n3"] });
    for (const name of ["web1", "web2", "db1"]) await world.service(name, "n1");
    await world.pass(5);
  });
  after(async () => {
    await worlds?.stop();
  });

  it("a rule says about whom it decides, and which names it does not know", async () => {
    await world.apply([
      rule("spread", apart("web1", "web2")),
      rule("fast", prefer(["db1", "db9"], [{ name: "n1", priority: 2 }, { name: "n2" }, { name: "n9" }])),
      rule("later", together("app1", "app2")),
      rule("off", { ...apart("web1", "db1"), enabled: false }),
    ]);
    await says("spread", /^True InForce in force: "web1", "web2" run on different nodes$/);
    await says(
      "fast",
      /^True UnknownNames in force: "db1" prefer n1 \(2\), n2 \(0\); no HAResource "db9" .*: apply it, or remove it from spec\.nodeAffinity\.resources; no ClusterNode "n9" .*spec\.nodeAffinity\.nodes$/,
    );
    await says("later", /^False ResourcesNotFound .*no HAResource "app1", "app2" in this namespace: apply it/);
    await says("off", /^False Disabled spec\.enabled is false/);
  });

  it("rules that contradict each other name each other and the way out, and are in force when one is gone", async () => {
    await world.apply([rule("same", together("web1", "web2"))]);
    await says(
      "same",
      /^False ContradictsKeepApart not in force: a keep-apart rule wants two of its services on different nodes \(see HARule "spread"\)\. Take one of the guests out of one of the rules, or disable one rule\.$/,
    );
    await says("spread", /^False ContradictsKeepTogether .*\(see HARule "same"\)/);
    await worlds.controlPlane.kubectl(["delete", "harule", "same", "-n", "rules"]);
    await says("spread", /^True InForce/);
    const { stdout } = await worlds.controlPlane.kubectl(["get", "harule", "spread", "-n", "rules"]);
    assert.match(stdout, /spread +true +Apart +True +InForce/);
  });

  it("a group says who uses it, and which of its nodes do not exist", async () => {
    await world.apply([
      { kind: "HAGroup", metadata: { name: "dc" }, spec: { nodes: [{ name: "n1", priority: 1 }, { name: "n7" }] } },
      { kind: "HAResource", metadata: { name: "db1" }, spec: { group: "dc" } },
    ]);
    const group = async () => {
      await world.pass(1);
      const { status } = await world.get(HA_GROUPS, "dc");
      const ready = status?.conditions?.find(({ type }) => type === "Ready");
      return `${status?.resources} ${ready?.status} ${ready?.reason} ${ready?.message}`;
    };
    await eventually("the group", group, (text) =>
      assert.match(text, /^1 False NodeNotFound no ClusterNode "n7" .*remove it from spec\.nodes; .*used by "db1"$/),
    );
    await world.apply([{ kind: "HAGroup", metadata: { name: "dc" }, spec: { nodes: [{ name: "n1", priority: 1 }] } }]);
    await eventually("the group", group, (text) => assert.match(text, /^1 True NodesExist n1; used by "db1"$/));
  });

  it("nothing is written when nothing has changed", async () => {
    const revision = async () => (await world.get(HA_RULES, "spread")).metadata.resourceVersion;
    const before = await revision();
    await world.pass(5);
    assert.equal(await revision(), before);
  });

  it("an ended migration goes when its time is over, and not before", async () => {
    await world.apply([
      {
        kind: "Migration",
        metadata: { name: "now" },
        spec: { guest: "web9", target: "n2", ttlSecondsAfterFinished: 20 },
      },
    ]);
    await world.pass(5);
    const { status } = await world.get(MIGRATIONS, "now");
    assert.deepEqual([status?.state, status?.reason], ["Failed", "NotUnderHA"]);
    assert.equal(status?.conditions?.find(({ type }) => type === "Failed")?.status, "True");
    await world.pass(8);
    await world.get(MIGRATIONS, "now");
    await world.pass(12);
    await eventually(
      "removed",
      () => world.client.get(MIGRATIONS, { namespace: "rules", name: "now" }),
      (gone) => assert.equal(gone, undefined),
    );
  });

  it("a refused migration says why, and what to do", async () => {
    await world.apply([
      { kind: "Migration", metadata: { name: "nowhere" }, spec: { guest: "web1", target: "n8" } },
      { kind: "Migration", metadata: { name: "here" }, spec: { guest: "db1", target: "n1" } },
    ]);
    await world.pass(3);
    const { status } = await world.get(MIGRATIONS, "nowhere");
    assert.deepEqual([status?.state, status?.reason], ["Failed", "TargetNotOnline"]);
    assert.match(status?.message ?? "", /^"n8" takes no guests now: .* kubectl describe clusternode n8/);
    assert.equal((await world.get(MIGRATIONS, "here")).status?.state, "Succeeded");
  });

  it("a forced migration is refused, with what can be done, and moves nothing", async () => {
    await world.apply([
      {
        kind: "Migration",
        metadata: { name: "forced" },
        spec: { guest: "web1", target: "n2", force: { acceptDataAgeSeconds: 60 } },
      },
    ]);
    await world.pass(3);
    const { status } = await world.get(MIGRATIONS, "forced");
    assert.deepEqual([status?.state, status?.reason], ["Failed", "ForceNotAvailable"]);
    assert.match(status?.message ?? "", /kubectl quorate why GUEST/);
  });
});
