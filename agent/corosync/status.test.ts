import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError, FakeHost } from "../host/index.ts";
import { parseCmap } from "./cmap.ts";
import { describeRunning, parseVersion, readStatus } from "./status.ts";
import { CMAP, CMAP_STATISTICS, QUORATE } from "./testing/recorded.ts";

const VERSION = "Corosync Cluster Engine, version '3.1.7'\nCopyright (c) 2006-2021 Red Hat, Inc.\n";

test("the running configuration, the members' versions, the links", () => {
  assert.deepEqual(describeRunning(parseCmap(CMAP), parseCmap(CMAP_STATISTICS), 1), {
    clusterName: "ring",
    configVersion: 4,
    transport: "knet",
    cipher: "aes256",
    hash: "sha256",
    tokenMilliseconds: 1650,
    consensusMilliseconds: 1980,
    configuredNodes: [1, 2, 10],
    memberConfigVersions: [
      { nodeId: 1, configVersion: 4 },
      { nodeId: 2, configVersion: 3 },
    ],
    links: [
      {
        number: 0,
        address: "10.9.0.1",
        peers: [
          { nodeId: 2, connected: true, latencyMicroseconds: 177, downCount: 1 },
          { nodeId: 10, connected: false, downCount: 2 },
        ],
      },
      { number: 1, address: "10.9.1.1", peers: [{ nodeId: 2, connected: true, downCount: 0 }] },
    ],
  });
});

test("what corosync does not say is absent, not zero", () => {
  assert.deepEqual(describeRunning(parseCmap(""), parseCmap(""), 1), {
    configuredNodes: [],
    memberConfigVersions: [],
    links: [],
  });
});

test("the version of the program", () => {
  assert.equal(parseVersion(VERSION), "3.1.7");
  assert.equal(parseVersion("something else"), undefined);
});

test("a corosync that freezes between two questions leaves what it said before", async () => {
  using host = new FakeHost()
    .on(["corosync-quorumtool"], QUORATE)
    .on(["corosync", "-v"], VERSION)
    .on(["corosync-cmapctl"], new CommandError("transient", "CommandTimeout", "no answer", { stdout: "", stderr: "" }));
  const status = await readStatus(host, { timeoutMs: 1000 });
  assert.equal(status.quorum.state, "Running");
  assert.equal(status.running, undefined);
});

test("a frozen corosync is asked only once", async () => {
  using host = new FakeHost()
    .on(
      ["corosync-quorumtool"],
      new CommandError("transient", "CommandTimeout", "no answer", { stdout: "", stderr: "" }),
    )
    .on(["corosync", "-v"], VERSION);
  const status = await readStatus(host, { timeoutMs: 1000 });
  assert.equal(status.quorum.state, "Unresponsive");
  assert.equal(status.version, "3.1.7");
  assert.deepEqual(host.commands, ["corosync-quorumtool -s -i", "corosync -v"]);
});
