import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Guest, type HAResource, withDefaults } from "../../crds/index.ts";
import type { ClusterObjects } from "./objects.ts";
import { crmView } from "./view.ts";

function object(kind: "Cluster" | "Guest" | "HAResource", name: string, spec: object, more: object = {}): unknown {
  const applied = { apiVersion: "quorate.dev/v1alpha1", kind, metadata: { name, namespace: "lab", ...more }, spec };
  return withDefaults(kind, applied);
}

function view(resources: readonly unknown[], guests: readonly unknown[]) {
  const objects = { nodes: [], groups: [], rules: [], jobs: [], migrations: [], leases: [] };
  return crmView({
    objects: {
      ...objects,
      cluster: object("Cluster", "lab", { links: [{ network: "10.6.0.0/24" }] }),
      resources: resources as HAResource[],
      guests: guests as Guest[],
    } as unknown as ClusterObjects,
    incarnation: "1",
    quorate: true,
    sameRound: false,
    sights: new Map(),
    requests: [],
  });
}

const unbound = { resources: { memory: "1Gi" }, service: { unit: "web.service" } };

describe("a service whose guest is away", () => {
  const wanted = { ...(object("HAResource", "web", {}) as HAResource), status: { state: "Started", node: "n2" } };
  const away = (resource: unknown, guests: readonly unknown[] = []) => [
    ...(view([resource], guests).withoutGuest ?? []),
  ];

  it("is under HA still: the Guest is not there, or it is bound to no node", () => {
    assert.deepEqual(away(wanted), ["web"]);
    assert.deepEqual(away(wanted, [object("Guest", "web", unbound)]), ["web"]);
    assert.deepEqual(away(wanted, [object("Guest", "web", { ...unbound, nodeName: "n1" })]), []);
  });

  it("is so no more when the HAResource goes, or leaves the guest alone", () => {
    assert.deepEqual(away(object("HAResource", "web", {}, { deletionTimestamp: "2026-01-01T00:00:00Z" })), []);
    assert.deepEqual(away(object("HAResource", "web", { state: "Ignored" })), []);
  });

  it("is known to have been where the controllers had it", () => {
    const { services } = view([wanted], [object("Guest", "web", { ...unbound, nodeName: "n1" })]);
    assert.deepEqual([services.web?.owner, services.web?.lastNode], ["n1", "n2"]);
  });
});
