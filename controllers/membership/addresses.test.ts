import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { chooseAddress, isInside, type LinkQuestion } from "./addresses.ts";

const question = (changes: Partial<LinkQuestion> = {}): LinkQuestion => ({
  node: "n3",
  link: 1,
  network: "10.6.1.0/24",
  given: undefined,
  resolved: undefined,
  reported: ["192.168.1.3/24", "10.6.1.3/24", "fe80::1/64"],
  current: undefined,
  ...changes,
});
const problemOf = (changes: Partial<LinkQuestion>) => {
  const answer = chooseAddress(question(changes));
  assert.ok("problem" in answer, JSON.stringify(answer));
  return `${answer.problem}: ${answer.message}`;
};

describe("the address of a node on a link", () => {
  test("is the one it has in the network", () => assert.deepEqual(chooseAddress(question()), { address: "10.6.1.3" }));
  test("of IPv6 too, in one spelling", () => {
    const reported = ["10.6.1.3/24", "fd00:6:0:0::0003/64", "fd00:6::3/128"];
    assert.deepEqual(chooseAddress(question({ network: "fd00:6::/64", reported })), { address: "fd00:6::3" });
  });
  test("given is taken as it is, inside the network or not", () =>
    assert.deepEqual(chooseAddress(question({ given: "172.16.0.3" })), { address: "172.16.0.3" }));
  test("missing names the node, the network, what the node has and what to do", () => {
    assert.equal(
      problemOf({ reported: ["192.168.1.3/24"] }),
      'NoAddress: ClusterNode "n3", link 1: no address in 10.6.1.0/24; it has 192.168.1.3; give the host one there, or set spec.links[number 1].address',
    );
    assert.match(problemOf({ reported: [] }), /its agent has reported no addresses yet/);
  });
  test("ambiguous names both", () =>
    assert.match(
      problemOf({ reported: ["10.6.1.3/24", "10.6.1.33/24"] }),
      /AmbiguousAddress: .*10\.6\.1\.3 and 10\.6\.1\.33 are both in 10\.6\.1\.0\/24; set spec\.links/,
    ));
  test("on a link without a network has to be given", () =>
    assert.match(problemOf({ network: undefined }), /NoAddress: .*must be given/));
});

describe("a member keeps its address", () => {
  const current = { address: "10.6.1.3" };
  test("when its agent is silent, or reports a second one", () => {
    assert.deepEqual(chooseAddress(question({ reported: [], current })), current);
    assert.deepEqual(chooseAddress(question({ reported: ["10.6.1.4/24", "10.6.1.5/24"], current })), current);
  });
  test("until the network of the link is another one", () =>
    assert.deepEqual(chooseAddress(question({ network: "192.168.1.0/24", current })), { address: "192.168.1.3" }));
  test("until another one is given", () =>
    assert.deepEqual(chooseAddress(question({ given: "10.6.1.9", current })), { address: "10.6.1.9" }));
});

describe("a host name", () => {
  test("is resolved", () =>
    assert.deepEqual(chooseAddress(question({ given: "n3.lab", resolved: "10.6.1.3" })), {
      address: "10.6.1.3",
      hostName: "n3.lab",
    }));
  test("is resolved once: what it says later is shown, not used", () => {
    const current = { address: "10.6.1.3", hostName: "n3.lab" };
    assert.deepEqual(chooseAddress(question({ given: "n3.lab", resolved: "10.6.1.7", current })), {
      ...current,
      resolvesTo: "10.6.1.7",
    });
    assert.deepEqual(chooseAddress(question({ given: "n3.lab", resolved: "10.6.1.3", current })), current);
    assert.deepEqual(chooseAddress(question({ given: "n3.lab", current })), current);
  });
  test("that does not resolve is a problem", () =>
    assert.match(problemOf({ given: "n3.lab" }), /NameUnresolved: .*"n3\.lab" does not resolve/));
});

test("networks", () => {
  assert.equal(isInside("10.6.1.255", "10.6.1.0/24"), true);
  assert.equal(isInside("10.6.2.0", "10.6.1.0/24"), false);
  assert.equal(isInside("fd00:6::1", "10.6.1.0/24"), false);
  assert.equal(isInside("10.6.1.1", "fd00::/8"), false);
});
