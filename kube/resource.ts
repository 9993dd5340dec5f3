/**
 * What every Kubernetes object has, and how a kind is addressed.
 */
export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  name: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** A kind of object and where the API server serves it. `phantom` carries the TypeScript type only; it is never set. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  readonly apiVersion: string;
  readonly kind: string;
  /** As in the URL: `leases`. */
  readonly plural: string;
  readonly namespaced: boolean;
  readonly phantom?: T;
}

/** Names one object of a known kind. `namespace` is absent for kinds that are not namespaced. */
export interface ObjectKey {
  namespace?: string;
  name: string;
}

/** The work-queue key of an object: `namespace/name`, or `name` for kinds that are not namespaced. */
export function keyOf(object: { metadata: { namespace?: string; name: string } }): string {
  return formatKey(object.metadata);
}

export function formatKey(key: ObjectKey): string {
  return key.namespace === undefined ? key.name : `${key.namespace}/${key.name}`;
}

/** The inverse of `keyOf`. Names of objects never contain a slash. */
export function parseKey(key: string): ObjectKey {
  const slash = key.indexOf("/");
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

type DeepPartial<V> = V extends (infer Item)[]
  ? DeepPartial<Item>[]
  : V extends object
    ? { [K in keyof V]?: DeepPartial<V[K]> }
    : V;

type MetaApply = Pick<
  ObjectMeta,
  "name" | "namespace" | "uid" | "resourceVersion" | "labels" | "annotations" | "finalizers" | "ownerReferences"
>;

/**
 * The part of an object that one field manager owns, for server-side apply. Whatever the manager applied before and
 * leaves out now is removed from the object (unless another manager owns it too).
 */
export type Applied<T extends KubeObject> = { metadata: MetaApply } & {
  [K in Exclude<keyof T, "apiVersion" | "kind" | "metadata">]?: DeepPartial<T[K]>;
};

/** An object to create or to replace: the client fills in apiVersion and kind. */
export type Written<T extends KubeObject> = Omit<T, "apiVersion" | "kind"> & Partial<Pick<T, "apiVersion" | "kind">>;
