import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cluster, ClusterNode, ClusterNodeStatus, ClusterStatus } from "../crds/index.ts";
import { timingsInForce } from "./timings-in-force.ts";

const cluster = (tokenMilliseconds: number, status: ClusterStatus = {}, qdevice?: object) =>
  ({ spec: { tokenMilliseconds, ha: { watchdogSeconds: 10 }, qdevice }, status }) as Cluster;
const nodes = (...statuses: (ClusterNodeStatus | undefined)[]) =>
  statuses.map((status, n) => ({ metadata: { name: `n${n + 1}` }, status })) as unknown as ClusterNode[];
const runs = (tokenMilliseconds: number): ClusterNodeStatus => ({
  corosync: { tokenMilliseconds, consensusMilliseconds: tokenMilliseconds * 1.2 },
});
const inForce = (of: Cluster, all: ClusterNode[]) => {
  const result = timingsInForce({ cluster: of, nodes: all });
  assert.ok(result.ok, JSON.stringify(result));
  return result.timings;
};
const t = (of: Cluster, all: ClusterNode[]) => inForce(of, all).membershipChange.milliseconds;

/** 2.2 times the token that corosync makes of the setting for three nodes. */
const SLOW = 23_430;
const FAST = 3_630;

test("the slowest of settings, of what was published and of what a host runs with is in force", () => {
  const fast = nodes(runs(1650), runs(1650), runs(1650));
  assert.equal(t(cluster(1000), fast), FAST);
  assert.equal(t(cluster(10_000), fast), SLOW, "a longer token, before any host has it");
  assert.equal(t(cluster(1000), nodes(runs(10_650), runs(1650), runs(1650))), SLOW, "one host has not loaded it");
  assert.equal(t(cluster(1000, { config: { membershipChangeMilliseconds: SLOW } }), fast), SLOW);
});

test("of a host that said nothing, what was published counts; also as a version noted it that knew the token only", () => {
  const unknown = nodes(undefined, { corosync: { running: true } }, { corosync: { tokenMilliseconds: 1650 } });
  assert.equal(t(cluster(1000, { config: { membershipChangeMilliseconds: SLOW } }), unknown), SLOW);
  assert.equal(t(cluster(1000, { config: { tokenMilliseconds: 10_000 } }), unknown), SLOW);
  assert.equal(t(cluster(1000), unknown), FAST);
});

test("a node that was taken out leaves the members a longer token, until they load the shorter one", () => {
  const three = 3650 + 4380;
  assert.equal(t(cluster(3000), nodes(runs(3650), runs(3000))), three);
  assert.equal(t(cluster(3000), nodes(runs(3000), runs(3000))), 6600);
});

test("a device with a longer time-out, and a QDevice that still runs, are waited for", () => {
  const slow = nodes(runs(1650), { watchdog: { armed: true, timeoutSeconds: 60 } }, undefined);
  assert.equal(inForce(cluster(1000), slow).watchdog.milliseconds, 60_250);
  const device = nodes({ corosync: { qdeviceFlags: "A,V,NMW" } }, undefined, undefined);
  assert.equal(t(cluster(1000), device), FAST + 30_000);
});
