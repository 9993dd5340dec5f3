import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicationJob, ReplicationJobStatus } from "../../crds/index.ts";
import { dataOn } from "./cluster-crm.ts";

const job = (guest: string, status: ReplicationJobStatus): ReplicationJob =>
  ({ spec: { guest, target: "n2" }, status }) as ReplicationJob;
const copy = (node: string, time: string) => ({ node, snapshot: "s", time });

test("the age after a failover is that of the new node's copy, though its job has turned round and synced elsewhere", () => {
  const turned = job("web1", {
    source: "n2",
    target: "n1",
    lastSync: "2026-11-21T00:09:00Z",
    copies: [copy("n2", "2026-11-21T00:01:00Z"), copy("n1", "2026-11-21T00:09:00Z")],
  });
  const another = job("web1", {
    target: "n3",
    copies: [copy("n3", "2026-11-21T00:05:00Z"), copy("n2", "2026-11-21T00:02:00Z")],
  });
  const other = job("web2", { copies: [copy("n2", "2026-11-21T00:59:00Z")] });
  const jobs = [turned, another, other];
  assert.equal(dataOn(jobs, "web1", "n2"), Date.parse("2026-11-21T00:02:00Z"));
  assert.equal(dataOn(jobs, "web1", "n1"), Date.parse("2026-11-21T00:09:00Z"));
  assert.equal(dataOn(jobs, "web1", "n4"), undefined, "no copy that is known of: nothing is said");
  assert.equal(dataOn([job("web1", { target: "n2", lastSync: "2026-11-21T00:09:00Z" })], "web1", "n2"), undefined);
});
