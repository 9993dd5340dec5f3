import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import type { ClusterNode, Guest } from "../../crds/index.ts";
import { Admission, OUT_OF_TOUCH_MS } from "./admission.ts";

/** What n2 knows. */
let members: string[];
let guests: Guest[];
let age: { nodes: number; guests: number };
let synced: boolean;
let runs: boolean | "unknown";
let admission: Admission;

const guest = (nodeName: string | undefined, lastOn?: string, name = "web1"): Guest =>
  ({
    metadata: { name },
    spec: { vmid: 100, ...(nodeName === undefined ? {} : { nodeName }) },
    ...(lastOn === undefined ? {} : { status: { node: lastOn } }),
  }) as Guest;

beforeEach(() => {
  members = ["n1", "n2"];
  guests = [guest("n1", "n1")];
  age = { nodes: 0, guests: 0 };
  synced = true;
  runs = false;
  const known = <T>(list: () => T[], ageMs: () => number) => ({
    get synced() {
      return synced;
    },
    list,
    lastSeenAgeMs: ageMs,
  });
  admission = new Admission({
    node: "n2",
    nodes: known(
      () => members.map((name) => ({ metadata: { name } }) as ClusterNode),
      () => age.nodes,
    ),
    guests: known(
      () => guests,
      () => age.guests,
    ),
    running: () => runs,
  });
});

const verdict = (from = "n1") => {
  const found = admission.mayReceive(100, from);
  return found.allowed ? "allowed" : found.reason;
};

describe("who may connect", () => {
  test("a node of the cluster, until its ClusterNode is gone: then not one moment longer", () => {
    assert.equal(admission.isMember("n1"), true);
    members = ["n2"];
    assert.equal(admission.isMember("n1"), false);
    assert.equal(admission.isMember(""), false);
  });

  test("nobody, when the cluster was not heard of for too long or never", () => {
    age.nodes = OUT_OF_TOUCH_MS;
    assert.equal(admission.isMember("n1"), true);
    age.nodes += 1;
    assert.throws(() => admission.isMember("n1"), { reason: "OutOfTouch", class: "transient", message: /for 40 s/ });
    age.nodes = 0;
    synced = false;
    assert.throws(() => admission.isMember("n1"), { reason: "OutOfTouch", message: /ClusterNodes .* yet/ });
  });
});

describe("who may change a copy", () => {
  test("the owner alone, and it may", () => {
    assert.equal(verdict(), "allowed");
    assert.equal(verdict("n3"), "NotOwner");
    guests = [guest("n2", "n1")];
    assert.equal(verdict("n1"), "NotOwner", "it moved here");
    assert.equal(verdict("n2"), "NotOwner", "nobody else is called as this node is");
  });

  test("nobody, of a guest whose owner is unknown, or that is two guests", () => {
    guests = [guest(undefined)];
    assert.equal(verdict(), "NotOwner");
    guests = [];
    assert.equal(verdict(), "GuestNotFound");
    guests = [guest("n1"), guest("n2", "n2", "web2")];
    assert.equal(verdict(), "VmidNotUnique");
  });

  test("nobody, where it may run", () => {
    for (const answer of [true, "unknown"] as const) {
      runs = answer;
      assert.equal(verdict(), "GuestRuns");
    }
  });

  test("nobody, where it ran last: bound elsewhere and not started there, the newest data is here", () => {
    guests = [guest("n1", "n2")];
    assert.equal(verdict(), "RanHereLast");
    guests = [guest("n1", "n3")];
    assert.equal(verdict(), "allowed");
  });

  test("nobody, when the guests were not heard of for too long, though the nodes were", () => {
    age.guests = OUT_OF_TOUCH_MS + 1;
    assert.throws(() => admission.mayReceive(100, "n1"), { reason: "OutOfTouch" });
  });
});
