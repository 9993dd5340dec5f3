import assert from "node:assert/strict";
import { webcrypto, X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, it } from "node:test";
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { agentClient, controllersClient } from "../../charts/quorate/testing.ts";
import { systemClock } from "../../clock.ts";
import { CLUSTER_NODES } from "../../crds/index.ts";
import { type ControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import {
  CERTIFICATE_SIGNING_REQUESTS,
  type CertificateSigningRequest,
  CONFIG_MAPS,
  KubeClient,
  SECRETS,
} from "../../kube/index.ts";
import { processLog } from "../../log.ts";
import { applyAll, eventually, must, startApi } from "../membership/testing.ts";
import { runCertificates } from "./index.ts";

const skip = whyNoControlPlane() ?? false;
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const RELEASE = "quorate-system";

describe("the certificates controller", { skip }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  const stop = new AbortController();
  let running: Promise<void>;

  /** A request for the identity of a node, made with these credentials. */
  const ask = async (as: KubeClient, node: string, namespace = "lab"): Promise<string> => {
    const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
    const name = [{ CN: [node] }, { O: [`quorate:${namespace}`] }];
    const pem = (await x509.Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm: P256 })).toString(
      "pem",
    );
    return create(as, pem);
  };
  const create = async (as: KubeClient, pem: string): Promise<string> => {
    const name = `test-${Math.random().toString(36).slice(2)}`;
    const request = Buffer.from(pem).toString("base64");
    await as.create(CERTIFICATE_SIGNING_REQUESTS, {
      metadata: { name },
      spec: { request, signerName: "quorate.dev/agent", usages: ["digital signature", "client auth", "server auth"] },
    });
    return name;
  };
  const answered = (name: string) =>
    eventually(
      `answer to ${name}`,
      async (): Promise<CertificateSigningRequest> => {
        const request = await client.get(CERTIFICATE_SIGNING_REQUESTS, { name });
        assert.ok(request);
        return request;
      },
      ({ status }) =>
        assert.ok(
          status?.certificate ?? status?.conditions?.some(({ type }) => type === "Denied"),
          JSON.stringify(status),
        ),
    );
  const denial = async (name: string) => {
    const { status } = await answered(name);
    assert.equal(status?.certificate, undefined);
    const condition = status?.conditions?.find(({ type }) => type === "Denied");
    return `${condition?.reason}: ${condition?.message}`;
  };
  /** As a pod of the agent on a node: its token says which. */
  const podClient = async (node: string) => {
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `agent-${node}`, namespace: RELEASE },
      spec: { nodeName: node, serviceAccountName: "quorate-agent", containers: [{ name: "agent", image: "none" }] },
    };
    const host = { apiVersion: "v1", kind: "Node", metadata: { name: node } };
    await controlPlane.kubectl(["apply", "-f", "-"], {
      input: JSON.stringify({ apiVersion: "v1", kind: "List", items: [host, pod] }),
    });
    const { stdout } = await controlPlane.kubectl([
      "create",
      "token",
      "quorate-agent",
      "-n",
      RELEASE,
      "--bound-object-kind",
      "Pod",
      "--bound-object-name",
      `agent-${node}`,
    ]);
    const kubeconfig = readFileSync(controlPlane.kubeconfig, "utf8")
      .replace(/client-certificate(-data)?:.*\n/, `token: ${stdout.trim()}\n`)
      .replace(/ *client-key(-data)?:.*\n/, "");
    const path = `${controlPlane.kubeconfig}.${node}`;
    writeFileSync(path, kubeconfig, { mode: 0o600 });
    return KubeClient.fromKubeconfig(path);
  };

  before(async () => {
    controlPlane = await startApi();
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
    for (const namespace of ["lab", "other", RELEASE]) await controlPlane.kubectl(["create", "namespace", namespace]);
    await controlPlane.kubectl(["create", "serviceaccount", "quorate-agent", "-n", RELEASE]);
    const log = processLog("certificates-test");
    const controllers = await controllersClient(controlPlane);
    running = runCertificates({ client: controllers, clock: systemClock, log, releaseNamespace: RELEASE }, stop.signal);
    const node = (name: string) => ({ kind: "ClusterNode", metadata: { name }, spec: {} });
    await applyAll(controlPlane, "lab", [
      { kind: "Cluster", metadata: { name: "lab" }, spec: { links: [{ network: "10.6.0.0/24" }] } },
      node("n1"),
      node("n2"),
    ]);
    await client.applyStatus(
      CLUSTER_NODES,
      { metadata: { namespace: "lab", name: "n1" }, status: { links: [{ number: 0, address: "10.6.0.1" }] } },
      { fieldManager: "quorate-membership" },
    );
  });
  after(async () => {
    stop.abort();
    await running;
    await controlPlane?.stop();
  });

  it("makes an authority for a cluster once: the certificate for all, the key in a Secret", async () => {
    const map = await eventually(
      "the authority",
      () => client.get(CONFIG_MAPS, { namespace: "lab", name: "quorate-ca" }),
      (found) => assert.ok(found),
    );
    const certificate = new X509Certificate(map?.data?.["ca.crt"] ?? "");
    assert.ok(certificate.ca);
    assert.deepEqual(Object.keys(map?.data ?? {}), ["ca.crt"]);
    const secret = await must(client, SECRETS, "lab", "quorate-ca");
    assert.equal(Buffer.from(secret.data?.["tls.crt"] ?? "", "base64").toString(), map?.data?.["ca.crt"]);
    assert.equal(
      await client.get(SECRETS, { namespace: "other", name: "quorate-ca" }),
      undefined,
      "no cluster, no authority",
    );
  });

  it("signs for the agent's pod on the node that it names", async () => {
    const { status } = await answered(await ask(await podClient("n1"), "n1"));
    const issued = new X509Certificate(Buffer.from(status?.certificate ?? "", "base64"));
    const map = await must(client, CONFIG_MAPS, "lab", "quorate-ca");
    assert.ok(issued.verify(new X509Certificate(map.data?.["ca.crt"] ?? "").publicKey));
    assert.match(issued.subject, /CN=n1\nO=quorate:lab/);
    assert.equal(issued.checkIP("10.6.0.1"), "10.6.0.1");
    assert.deepEqual(
      status?.conditions?.map(({ type, reason }) => `${type} ${reason}`),
      ["Approved AgentOfItsNode"],
    );
  });

  it("signs for the agent's unit of the node that it names", async () => {
    const { status } = await answered(await ask(await agentClient(controlPlane, "lab", "n2"), "n2"));
    assert.ok(status?.certificate);
  });

  it("denies the identity of another node, with the reason", async () => {
    assert.match(
      await denial(await ask(await podClient("n1"), "n2")),
      /NotThisNodesAgent: a pod on node "n1" may not have the identity of node "n2"/,
    );
    assert.match(
      await denial(await ask(await agentClient(controlPlane, "lab", "n1"), "n2")),
      /NotThisNodesAgent: user "quorate:agent:lab:n1" is not the agent of node "n2"/,
    );
    assert.match(await denial(await ask(client, "n1")), /NotThisNodesAgent/);
  });

  it("denies a node that is not of the cluster", async () => {
    assert.match(
      await denial(await ask(await podClient("n3"), "n3")),
      /NoSuchNode: there is no ClusterNode "n3" in namespace "lab"/,
    );
    assert.match(
      await denial(await ask(await agentClient(controlPlane, "other", "n1"), "n1", "other")),
      /NoSuchNode: .*"other"/,
    );
  });

  it("denies what is no request of an agent", async () => {
    const keys = await webcrypto.subtle.generateKey(P256, true, ["sign", "verify"]);
    const pem = (
      await x509.Pkcs10CertificateRequestGenerator.create({ name: "CN=n1", keys, signingAlgorithm: P256 })
    ).toString("pem");
    assert.match(
      await denial(await create(await podClient("n1"), pem)),
      /UnsoundRequest: the subject needs exactly one O/,
    );
  });
});
