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
  /** Lists of namespaces since their last change: they are asked for far more often than they change. */
  readonly #lists = new Map<string, readonly T[]>();
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

  /** What is there now; what comes later is in another list. */
  list(namespace?: string): readonly T[] {
    if (namespace === undefined) return [...this.#spaces.keys()].flatMap((space) => this.list(space));
    const known = this.#lists.get(namespace);
    if (known !== undefined) return known;
    const space = this.#spaces.get(namespace);
    if (space === undefined) return [];
    const list = Object.freeze(Array.from(space.values(), (stored) => stored.object));
    this.#lists.set(namespace, list);
    return list;
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
    this.#lists.delete(spaceOf(key));
    if (known === undefined) this.#size += 1;
    return true;
  }

  /** False when it was not here. */
  remove(key: string): boolean {
    const space = this.#spaces.get(spaceOf(key));
    if (space?.delete(key) !== true) return false;
    this.#lists.delete(spaceOf(key));
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
