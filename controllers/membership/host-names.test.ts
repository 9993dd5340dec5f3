import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../kube/testing.ts";
import { HostNames } from "./host-names.ts";

test("a name is asked for once a minute, and one that does not resolve is left out", async () => {
  const clock = new ManualClock();
  const asked: string[] = [];
  const names = new HostNames(async (name) => {
    asked.push(name);
    return name === "n1.lab" ? `10.6.0.${asked.length}` : undefined;
  }, clock);
  const both = new Set(["n1.lab", "n9.lab"]);
  assert.deepEqual([...(await names.resolve(both))], [["n1.lab", "10.6.0.1"]]);
  await clock.advance(59_000);
  assert.deepEqual([...(await names.resolve(both))], [["n1.lab", "10.6.0.1"]]);
  await clock.advance(1_000);
  assert.deepEqual([...(await names.resolve(both))], [["n1.lab", "10.6.0.3"]]);
  assert.equal(asked.length, 4);
});
