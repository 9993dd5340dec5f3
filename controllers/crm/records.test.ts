import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { HAResource, HAResourceStatus } from "../../crds/index.ts";
import { serviceRecordOf, serviceStatus } from "./records.ts";

const COMMAND = { uid: "3.1", action: "Start" } as const;
const RUNNING: HAResourceStatus = {
  state: "Started",
  node: "n1",
  guarded: true,
  command: COMMAND,
  result: { uid: "3.1", outcome: "Ok" },
};

function processed(status: HAResourceStatus): string | undefined {
  return serviceRecordOf({ metadata: { name: "web" }, spec: {}, status } as HAResource, undefined, 0)?.processed;
}

describe("an answer that a leader finds", () => {
  it("was taken in when all that it changes is on record", () => {
    assert.equal(processed(RUNNING), "3.1/Ok");
    const over = { from: "n2", to: "n1", startedAt: "2026-01-01T00:00:00Z" };
    assert.equal(processed({ ...RUNNING, lastFailover: over }), "3.1/Ok");
  });

  const open: Record<string, HAResourceStatus> = {
    "is not that of the command": { ...RUNNING, result: { uid: "2.9", outcome: "Ok" } },
    "is a failure": { ...RUNNING, result: { uid: "3.1", outcome: "Failed" } },
    "is not there": { ...RUNNING, result: undefined } as unknown as HAResourceStatus,
    "does not count for the guard yet": { ...RUNNING, guarded: false },
    "ends a series of failed starts": { ...RUNNING, attempts: { relocations: 0, triedNodes: ["n2"] } },
    "ends relocations": { ...RUNNING, attempts: { relocations: 1, triedNodes: [] } },
    "ends a failover": { ...RUNNING, lastFailover: { from: "n2", to: "n1" } },
    "leaves an old message": { ...RUNNING, message: "it did not start" },
    "is of a stop": { ...RUNNING, state: "RequestStop" },
  };
  for (const [what, status] of Object.entries(open))
    it(`is taken in when it ${what}`, () => assert.equal(processed(status), undefined));
});

describe("a service in Error", () => {
  const resource = { metadata: { name: "web", namespace: "lab" }, spec: { state: "Started" } } as HAResource;
  const record = { state: "Error", node: "n2", since: 0, command: COMMAND, triedNodes: [], relocations: 0 } as const;
  const error = (owner: string | undefined) =>
    serviceStatus(resource, record, "2026-01-01T00:00:00Z", undefined, owner).conditions?.find(
      ({ type }) => type === "Error",
    );

  it("says that its guest must be bound back to where it may run, and how", () => {
    const { reason, message = "" } = error("n1") ?? {};
    assert.equal(reason, "BoundElsewhere");
    assert.match(message, /^Guest "web" is bound to n1, but it belongs to n2 and may run there/);
    assert.match(message, /kubectl patch guest web -n lab .*--field-manager=quorate-by-hand .*"nodeName":"n2"/);
  });

  it("says what failed where the binding is right, or there is none", () => {
    for (const owner of ["n2", undefined]) assert.equal(error(owner)?.reason, "Failed");
  });
});
