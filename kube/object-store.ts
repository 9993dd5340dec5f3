import { type KubeObject, keyOf } from "./resource.ts";

export interface StoredObject<T> {
  readonly object: T;
  /** When this resourceVersion was first seen here. */
  readonly changedAtMs: number;
}

/** Objects by key, and by namespace. Frozen, because everyone reads the same ones, and without managedFields. */
export class ObjectStore<T extends KubeObject> {
  /** namespace ("" when the kind has none) -> key -> object */
  readonly #spaces = new Map<string, Map<string, StoredObject<T>>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): StoredObject<T> | undefined {
    return this.#spaces.get(spaceOf(key))?.get(key);
  }

  /** A copy: it may be iterated while objects come and go. */
  keys(): string[] {
    return [...this.#spaces.values()].flatMap((space) => [...space.keys()]);
  }

  list(namespace?: string): T[] {
    const none = new Map<string, StoredObject<T>>();
    const spaces = namespace === undefined ? [...this.#spaces.values()] : [this.#spaces.get(namespace) ?? none];
    return spaces.flatMap((space) => [...space.values()].map((stored) => stored.object));
  }

  /** False when it is the one that is here already. */
  put(object: T, nowMs: number): boolean {
    const key = keyOf(object);
    const known = this.get(key);
    if (known !== undefined && known.object.metadata.resourceVersion === object.metadata.resourceVersion) return false;
    if ("managedFields" in object.metadata) delete object.metadata.managedFields;
    const space = this.#spaces.get(spaceOf(key)) ?? new Map<string, StoredObject<T>>();
    this.#spaces.set(spaceOf(key), space);
    space.set(key, { object: deepFreeze(object), changedAtMs: nowMs });
    if (known === undefined) this.#size += 1;
    return true;
  }

  /** False when it was not here. */
  remove(key: string): boolean {
    const space = this.#spaces.get(spaceOf(key));
    if (space?.delete(key) !== true) return false;
    this.#size -= 1;
    if (space.size === 0) this.#spaces.delete(spaceOf(key));
    return true;
  }
}

function spaceOf(key: string): string {
  const slash = key.indexOf("/");
  return slash < 0 ? "" : key.slice(0, slash);
}

function deepFreeze<V>(value: V): V {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
