import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Migration } from "../crds/index.ts";
import { createMigration, watchMigration } from "./migrate.ts";
import { collected, moments, stepping } from "./testing/steps.ts";

describe("watching a migration", () => {
  const migration = (status: object): Migration =>
    ({ metadata: { name: "web1-1", namespace: "lab" }, spec: { guest: "web1", target: "n2" }, status }) as Migration;

  it("prints each change once and ends when the guest is there", async () => {
    const api = moments(
      migration({}),
      migration({ state: "Pending", message: "waits for a free place" }),
      migration({ state: "Pending", message: "waits for a free place" }),
      migration({ state: "Running", progress: { bytes: 512, total: 1024, bytesPerSecond: 512, etaSeconds: 1 } }),
      migration({ state: "Succeeded", downtimeMilliseconds: 2100 }),
    );
    const { lines, printer } = collected();
    await watchMigration(api, migration({}), printer, stepping());
    assert.deepEqual(lines, [
      "web1-1: Pending",
      "web1-1: Pending: waits for a free place",
      "~web1-1: Running: 50 % (512 B of 1.0 KiB), 512 B/s, 1s left",
      "web1 is on n2 after 4s; it stood still for 2s",
    ]);
  });

  it("fails with the reason that the controllers give", async () => {
    const api = moments(migration({ state: "Failed", reason: "TargetNotOnline", message: "n2 is in maintenance" }));
    await assert.rejects(watchMigration(api, migration({}), collected().printer, stepping()), {
      reason: "MigrationFailed",
      message: 'Migration "web1-1" failed after 0s: TargetNotOnline: n2 is in maintenance',
    });
  });

  it("ends when somebody deletes it", async () => {
    await assert.rejects(watchMigration(moments(undefined), migration({}), collected().printer, stepping()), {
      reason: "MigrationDeleted",
    });
  });

  it("is not begun for a guest that is there, or is unknown", async () => {
    const request = { namespace: "lab", guest: "web1", target: "n2", relocate: false };
    const api = (guest: object | undefined) => ({
      get: async (type: { kind: string }) => (type.kind === "Guest" ? guest : { spec: {} }) as never,
      create: async () => assert.fail("nothing should be created"),
    });
    assert.equal(await createMigration(api({ spec: { nodeName: "n2" } }), request), undefined);
    await assert.rejects(createMigration(api(undefined), request), { reason: "GuestNotFound" });
  });
});
