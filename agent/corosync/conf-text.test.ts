import assert from "node:assert/strict";
import { test } from "node:test";
import { summarizeConf } from "./conf-text.ts";
import { sampleConf } from "./testing/recorded.ts";

test("what a configuration says of itself", () => {
  assert.deepEqual(summarizeConf(sampleConf(7, [1, 2, 30])), {
    clusterName: "ring",
    configVersion: 7,
    nodeIds: [1, 2, 30],
  });
});

test("a configuration cut off anywhere is refused", () => {
  const whole = sampleConf(7);
  for (let length = 0; length < whole.length; length++) {
    assert.throws(
      () => summarizeConf(whole.slice(0, length)),
      { reason: "ConfigInvalid" },
      `cut after ${length} characters`,
    );
  }
});

test("each thing that corosync would take in silence or choke on is named", () => {
  const good = sampleConf(7);
  const cases: [string, string, RegExp][] = [
    ["config_version: 7", "config_version: 0", /config_version is "0"/],
    ["config_version: 7", "config_version: seven", /config_version is "seven"/],
    ["  version: 2", "  version: 3", /totem.version/],
    ["cluster_name: ring", "cluster_name:", /cluster_name/],
    ["corosync_votequorum", "corosync_quorum_ykd", /quorum.provider/],
    ["nodeid: 2", "nodeid: 1", /twice in nodelist: 1, 1, 3/],
    ["ring0_addr: 10.9.0.2", "name: n", /node 2 has no address/],
    ["quorum {\n", "quorum {\n}\nquorum {\n", /section quorum stands there twice/],
    ["nodelist {", "nodelst {", /section nodelist is missing/],
    ["  cluster_name", "  what is this\n  cluster_name", /line 4 is neither/],
    ["quorum {\n", "}\nquorum {\n", /closes a section that was not opened/],
  ];
  for (const [from, to, message] of cases) {
    assert.ok(good.includes(from), from);
    assert.throws(
      () => summarizeConf(good.replace(from, to)),
      { reason: "ConfigInvalid", message },
      `${from} -> ${to}`,
    );
  }
});
