import { dump } from "js-yaml";
import type { Clock } from "../clock.ts";
import {
  CLUSTER_NODES,
  CLUSTERS,
  GUESTS,
  HA_GROUPS,
  HA_RESOURCES,
  HA_RULES,
  MIGRATIONS,
  REPLICATION_JOBS,
} from "../crds/index.ts";
import { classify } from "../errors.ts";
import {
  CONFIG_MAPS,
  EVENTS,
  type KubeApi,
  type KubeObject,
  LEASES,
  NODES,
  PODS,
  type Pod,
  type ResourceType,
} from "../kube/index.ts";
import { readCluster } from "./cluster-view.ts";
import { palette } from "./palette.ts";
import { redactObject, redactText } from "./redact.ts";
import { showStatus } from "./show-status.ts";

/** A file of the bundle: its path inside, with slashes, and its text without secrets. */
export interface BundleFile {
  readonly path: string;
  readonly text: string;
}

export interface BundleRequest {
  readonly namespace: string;
  /** Where the release is; undefined: where its pods are found. */
  readonly systemNamespace: string | undefined;
}

type Api = Pick<KubeApi, "get" | "list" | "readText">;

const DEPLOYMENTS: ResourceType = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  plural: "deployments",
  namespaced: true,
};
const DAEMON_SETS: ResourceType = { apiVersion: "apps/v1", kind: "DaemonSet", plural: "daemonsets", namespaced: true };

/** Never Secrets: they are not even asked for. */
const OF_CLUSTER: readonly ResourceType[] = [
  CLUSTERS,
  CLUSTER_NODES,
  GUESTS,
  HA_RESOURCES,
  HA_GROUPS,
  HA_RULES,
  REPLICATION_JOBS,
  MIGRATIONS,
  LEASES,
  EVENTS,
];
const OF_RELEASE: readonly ResourceType[] = [PODS, DEPLOYMENTS, DAEMON_SETS, LEASES, EVENTS];
const LABEL = "app.kubernetes.io/name=quorate";
const LOG_LINES = 10_000;

/**
 * What is needed to find out what happened in a cluster, as files. What cannot be read is said in problems.txt and stops
 * nothing.
 */
export async function collectBundle(client: Api, request: BundleRequest, clock: Clock): Promise<BundleFile[]> {
  const { namespace } = request;
  const problems: string[] = [];
  const attempt = async <T>(what: string, read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      problems.push(`${what}: ${classify(error).message}`);
      return undefined;
    }
  };
  const files: (BundleFile | undefined)[] = [];
  files.push(await attempt("version", async () => ({ path: "version.json", text: await client.readText("/version") })));
  files.push(await attempt("status", () => statusFile(client, namespace, clock)));
  for (const type of OF_CLUSTER) {
    files.push(await attempt(type.plural, () => objectsFile(client, type, namespace, `cluster/${type.plural}.yaml`)));
  }
  files.push(await attempt("configmap", () => configFile(client, namespace)));
  files.push(await attempt("nodes", () => objectsFile(client, NODES, undefined, "kubernetes-nodes.yaml")));
  const pods = (await attempt("pods", () => findPods(client, request.systemNamespace))) ?? [];
  const releases = new Set([
    ...pods.map(({ metadata }) => metadata.namespace ?? ""),
    ...(request.systemNamespace === undefined ? [] : [request.systemNamespace]),
  ]);
  for (const release of releases) {
    for (const type of OF_RELEASE) {
      const path = `release/${release}/${type.plural}.yaml`;
      files.push(await attempt(`${release}/${type.plural}`, () => objectsFile(client, type, release, path)));
    }
  }
  for (const pod of pods) {
    for (const log of logsOf(pod)) files.push(await attempt(log.what, () => logFile(client, pod, log)));
  }
  if (pods.length === 0) problems.push("no pods of Quorate were found: logs of systemd units are on their hosts only");
  const found = files.filter((file) => file !== undefined);
  return [
    { path: "README.txt", text: readme(request, new Date(clock.wallMs()).toISOString()) },
    { path: "problems.txt", text: problems.length === 0 ? "none\n" : `${redactText(problems.join("\n"))}\n` },
    ...found,
  ];
}

async function statusFile(client: Api, namespace: string, clock: Clock): Promise<BundleFile> {
  const view = await readCluster(client, namespace, clock.wallMs());
  return { path: "status.txt", text: redactText(showStatus(view, { colours: palette(false) })) };
}

async function objectsFile(
  client: Api,
  type: ResourceType,
  namespace: string | undefined,
  path: string,
): Promise<BundleFile> {
  const { items } = await client.list<KubeObject>(type, namespace === undefined ? {} : { namespace });
  return { path, text: yamlOf(items) };
}

function yamlOf(items: readonly KubeObject[]): string {
  return items
    .map((item) => `---\n${dump(redactObject(item), { lineWidth: 140, noRefs: true, sortKeys: false })}`)
    .join("");
}

/** The published corosync.conf. Its key is a Secret and stays where it is. */
async function configFile(client: Api, namespace: string): Promise<BundleFile> {
  const config = await client.get(CONFIG_MAPS, { namespace, name: "quorate-corosync" });
  return { path: "cluster/configmap-quorate-corosync.yaml", text: yamlOf(config === undefined ? [] : [config]) };
}

async function findPods(client: Api, namespace: string | undefined): Promise<Pod[]> {
  return (await client.list(PODS, { namespace, labelSelector: LABEL })).items;
}

interface LogSource {
  readonly what: string;
  readonly container: string;
  readonly previous: boolean;
}

function logsOf({ metadata, status }: Pod): LogSource[] {
  return (status?.containerStatuses ?? []).flatMap(({ name, restartCount }) => {
    const what = `${metadata.namespace}/${metadata.name}/${name}`;
    const current = { what, container: name, previous: false };
    return restartCount > 0
      ? [current, { what: `${what}, the run before`, container: name, previous: true }]
      : [current];
  });
}

async function logFile(client: Api, { metadata }: Pod, source: LogSource): Promise<BundleFile> {
  const { namespace = "", name } = metadata;
  const query = new URLSearchParams({
    container: source.container,
    tailLines: String(LOG_LINES),
    timestamps: "true",
    ...(source.previous ? { previous: "true" } : {}),
  });
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}/log?${query}`;
  const text = await client.readText(path, { timeoutMs: 60_000 });
  const file = `${source.container}${source.previous ? ".previous" : ""}.log`;
  return { path: `logs/${namespace}/${name}/${file}`, text: redactText(text) };
}

function readme({ namespace }: BundleRequest, when: string): string {
  return `Support bundle of the Quorate cluster in namespace ${namespace}, made ${when} by kubectl-quorate.

status.txt         what "kubectl quorate status" said
problems.txt       what could not be read
cluster/           the objects of the namespace, its Leases and events, and the published corosync.conf
release/           pods, Deployment, DaemonSet, Leases and events of the release
logs/              the last ${LOG_LINES} lines of each container, and of its run before where there was one
kubernetes-nodes.yaml, version.json

Secrets were not read. Values and annotations whose names suggest a secret, private keys and tokens were replaced by
REMOVED or left out. Names and addresses of hosts and guests are in here: look before you pass it on.
`;
}
