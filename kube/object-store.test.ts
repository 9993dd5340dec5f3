import assert from "node:assert/strict";
import { test } from "node:test";
import type { ConfigMap } from "./core-types.ts";
import { ObjectStore } from "./object-store.ts";

function configMap(namespace: string, name: string, resourceVersion: number): ConfigMap {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace, resourceVersion: `${resourceVersion}` } };
}

test("a list of a namespace is made when something changes there, and one that was given out stays as it was", () => {
  const store = new ObjectStore<ConfigMap>();
  const names = (list: readonly ConfigMap[]) =>
    list.map(({ metadata }) => `${metadata.name}${metadata.resourceVersion}`);
  store.put(configMap("a", "x", 1), 0);
  store.put(configMap("b", "y", 2), 0);
  const first = store.list("a");
  store.put(configMap("b", "y", 3), 0);
  assert.equal(store.list("a"), first);
  store.put(configMap("a", "x", 4), 0);
  store.put(configMap("a", "z", 5), 0);
  assert.deepEqual(names(first), ["x1"]);
  assert.deepEqual(names(store.list("a")), ["x4", "z5"]);
  store.remove("a/x");
  assert.deepEqual(names(store.list("a")), ["z5"]);
  store.remove("a/z");
  assert.deepEqual(store.list("a"), []);
  assert.deepEqual(names(store.list()), ["y3"]);
  assert.throws(() => (store.list("b") as ConfigMap[]).pop(), TypeError);
});
