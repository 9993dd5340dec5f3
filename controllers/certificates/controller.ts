import type { Clock } from "../../clock.ts";
import { CLUSTER_NODES, CLUSTERS } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import {
  CERTIFICATE_SIGNING_REQUESTS,
  type CertificateSigningRequest,
  CONFIG_MAPS,
  type KubeApi,
  rfc3339,
  SECRETS,
  WatchCache,
  WorkQueue,
} from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { type Authority, newAuthority, readRequest, sign } from "./authority.ts";
import { refusalOf } from "./policy.ts";

export interface CertificatesOptions {
  /** Where the agents' service account is. */
  readonly releaseNamespace: string;
  readonly client: KubeApi;
  readonly clock: Clock;
  readonly log: Logger;
}

const SIGNER = "quorate.dev/agent";
/** Secret and ConfigMap of the authority. */
const CA = "quorate-ca";
const FIELD_MANAGER = "quorate-certificates";
/** Filled in by the API server for a token that is bound to a pod. */
const NODE_CLAIM = "authentication.kubernetes.io/node-name";

type Request = CertificateSigningRequest & { spec: { extra?: Record<string, string[]> } };

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
    reconcile: async (namespace) => {
      if (clusters.list(namespace).length > 0) await ensureAuthority(options, namespace);
    },
  });
  const queue = new WorkQueue({
    name: "certificates",
    clock,
    log,
    reconcile: async (key) => {
      const request = requests.get(key) as Request | undefined;
      if (request !== undefined && isOpen(request)) await answer({ ...options, log }, request);
    },
  });
  try {
    await Promise.race([Promise.all([clusters.start(), requests.start()]), aborted(signal)]);
    await aborted(signal);
  } finally {
    await Promise.all([queue.stop(), authorities.stop(), clusters.stop(), requests.stop()]);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function isOpen({ status }: Request): boolean {
  const isRefused = status?.conditions?.some(({ type }) => type === "Denied" || type === "Failed") ?? false;
  return status?.certificate === undefined && !isRefused;
}

async function answer(options: CertificatesOptions, request: Request): Promise<void> {
  const { client, clock, log, releaseNamespace } = options;
  const { name } = request.metadata;
  const pem = Buffer.from(request.spec.request, "base64").toString("utf8");
  const asked = await readRequest(pem);
  if ("problem" in asked) return deny(options, request, "UnsoundRequest", asked.problem);
  const requester = { username: request.spec.username ?? "", boundNode: request.spec.extra?.[NODE_CLAIM]?.[0] };
  const refusal = refusalOf(asked, requester, releaseNamespace);
  if (refusal !== undefined) return deny(options, request, "NotThisNodesAgent", refusal);
  const { node, namespace } = asked;
  const object = await client.get(CLUSTER_NODES, { namespace, name: node });
  if (object === undefined || object.metadata.deletionTimestamp !== undefined) {
    return deny(options, request, "NoSuchNode", `there is no ClusterNode "${node}" in namespace "${namespace}"`);
  }
  const authority = await ensureAuthority(options, namespace);
  const addresses = (object.status?.links ?? []).flatMap((link) => link.address ?? []);
  const certificate = await sign(authority, pem, asked, addresses, clock.wallMs());
  const approved = await setCondition(
    options,
    request,
    "Approved",
    "AgentOfItsNode",
    `asked for by the agent of ${node}`,
  );
  await client.mergePatch(
    CERTIFICATE_SIGNING_REQUESTS,
    { name },
    {
      metadata: { resourceVersion: approved.metadata.resourceVersion },
      status: { certificate: Buffer.from(certificate).toString("base64") },
    },
    { subresource: "status", fieldManager: FIELD_MANAGER },
  );
  log.info({ request: name, node, namespace }, "certificate signed");
}

async function deny(options: CertificatesOptions, request: Request, reason: string, message: string): Promise<void> {
  const { name } = request.metadata;
  options.log.warn({ request: name, user: request.spec.username, reason }, `certificate denied: ${message}`);
  await setCondition(options, request, "Denied", reason, message);
}

async function setCondition(
  { client, clock }: CertificatesOptions,
  request: Request,
  type: "Approved" | "Denied",
  reason: string,
  message: string,
): Promise<CertificateSigningRequest> {
  // Approved before this process began: only the certificate was missing.
  if (request.status?.conditions?.some((one) => one.type === type)) return request;
  const lastUpdateTime = rfc3339(clock.wallMs());
  const condition = { type, status: "True", reason, message, lastUpdateTime };
  const { name, resourceVersion } = request.metadata;
  return client.mergePatch(
    CERTIFICATE_SIGNING_REQUESTS,
    { name },
    { metadata: { resourceVersion }, status: { conditions: [condition] } },
    { subresource: "approval", fieldManager: FIELD_MANAGER },
  );
}

/** The cluster's authority, made once. Its certificate is published in a ConfigMap; its key stays in a Secret. */
async function ensureAuthority({ client, clock }: CertificatesOptions, namespace: string): Promise<Authority> {
  const key = { namespace, name: CA };
  let secret = await client.get(SECRETS, key);
  if (secret === undefined) {
    const made = await newAuthority(namespace, clock.wallMs());
    const data = { "tls.crt": base64(made.cert), "tls.key": base64(made.key) };
    secret = await client.create(
      SECRETS,
      { metadata: key, type: "kubernetes.io/tls", data },
      { fieldManager: FIELD_MANAGER },
    );
  }
  const cert = text(secret.data?.["tls.crt"]);
  const privateKey = text(secret.data?.["tls.key"]);
  if (cert === undefined || privateKey === undefined) {
    throw new QuorateError(
      "environment",
      "AuthorityBroken",
      `Secret "${CA}" in namespace "${namespace}" holds no tls.crt and tls.key; delete it, and all agents get new certificates`,
    );
  }
  const published = await client.get(CONFIG_MAPS, key);
  if (published?.data?.["ca.crt"] !== cert) {
    await client.apply(
      CONFIG_MAPS,
      { metadata: key, data: { "ca.crt": cert } },
      { fieldManager: FIELD_MANAGER, force: true },
    );
  }
  return { cert, key: privateKey };
}

function base64(value: string): string {
  return Buffer.from(value, "utf8").toString("base64");
}

function text(value: string | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value, "base64").toString("utf8");
}
