/** What is published to the agents of a cluster: a ConfigMap they read, and the key in a Secret. */
import { randomBytes } from "node:crypto";
import { QuorateError } from "../../errors.ts";
import { CONFIG_MAPS, type ConfigMap, type KubeApi, SECRETS } from "../../kube/index.ts";
import { renderCorosync } from "./render.ts";
import type { Published } from "./rollout-types.ts";

/**
 * The ConfigMap `quorate-corosync`. For agents: `corosync.conf`, `version`, `admitted` (JSON: names of the nodes whose corosync
 * may run) and `members` (JSON: name and nodeId of each). For the controller itself: `state`.
 */
export const CONFIG_NAME = "quorate-corosync";
/** The Secret with the key of corosync, under `authkey`. */
export const KEY_NAME = "quorate-corosync-key";
/** As many bytes as corosync-keygen makes. */
const KEY_BYTES = 256;
const FIELD_MANAGER = "quorate-membership";
const LABELS = { "app.kubernetes.io/managed-by": "quorate" };

type Api = Pick<KubeApi, "get" | "create" | "replace">;

/** @throws QuorateError when somebody changed it into what cannot be read: then nothing may be decided. */
export function readPublished(map: ConfigMap | undefined): Published | undefined {
  const state = map?.data?.state;
  if (map === undefined || state === undefined) return undefined;
  try {
    const published = JSON.parse(state) as Published;
    if (
      Number.isSafeInteger(published.version) &&
      Array.isArray(published.admitted) &&
      Array.isArray(published.config.nodes)
    )
      return published;
  } catch {
    // Told below.
  }
  throw new QuorateError(
    "user",
    "ConfigMapBroken",
    `ConfigMap ${map.metadata.namespace}/${CONFIG_NAME}: data.state cannot be read; put back what it was, or delete the ConfigMap to have it made anew from what runs`,
  );
}

/**
 * @param seen the ConfigMap that the decision was made on
 * @throws ConflictError when it is no longer that one: decide anew
 */
export async function publish(
  client: Api,
  namespace: string,
  seen: ConfigMap | undefined,
  published: Published,
): Promise<ConfigMap> {
  const { version, config, admitted } = published;
  const data = {
    "corosync.conf": renderCorosync(config, version),
    version: String(version),
    admitted: JSON.stringify(admitted),
    members: JSON.stringify(config.nodes.map(({ name, nodeId }) => ({ name, nodeId }))),
    state: JSON.stringify(published),
  };
  const options = { fieldManager: FIELD_MANAGER };
  if (seen === undefined)
    return client.create(CONFIG_MAPS, { metadata: { name: CONFIG_NAME, namespace, labels: LABELS }, data }, options);
  return client.replace(
    CONFIG_MAPS,
    { ...seen, metadata: { ...seen.metadata, labels: { ...seen.metadata.labels, ...LABELS } }, data },
    options,
  );
}

/**
 * Makes the key of a new cluster. A key that is gone is not replaced once a configuration was published: nodes that run
 * with the old one would not hear those with the new one.
 * @throws QuorateError `KeyMissing`
 */
export async function ensureKey(client: Api, namespace: string, mayCreate: boolean): Promise<void> {
  const secret = await client.get(SECRETS, { namespace, name: KEY_NAME });
  if (secret?.data?.authkey !== undefined) return;
  if (!mayCreate || secret !== undefined) {
    throw new QuorateError(
      "user",
      "KeyMissing",
      `Secret ${namespace}/${KEY_NAME} with the key "authkey" is gone; restore it from /etc/corosync/authkey of a node: ` +
        `kubectl -n ${namespace} create secret generic ${KEY_NAME} --from-file=authkey`,
    );
  }
  const authkey = randomBytes(KEY_BYTES).toString("base64");
  const metadata = { name: KEY_NAME, namespace, labels: LABELS };
  await client.create(SECRETS, { metadata, type: "Opaque", data: { authkey } }, { fieldManager: FIELD_MANAGER });
}
