import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "node:test";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { ConflictError } from "./api-errors.ts";
import { KubeClient } from "./client.ts";
import { LEASES } from "./core-types.ts";
import {
  createLease,
  HeldLease,
  LeaseLostError,
  leaseEpoch,
  leaseHolder,
  releaseLease,
  renewLease,
  takeLease,
} from "./leases.ts";

describe("a Lease on a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let key: { namespace: string; name: string };
  let count = 0;

  before(async () => {
    controlPlane = await startControlPlane({ useExisting: false });
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });
  after(() => controlPlane?.stop());
  beforeEach(() => {
    key = { namespace: "default", name: `quorate-agent-n${++count}` };
  });

  const agent = (holder = "n1/boot-1") => new HeldLease({ client, key, holder, durationSeconds: 10 });
  const current = async () => {
    const lease = await client.get(LEASES, key);
    assert.ok(lease);
    return lease;
  };

  it("is created, renewed with annotations, and shown by kubectl", async () => {
    const created = await createLease(client, key, {
      holder: "n1/boot-1",
      durationSeconds: 10,
      annotations: { "quorate.dev/mode": "Idle" },
    });
    assert.match(created.spec?.renewTime ?? "", /\.\d{6}Z$/);
    const renewed = await renewLease(client, created, {
      annotations: { "quorate.dev/mode": "Active", "quorate.dev/membership": "{}" },
    });
    assert.equal(leaseEpoch(renewed), 1);
    assert.deepEqual(renewed.metadata.annotations, { "quorate.dev/mode": "Active", "quorate.dev/membership": "{}" });
    assert.equal(renewed.spec?.acquireTime, created.spec?.acquireTime);
    const { stdout } = await controlPlane.kubectl(["get", "lease", key.name, "--no-headers"]);
    assert.match(stdout, /n1\/boot-1/);
  });

  it("is taken only as it was seen, and every holder is a new epoch", async () => {
    const seen = await createLease(client, key, { holder: "n1/boot-1", durationSeconds: 10 });
    await renewLease(client, seen);
    const crm = { holder: "quorate-crm", durationSeconds: 60 };
    await assert.rejects(takeLease(client, seen, crm), ConflictError, "the agent renewed it after it was seen");
    const taken = await takeLease(client, await current(), crm);
    assert.equal(leaseHolder(taken), "quorate-crm");
    assert.equal(leaseEpoch(taken), 2);
    const released = await releaseLease(client, taken);
    assert.equal(leaseHolder(released), "");
    assert.equal(leaseEpoch(released), 2);
  });

  it("of many who take it at once one gets it", async () => {
    const seen = await createLease(client, key, { holder: "n1/boot-1", durationSeconds: 10 });
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => takeLease(client, seen, { holder: `crm-${n}`, durationSeconds: 60 })),
    );
    assert.equal(results.filter((result) => result.status === "fulfilled").length, 1);
    assert.equal(leaseEpoch(await current()), 2);
  });

  it("a holder learns that it was taken, by whom and in which epoch", async () => {
    const held = agent();
    await held.acquire({ "quorate.dev/mode": "Active" }, () => false);
    await held.renew(undefined);
    assert.equal(held.epoch, 1);
    await takeLease(client, await current(), { holder: "quorate-crm", durationSeconds: 60 });
    await assert.rejects(held.renew(undefined), (error: unknown) => {
      assert.ok(error instanceof LeaseLostError);
      assert.equal(error.holder, "quorate-crm");
      assert.equal(error.epoch, 2);
      return true;
    });
    assert.equal(held.lease, undefined);
    assert.equal(await held.acquire(undefined, () => false), undefined, "it is not taken back without leave");
    await held.acquire(undefined, (lease) => leaseHolder(lease) === "quorate-crm");
    assert.equal(held.epoch, 3);
  });

  it("a restarted agent of the same boot goes on in its epoch; after a reboot a new one begins", async () => {
    const before = agent("n1/boot-1");
    await before.acquire(undefined, () => false);
    const restarted = agent("n1/boot-1");
    await restarted.acquire(undefined, () => false);
    assert.equal(restarted.epoch, 1);
    const rebooted = agent("n1/boot-2");
    await rebooted.acquire(undefined, (lease) => leaseHolder(lease).startsWith("n1/"));
    assert.equal(rebooted.epoch, 2);
    await assert.rejects(restarted.renew(undefined), LeaseLostError);
  });

  it("a holder whose Lease was deleted has lost it, and makes it again with a later epoch", async () => {
    const held = agent();
    await held.acquire(undefined, () => false);
    await client.delete(LEASES, key);
    await assert.rejects(held.renew(undefined), LeaseLostError);
    await held.acquire(undefined, () => false);
    assert.equal(held.epoch, 2);
  });

  it("a renewal whose answer was lost is recognised as ours", async () => {
    const held = agent();
    await held.acquire(undefined, () => false);
    await renewLease(client, await current(), { annotations: { late: "yes" } });
    const renewed = await held.renew({ late: "no" });
    assert.equal(renewed.metadata.annotations?.late, "no");
    assert.equal(held.epoch, 1);
  });

  it("release gives it up at once, even after such a renewal", async () => {
    const held = agent();
    await held.acquire(undefined, () => false);
    await renewLease(client, await current(), { annotations: { other: "write of the same holder" } });
    await held.release();
    assert.equal(leaseHolder(await current()), "");
    await held.release();
  });
});
