import assert from "node:assert/strict";
import { createPrivateKey, webcrypto, X509Certificate } from "node:crypto";
import { statSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { agentClient } from "../../charts/quorate/testing.ts";
import { type Clock, systemClock } from "../../clock.ts";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { CERTIFICATE_SIGNING_REQUESTS, CONFIG_MAPS, KubeClient } from "../../kube/index.ts";
import { processLog } from "../../log.ts";
import { FakeHost } from "../host/index.ts";
import { Identity } from "./index.ts";

const skip = whyNoControlPlane() ?? false;
const FILE = "/var/lib/quorate/identity/lab/identity.json";
const DAY_MS = 86_400_000;

/** Time that runs, from another day on. */
class LaterClock implements Clock {
  days = 0;
  /** Waiting is cut short, so that an answer that does not come is not waited for in full. */
  hurry = 1;
  elapsedMs(): number {
    return systemClock.elapsedMs() * this.hurry;
  }
  wallMs(): number {
    return systemClock.wallMs() + this.days * DAY_MS;
  }
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return systemClock.sleep(ms / this.hurry, signal);
  }
}

/** Without controllers: the test itself is the signer. */
describe("the identity of an agent", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  /** With the rights of an agent. */
  let agent: KubeClient;
  const log = processLog("identity-test");
  const requests = async () => (await client.list(CERTIFICATE_SIGNING_REQUESTS)).items;

  before(async () => {
    controlPlane = await startControlPlane();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    agent = await agentClient(controlPlane, "lab", "n1");
    await controlPlane.kubectl(["create", "namespace", "lab"]);
  });
  after(() => controlPlane?.stop());

  it("needs the authority of the cluster first, and asks nobody without it", async () => {
    using host = new FakeHost();
    const identity = new Identity({ client: agent, host, clock: systemClock, log, node: "n1", namespace: "lab" });
    await assert.rejects(identity.current([]), { reason: "NoAuthority", class: "transient" });
    assert.deepEqual(await requests(), []);
  });

  it("asks once and waits for the same answer again when nobody signs", async () => {
    using host = new FakeHost();
    await client.create(CONFIG_MAPS, {
      metadata: { namespace: "lab", name: "quorate-ca" },
      data: { "ca.crt": "an authority" },
    });
    const clock = new LaterClock();
    clock.hurry = 50;
    const identity = new Identity({ client: agent, host, clock, log, node: "n1", namespace: "lab" });
    await assert.rejects(identity.current(["10.6.0.1"]), { reason: "NotSigned", class: "transient" });
    await assert.rejects(identity.current(["10.6.0.1"]), { reason: "NotSigned" });
    const made = await requests();
    assert.equal(made.length, 1);
    assert.equal(made[0]?.spec.signerName, "quorate.dev/agent");
    assert.equal(await host.readFile(FILE), undefined, "no key is kept before it has a certificate");
  });

  it("says why it was refused, and asks anew the next time", async () => {
    using host = new FakeHost();
    for (const { metadata } of await requests())
      await client.delete(CERTIFICATE_SIGNING_REQUESTS, { name: metadata.name });
    const clock = new LaterClock();
    const identity = new Identity({ client: agent, host, clock, log, node: "n1", namespace: "lab" });
    const refused = assert.rejects(identity.current([]), {
      reason: "NotSigned",
      class: "environment",
      message: /was refused: not today/,
    });
    const first = await until(async () => (await requests())[0]);
    await client.mergePatch(
      CERTIFICATE_SIGNING_REQUESTS,
      { name: first.metadata.name },
      { status: { conditions: [{ type: "Denied", status: "True", reason: "Test", message: "not today" }] } },
      { subresource: "approval", fieldManager: "test" },
    );
    await refused;
    clock.hurry = 50;
    await assert.rejects(identity.current([]), { reason: "NotSigned", class: "transient" });
    assert.equal((await requests()).length, 2);
  });

  it("keeps key and certificate on the host alone, for root alone, and renews after two thirds of its time", async () => {
    using host = new FakeHost();
    for (const { metadata } of await requests())
      await client.delete(CERTIFICATE_SIGNING_REQUESTS, { name: metadata.name });
    const authority = await makeAuthority();
    await client.mergePatch(
      CONFIG_MAPS,
      { namespace: "lab", name: "quorate-ca" },
      { data: { "ca.crt": authority.cert } },
      { fieldManager: "test" },
    );
    const clock = new LaterClock();
    const signAll = async () => {
      const open = await until(async () => (await requests()).find(({ status }) => status?.certificate === undefined));
      const pem = Buffer.from(open.spec.request, "base64").toString();
      const request = new x509.Pkcs10CertificateRequest(pem);
      assert.ok(await request.verify());
      assert.equal(request.subject, "CN=n1, O=quorate:lab");
      const certificate = Buffer.from(await authority.sign(request, clock.wallMs())).toString("base64");
      const options = { fieldManager: "test" };
      const approved = { type: "Approved", status: "True", reason: "Test", message: "" };
      await client.mergePatch(
        CERTIFICATE_SIGNING_REQUESTS,
        { name: open.metadata.name },
        { status: { conditions: [approved] } },
        { ...options, subresource: "approval" },
      );
      await client.mergePatch(
        CERTIFICATE_SIGNING_REQUESTS,
        { name: open.metadata.name },
        { status: { certificate } },
        { ...options, subresource: "status" },
      );
    };
    const options = { client, host, clock, log, node: "n1", namespace: "lab" };
    const identity = new Identity(options);
    const [first] = await Promise.all([identity.current(["10.6.0.1"]), signAll()]);
    assert.equal(first.renewed, true);
    assert.equal(first.identity.ca, authority.cert);
    assert.ok(new X509Certificate(first.identity.cert).checkPrivateKey(createPrivateKey(first.identity.key)));
    assert.equal(statSync(host.path(FILE)).mode & 0o777, 0o600);
    assert.ok(
      !(await requests()).some(({ spec }) => Buffer.from(spec.request, "base64").toString().includes("PRIVATE")),
    );

    const restarted = new Identity(options);
    assert.deepEqual((await restarted.current([])).identity, first.identity, "an agent that restarts asks for nothing");
    clock.days = 59;
    assert.equal((await restarted.current([])).renewed, false);
    clock.days = 61;
    const [second] = await Promise.all([restarted.current([]), signAll()]);
    assert.equal(second.renewed, true);
    assert.notEqual(second.identity.key, first.identity.key, "with another key");

    await client.mergePatch(
      CONFIG_MAPS,
      { namespace: "lab", name: "quorate-ca" },
      { data: { "ca.crt": "another authority" } },
      { fieldManager: "test" },
    );
    clock.hurry = 50;
    await assert.rejects(restarted.current([]), { reason: "NotSigned" }, "another authority needs another certificate");
  });
});

async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const endMs = systemClock.elapsedMs() + 10_000;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (systemClock.elapsedMs() > endMs) throw new Error("no answer within 10 s");
    await systemClock.sleep(50);
  }
}

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

async function makeAuthority(): Promise<{
  cert: string;
  sign(request: x509.Pkcs10CertificateRequest, wallMs: number): Promise<string>;
}> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
  const extensions = [new x509.BasicConstraintsExtension(true, 0, true)];
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    name: "CN=test",
    keys,
    signingAlgorithm: P256,
    extensions,
  });
  return {
    cert: authority.toString("pem"),
    sign: async (request, wallMs) => {
      const certificate = await x509.X509CertificateGenerator.create({
        subject: request.subject,
        issuer: authority.subject,
        publicKey: await request.publicKey.export(),
        signingKey: keys.privateKey,
        signingAlgorithm: P256,
        notBefore: new Date(wallMs),
        notAfter: new Date(wallMs + 90 * DAY_MS),
      });
      return certificate.toString("pem");
    },
  };
}
