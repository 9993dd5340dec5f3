import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Lease, WatchCache } from "../../kube/index.ts";
import { ManualClock } from "../../kube/testing.ts";
import { AGENT_LOST_MS, LeaseAges, leaseContent } from "./agents.ts";

const report = JSON.stringify({ ringId: "1.4", quorate: true, members: [1], nodeId: 1 });
const lease = (holderIdentity: string): Lease => ({
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name: "quorate-agent-n1", namespace: "lab", annotations: { "quorate.dev/membership": report } },
  spec: { holderIdentity },
});

/** A cache with one Lease, as the tests say it was last seen. */
class Seen {
  readonly clock = new ManualClock();
  held: Lease | undefined = lease("n1/boot-1");
  changedAt = 0;
  heardAt = 0;
  readonly ages: LeaseAges;

  constructor() {
    const cache = {
      get: () => this.held,
      changedAtMs: () => (this.held === undefined ? undefined : this.changedAt),
      lastSeenAgeMs: () => this.clock.elapsedMs() - this.heardAt,
    };
    this.ages = new LeaseAges(cache as unknown as WatchCache<Lease>, this.clock);
  }

  /** Time passes, a second at a time, while the API server is heard, or not. */
  async pass(ms: number, { heard = true, renewed = true } = {}): Promise<void> {
    for (let passed = 0; passed < ms; passed += 1000) {
      await this.clock.advance(1000);
      if (heard) this.heardAt = this.clock.elapsedMs();
      if (heard && renewed) this.changedAt = this.clock.elapsedMs();
      this.ages.listen();
    }
  }

  get state(): string {
    return this.ages.read("lab", "n1").sight.state;
  }
}

describe("an agent", () => {
  test("that renews its lease is alive, and its report counts", async () => {
    const seen = new Seen();
    await seen.pass(60_000);
    assert.deepEqual(seen.ages.read("lab", "n1"), {
      sight: { state: "Alive" },
      fenced: false,
      membership: JSON.parse(report),
    });
  });
  test("also when it holds nothing, because there is nothing to guard", async () => {
    const seen = new Seen();
    seen.held = lease("");
    await seen.pass(60_000);
    assert.equal(seen.state, "Alive");
  });
  test("is lost after ten seconds without a renewal, and its report does not count", async () => {
    const seen = new Seen();
    await seen.pass(AGENT_LOST_MS - 1000, { renewed: false });
    assert.equal(seen.state, "Alive");
    await seen.pass(1000, { renewed: false });
    assert.deepEqual(seen.ages.read("lab", "n1"), { sight: { state: "Silent", forSeconds: 10 }, fenced: false });
  });
  test("is not lost because the API server was away: it has its full time again afterwards", async () => {
    const seen = new Seen();
    await seen.pass(5_000);
    await seen.pass(120_000, { heard: false });
    await seen.pass(AGENT_LOST_MS - 2000, { renewed: false });
    assert.equal(seen.state, "Alive");
    await seen.pass(3000, { renewed: false });
    assert.equal(seen.state, "Silent");
  });
  test("has its full time again when the controller starts", () => {
    const seen = new Seen();
    seen.changedAt = -1_000_000;
    assert.equal(seen.state, "Alive");
  });
  test("whose lease the CRM took is fenced, and its report does not count", () => {
    const seen = new Seen();
    seen.held = lease("quorate-crm");
    assert.deepEqual(seen.ages.read("lab", "n1"), { sight: { state: "Fenced" }, fenced: true });
  });
  test("is not back because the CRM gave its lease back: only its own next word says so", async () => {
    const seen = new Seen();
    await seen.pass(5_000);
    const write = (holder: string, renewTime: string) => {
      seen.held = { ...lease(holder), spec: { holderIdentity: holder, renewTime } };
      seen.changedAt = seen.clock.elapsedMs();
      seen.ages.changed("lab/quorate-agent-n1");
    };
    write("quorate-crm", "1");
    assert.equal(seen.state, "Fenced");
    await seen.pass(3_000, { renewed: false });
    write("", "2");
    assert.deepEqual(seen.ages.read("lab", "n1"), { sight: { state: "Silent", forSeconds: 0 }, fenced: false });
    await seen.pass(12_000, { renewed: false });
    assert.deepEqual(seen.ages.read("lab", "n1").sight, { state: "Silent", forSeconds: 10 });
    write("", "3");
    assert.equal(seen.state, "Alive");
    await seen.pass(2_000, { renewed: false });
    write("n1/boot-2", "4");
    assert.equal(seen.state, "Alive");
  });
  test("without a lease was never seen", () => {
    const seen = new Seen();
    seen.held = undefined;
    assert.equal(seen.state, "NeverSeen");
  });
});

test("a renewal that says the same is no news, another report or holder is", () => {
  const before = lease("n1/boot-1");
  assert.equal(
    leaseContent(before),
    leaseContent({ ...before, spec: { ...before.spec, renewTime: "2026-11-21T00:00:00.000000Z" } }),
  );
  assert.notEqual(leaseContent(before), leaseContent(lease("quorate-crm")));
  assert.notEqual(leaseContent(before), leaseContent({ ...before, metadata: { ...before.metadata, annotations: {} } }));
});
