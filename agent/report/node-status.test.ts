import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ClusterNodeStatus } from "../../crds/index.ts";
import type { CorosyncStatus } from "../corosync/index.ts";
import { type NodeFacts, nodeStatus } from "./node-status.ts";

const WALL = "2026-11-21T00:00:00Z";
const facts: NodeFacts = {
  release: "1",
  mode: "SystemdUnit",
  bootId: "b",
  corosync: undefined,
  lastLoad: undefined,
  addresses: [],
  lrm: { mode: "Active", epoch: 1, activeGuests: 1 },
  watchdog: undefined,
  transfer: undefined,
  capacity: { cpu: 1, memoryBytes: 1 },
  usage: undefined,
};
const report = (changes: Partial<NodeFacts>, before?: ClusterNodeStatus) =>
  nodeStatus({ ...facts, ...changes }, before, 1, WALL);

describe("what corosync runs with", () => {
  const running = (times: object): CorosyncStatus => ({
    quorum: {
      state: "Running",
      quorate: true,
      ringId: "1.4",
      nodeId: 1,
      members: [],
    } as unknown as CorosyncStatus["quorum"],
    running: { configVersion: 2, ...times, configuredNodes: [], memberConfigVersions: [], links: [] },
  });
  const times = ({ corosync }: ClusterNodeStatus) => [corosync?.tokenMilliseconds, corosync?.consensusMilliseconds];
  const slow = { tokenMilliseconds: 10_650, consensusMilliseconds: 12_780 };

  test("is reported as corosync itself says, not as its file does", () => {
    assert.deepEqual(times(report({ corosync: running(slow) })), [10_650, 12_780]);
    const fast = { tokenMilliseconds: 1650, consensusMilliseconds: 1980 };
    assert.deepEqual(times(report({ corosync: running(fast) }, report({ corosync: running(slow) }))), [1650, 1980]);
  });

  test("stands while corosync does not say: it may run with that still, or again", () => {
    const before = report({ corosync: running(slow) });
    const none = [undefined, { quorum: { state: "Stopped" } as CorosyncStatus["quorum"] }, running({})];
    for (const corosync of none) assert.deepEqual(times(report({ corosync }, before)), [10_650, 12_780]);
    assert.deepEqual(times(report({})), [undefined, undefined]);
  });
});

describe("the time-out of the watchdog", () => {
  const device = "/dev/watchdog0";
  const of = ({ watchdog }: ClusterNodeStatus) => [watchdog?.timeoutSeconds, watchdog?.armed];
  const armed = report({ watchdog: { device, timeoutSeconds: 60, armed: true } });

  test("is what was read back", () => assert.deepEqual(of(armed), [60, true]));

  test("stands while the keeper does not answer, and while a restarted one has not opened the device: it counts on", () => {
    const silent = report({ watchdog: undefined }, armed);
    assert.deepEqual(of(silent), [60, false]);
    const restarted = report({ watchdog: { device, armed: true } }, silent);
    assert.deepEqual(of(restarted), [60, false]);
    assert.equal(restarted.conditions?.find(({ type }) => type === "WatchdogArmed")?.status, "False");
    assert.deepEqual(of(report({ watchdog: undefined }, restarted)), [60, false]);
  });

  test("goes when the keeper says that it is not armed, or gives another one", () => {
    assert.deepEqual(of(report({ watchdog: { device, armed: false } }, armed)), [undefined, false]);
    assert.deepEqual(of(report({ watchdog: { device, timeoutSeconds: 10, armed: true } }, armed)), [10, true]);
  });
});

describe("the links", () => {
  const seen = (members: number[], quorate: boolean, ...up: Record<number, boolean>[]) => {
    const links = up.map((peers, number) => ({
      number,
      peers: Object.entries(peers).map(([nodeId, connected]) => ({ nodeId: Number(nodeId), connected, downCount: 0 })),
    }));
    const { linksUp, conditions } = report({
      corosync: {
        quorum: {
          state: "Running",
          quorate,
          members: members.map((nodeId) => ({ nodeId })),
        } as unknown as CorosyncStatus["quorum"],
        running: { configVersion: 2, configuredNodes: [], memberConfigVersions: [], links },
      },
    });
    const healthy = conditions?.find(({ type }) => type === "LinksHealthy");
    return `${linksUp} ${healthy?.status} ${healthy?.reason}`;
  };

  test("are healthy when they reach every member; a host that is off is not their fault", () => {
    assert.equal(seen([1, 2, 3], true, { 2: true, 3: true }, { 2: true, 3: true }), "2/2 True AllPeersUp");
    assert.equal(seen([1, 2], true, { 2: true, 3: false }, { 2: true, 3: false }), "2/2 True AllPeersUp");
    assert.equal(seen([1, 2, 3], true, { 2: true, 3: true }, { 2: true, 3: false }), "1/2 False PeersDown");
  });

  test("are all missed on the side that lost quorum", () => {
    assert.equal(seen([1], false, { 2: false, 3: false }, { 2: false, 3: false }), "0/2 False PeersDown");
  });
});
