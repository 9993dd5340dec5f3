import assert from "node:assert/strict";
import { webcrypto, X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { CERTIFICATE_DAYS, newAuthority, readRequest, sign } from "./authority.ts";
import { refusalOf } from "./policy.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const now = Date.parse("2026-11-21T00:00:00Z");
const day = 86_400_000;
const nodeName = [{ CN: ["n1"] }, { O: ["quorate:lab"] }];

async function requestFor(
  name: x509.JsonName,
  algorithm: webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams = P256,
): Promise<string> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  const extensions = [
    new x509.SubjectAlternativeNameExtension([
      { type: "dns", value: "n2" },
      { type: "ip", value: "10.6.0.2" },
    ]),
  ];
  const signingAlgorithm = { ...algorithm, hash: "SHA-256" };
  return (await x509.Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm, extensions })).toString(
    "pem",
  );
}

describe("a certificate", () => {
  test("is of the cluster's authority, for the node that asked, with its addresses, for 90 days", async () => {
    const authority = await newAuthority("lab", now);
    const pem = await requestFor(nodeName);
    const asked = await readRequest(pem);
    assert.deepEqual(asked, { node: "n1", namespace: "lab" });
    assert.ok(!("problem" in asked));
    // Read with another implementation than it was made with.
    const issued = new X509Certificate(await sign(authority, pem, asked, ["10.6.0.1", "fd00:6::1"], now));
    const issuer = new X509Certificate(authority.cert);
    assert.ok(issued.verify(issuer.publicKey) && issued.checkIssued(issuer));
    assert.ok(issuer.ca && !issued.ca);
    assert.match(issued.subject, /CN=n1/);
    assert.equal(issued.checkHost("n1"), "n1");
    assert.equal(issued.checkIP("10.6.0.1"), "10.6.0.1");
    assert.equal(issued.checkIP("fd00:6::1"), "fd00:6::1");
    assert.equal(issued.validToDate.getTime(), now + CERTIFICATE_DAYS * day);
    assert.ok(issued.validFromDate.getTime() < now, "a clock that is a little behind takes it too");
    assert.deepEqual(issued.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  });
  test("has no name that only the request wants", async () => {
    const authority = await newAuthority("lab", now);
    const pem = await requestFor(nodeName);
    const issued = new X509Certificate(await sign(authority, pem, { node: "n1", namespace: "lab" }, [], now));
    assert.equal(issued.checkHost("n2"), undefined);
    assert.equal(issued.checkIP("10.6.0.2"), undefined);
  });
  test("does not outlive its authority", async () => {
    const authority = await newAuthority("lab", now);
    const late = now + 3_640 * day;
    const issued = new X509Certificate(
      await sign(authority, await requestFor(nodeName), { node: "n1", namespace: "lab" }, [], late),
    );
    assert.equal(issued.validToDate.getTime(), new X509Certificate(authority.cert).validToDate.getTime());
  });
  test("of another cluster's authority is not taken for one of ours", async () => {
    const [ours, theirs] = [await newAuthority("lab", now), await newAuthority("lab", now)];
    const issued = new X509Certificate(
      await sign(theirs, await requestFor(nodeName), { node: "n1", namespace: "lab" }, [], now),
    );
    assert.equal(issued.verify(new X509Certificate(ours.cert).publicKey), false);
  });
});

describe("a request is unsound", () => {
  const problem = async (pem: string) => {
    const asked = await readRequest(pem);
    assert.ok("problem" in asked, JSON.stringify(asked));
    return asked.problem;
  };
  test("when it is none", async () => assert.match(await problem("hello"), /no PKCS #10/));
  test("when it was changed after it was signed", async () => {
    const raw = Buffer.from(x509.PemConverter.decodeFirst(await requestFor(nodeName)));
    raw.write("9", raw.indexOf("n1") + 1);
    assert.match(await problem(x509.PemConverter.encode(raw, "CERTIFICATE REQUEST")), /not signed with the key/);
  });
  test("with another kind of key", async () => {
    const rsa = {
      name: "RSASSA-PKCS1-v1_5",
      modulusLength: 1024,
      publicExponent: new Uint8Array([1, 0, 1]),
      hash: "SHA-256",
    };
    assert.match(await problem(await requestFor(nodeName, rsa)), /agents have keys of ECDSA on P-256/);
  });
  test("with two names, none, or one that is no node's", async () => {
    for (const name of [
      [{ CN: ["n1"] }, { CN: ["n2"] }, { O: ["quorate:lab"] }],
      [{ O: ["quorate:lab"] }],
      [{ CN: ["../n1"] }, { O: ["quorate:lab"] }],
      [{ CN: ["N1 "] }, { O: ["quorate:lab"] }],
    ]) {
      assert.match(await problem(await requestFor(name)), /exactly one CN/);
    }
  });
  test("without the cluster, or with two", async () => {
    for (const name of [
      [{ CN: ["n1"] }],
      [{ CN: ["n1"] }, { O: ["system:masters"] }],
      [{ CN: ["n1"] }, { O: ["quorate:lab"] }, { O: ["quorate:b"] }],
    ]) {
      assert.match(await problem(await requestFor(name)), /exactly one O/);
    }
  });
});

describe("who may have the identity of a node", () => {
  const asked = { node: "n1", namespace: "lab" };
  const refusal = (username: string, boundNode?: string) => refusalOf(asked, { username, boundNode }, "quorate-system");
  test("the agent's pod on that node", () =>
    assert.equal(refusal("system:serviceaccount:quorate-system:quorate-agent", "n1"), undefined));
  test("the agent's unit of that node in that cluster", () => assert.equal(refusal("quorate:agent:lab:n1"), undefined));
  test("nobody else", () => {
    assert.match(
      refusal("system:serviceaccount:quorate-system:quorate-agent", "n2") ?? "",
      /a pod on node "n2" may not have the identity of node "n1"/,
    );
    assert.match(refusal("system:serviceaccount:quorate-system:quorate-agent") ?? "", /bound to no node/);
    assert.match(refusal("system:serviceaccount:lab:quorate-agent", "n1") ?? "", /is not the agent/);
    assert.match(refusal("quorate:agent:lab:n2", "n1") ?? "", /is not the agent/);
    assert.match(refusal("quorate:agent:other:n1") ?? "", /is not the agent/);
    assert.match(refusal("kubernetes-admin", "n1") ?? "", /is not the agent/);
  });
});
