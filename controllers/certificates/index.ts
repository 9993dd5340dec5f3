import type { Clock } from "../../clock.ts";
import { CLUSTER_NODES, CLUSTERS } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import {
  CERTIFICATE_SIGNING_REQUESTS,
  type CertificateSigningRequest,
  CONFIG_MAPS,
  type KubeClient,
  SECRETS,
  WatchCache,
  WorkQueue,
} from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { type Asked, type Authority, newAuthority, readRequest, sign } from "./authority.ts";

export interface CertificatesOptions {
  /** Where the agents' service account is. */
  readonly releaseNamespace: string;
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Logger;
}

const SIGNER = "quorate.dev/agent";
const SECRET = "quorate-ca";
const CONFIG_MAP = "quorate-ca";
const FIELD_MANAGER = "quorate-certificates";
const NODE_CLAIM = "authentication.kubernetes.io/node-name";

/** What the API server says of who made a request; it fills these in itself. */
type Signed = CertificateSigningRequest & { spec: { extra?: Record<string, string[]> } };

/**
 * The certificate authority of every cluster, and the signer of its agents' certificates. A request is signed when the
 * credentials it was made with belong to the very node it names, and that node is of the cluster; any other is denied with
 * the reason. Runs until the signal aborts.
 */
export async function runCertificates(options: CertificatesOptions, signal: AbortSignal): Promise<void> {
  const { client, clock } = options;
  const log = options.log.child({ controller: "certificates" });
  const clusters = new WatchCache({
    client,
    type: CLUSTERS,
    name: "certificates-clusters",
    clock,
    log,
    onChange: (key) => authorities.add(key.split("/")[0] ?? ""),
  });
  const requests = new WatchCache({
    client,
    type: CERTIFICATE_SIGNING_REQUESTS,
    fieldSelector: `spec.signerName=${SIGNER}`,
    name: "certificates-requests",
    clock,
    log,
    onChange: (key) => queue.add(key),
  });
  const authorities = new WorkQueue({
    name: "certificate-authorities",
    clock,
    log,
    reconcile: async (namespace) => void (await ensureAuthority(options, namespace)),
  });
  const queue = new WorkQueue({
    name: "certificates",
    clock,
    log,
    reconcile: async (key) => {
      const request = requests.get(key) as Signed | undefined;
      if (request === undefined || request.status?.certificate !== undefined) return;
      if (request.status?.conditions?.some((each) => each.type === "Denied" || each.type === "Failed") === true) return;
      await decide(options, log, request);
    },
  });
  await Promise.all([clusters.start(), requests.start()]);
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await Promise.all([clusters.stop(), requests.stop(), authorities.stop(), queue.stop()]);
}

async function decide(options: CertificatesOptions, log: Logger, request: Signed): Promise<void> {
  const { client, clock } = options;
  const pem = Buffer.from(request.spec.request, "base64").toString("utf8");
  const asked = await readRequest(pem);
  const refusal =
    asked === undefined
      ? "the request is no sound PKCS #10 request with one CN (the node) and one O (quorate:<namespace>)"
      : await refuse(options, request, asked);
  const now = new Date(clock.wallMs()).toISOString().replace(/\.\d+Z$/, "Z");
  if (asked === undefined || refusal !== undefined) {
    log.warn({ request: request.metadata.name, user: request.spec.username }, `certificate denied: ${refusal}`);
    await setCondition(client, request, {
      type: "Denied",
      status: "True",
      reason: "NotThisNodesAgent",
      message: refusal ?? "",
      lastUpdateTime: now,
    });
    return;
  }
  const authority = await ensureAuthority(options, asked.namespace);
  const node = await client.get(CLUSTER_NODES, { namespace: asked.namespace, name: asked.node });
  const addresses = (node?.status?.links ?? []).flatMap((link) => link.address ?? []);
  const certificate = await sign(authority, pem, asked, addresses, clock.wallMs());
  const approved = await setCondition(client, request, {
    type: "Approved",
    status: "True",
    reason: "AgentOfItsNode",
    message: `asked for by the agent of ${asked.node}`,
    lastUpdateTime: now,
  });
  await client.mergePatch(
    CERTIFICATE_SIGNING_REQUESTS,
    { name: request.metadata.name },
    {
      metadata: { resourceVersion: approved.metadata.resourceVersion },
      status: { certificate: Buffer.from(certificate).toString("base64") },
    },
    { subresource: "status", fieldManager: FIELD_MANAGER },
  );
  log.info({ request: request.metadata.name, node: asked.node, namespace: asked.namespace }, "certificate signed");
}

/** Why the credentials that made the request are not those of the node's agent; undefined: they are. */
async function refuse(
  { client, releaseNamespace }: CertificatesOptions,
  request: Signed,
  asked: Asked,
): Promise<string | undefined> {
  const { username, extra } = request.spec;
  const bound = extra?.[NODE_CLAIM]?.[0];
  const isPod = username === `system:serviceaccount:${releaseNamespace}:quorate-agent` && bound === asked.node;
  const isUnit = username === `quorate:agent:${asked.namespace}:${asked.node}`;
  if (!isPod && !isUnit)
    return `user "${username ?? ""}"${bound === undefined ? "" : ` on node "${bound}"`} is not the agent of node "${asked.node}"`;
  const node = await client.get(CLUSTER_NODES, { namespace: asked.namespace, name: asked.node });
  return node === undefined ? `there is no ClusterNode "${asked.node}" in namespace "${asked.namespace}"` : undefined;
}

async function setCondition(
  client: KubeClient,
  request: CertificateSigningRequest,
  condition: Record<string, string>,
): Promise<CertificateSigningRequest> {
  return client.mergePatch(
    CERTIFICATE_SIGNING_REQUESTS,
    { name: request.metadata.name },
    { metadata: { resourceVersion: request.metadata.resourceVersion }, status: { conditions: [condition] } },
    { subresource: "approval", fieldManager: FIELD_MANAGER },
  );
}

/** The cluster's authority, made once. Its certificate is published in a ConfigMap; its key stays in a Secret. */
async function ensureAuthority({ client, clock }: CertificatesOptions, namespace: string): Promise<Authority> {
  const key = { namespace, name: SECRET };
  let secret = await client.get(SECRETS, key);
  if (secret === undefined) {
    const made = await newAuthority(namespace, clock.wallMs());
    secret = await client.create(
      SECRETS,
      { metadata: key, type: "kubernetes.io/tls", data: { "tls.crt": base64(made.cert), "tls.key": base64(made.key) } },
      { fieldManager: FIELD_MANAGER },
    );
  }
  const cert = text(secret.data?.["tls.crt"]);
  const privateKey = text(secret.data?.["tls.key"]);
  if (cert === undefined || privateKey === undefined) {
    throw new QuorateError(
      "environment",
      "AuthorityBroken",
      `Secret "${SECRET}" in namespace "${namespace}" holds no tls.crt and tls.key; delete it, and all agents get new certificates`,
    );
  }
  await client.apply(
    CONFIG_MAPS,
    { metadata: { namespace, name: CONFIG_MAP }, data: { "ca.crt": cert } },
    { fieldManager: FIELD_MANAGER, force: true },
  );
  return { cert, key: privateKey };
}

function base64(value: string): string {
  return Buffer.from(value, "utf8").toString("base64");
}

function text(value: string | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value, "base64").toString("utf8");
}
