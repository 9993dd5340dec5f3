import { ConflictError, NotFoundError, UnreachableError } from "./api-errors.ts";
import type { KubeApi } from "./client.ts";
import type { Lease } from "./core-types.ts";
import type { ManualClock } from "./manual-clock.ts";
import { formatKey, type KubeObject, type ObjectKey } from "./resource.ts";
import type { WatchEvent } from "./watch-stream.ts";

type LeaseApi = Pick<KubeApi, "get" | "create" | "replace" | "list" | "watch" | "readText">;

/** How one client's connection to the server behaves. */
export interface Link {
  /** Requests fail, and open watches are silent. */
  cut: boolean;
  /** Requests are carried out and their answers are lost. */
  answersLost: boolean;
  /** Of each request and event. */
  delayMs: number;
}

/**
 * An API server for Leases in virtual time, for tests of what must hold under faults that a real one cannot be made to
 * show on command. It checks resourceVersions as the real one does; no more than that is relied on.
 */
export class LeaseServer {
  readonly #clock: ManualClock;
  readonly #leases = new Map<string, Lease>();
  readonly #watchers = new Set<(event: WatchEvent<Lease>) => void>();
  #revision = 0;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  get(key: string): Lease | undefined {
    return this.#leases.get(key);
  }

  delete(key: string): void {
    const lease = this.#leases.get(key);
    if (lease === undefined) return;
    this.#leases.delete(key);
    this.#tell({ type: "DELETED", object: this.#stamped(lease) });
  }

  client(link: Link): LeaseApi {
    const request = async <T>(
      timeoutMs: number | undefined,
      signal: AbortSignal | undefined,
      work: () => T,
    ): Promise<T> => {
      const lost = () => new UnreachableError("transient", "ApiServerTimeout", 0, "no answer");
      if (link.cut) {
        await this.#clock.sleep(timeoutMs ?? 10_000, signal);
        throw lost();
      }
      await this.#clock.sleep(link.delayMs / 2, signal);
      const answer = work();
      if (link.answersLost || link.cut) {
        await this.#clock.sleep((timeoutMs ?? 10_000) - link.delayMs / 2, signal);
        throw lost();
      }
      await this.#clock.sleep(link.delayMs / 2, signal);
      return answer;
    };
    // The interface is generic over kinds; there are only Leases here.
    const leases = {
      get: (_: unknown, key: ObjectKey, o: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
        request(o.timeoutMs, o.signal, () => this.#leases.get(formatKey(key))),
      create: (_: unknown, object: KubeObject, o: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
        request(o.timeoutMs, o.signal, () => this.#create(object)),
      replace: (_: unknown, object: KubeObject, o: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
        request(o.timeoutMs, o.signal, () => this.#replace(object)),
      list: (_: unknown, o: { signal?: AbortSignal } = {}) =>
        request(30_000, o.signal, () => ({
          items: [...this.#leases.values()].map((l) => structuredClone(l)),
          resourceVersion: String(this.#revision),
        })),
      watch: (
        _: unknown,
        o: { signal?: AbortSignal; onBytes?: () => void; timeoutSeconds: number; resourceVersion: string },
      ) => this.#watch(link, o),
      readText: (_: string, o: { timeoutMs?: number; signal?: AbortSignal } = {}) =>
        request(o.timeoutMs, o.signal, () => "{}"),
    };
    return leases as unknown as LeaseApi;
  }

  #create(object: KubeObject): Lease {
    const key = formatKey(object.metadata);
    if (this.#leases.has(key)) throw new ConflictError("transient", "AlreadyExists", `${key} exists`, []);
    return this.#put(key, object, "ADDED");
  }

  #replace(object: KubeObject): Lease {
    const key = formatKey(object.metadata);
    const known = this.#leases.get(key);
    if (known === undefined) throw new NotFoundError("transient", "NotFound", 404, `${key} not found`);
    if (known.metadata.resourceVersion !== object.metadata.resourceVersion) {
      throw new ConflictError("transient", "Conflict", `${key} is another`, []);
    }
    return this.#put(key, object, "MODIFIED");
  }

  #put(key: string, object: KubeObject, type: "ADDED" | "MODIFIED"): Lease {
    const lease = this.#stamped(object as Lease);
    this.#leases.set(key, lease);
    this.#tell({ type, object: lease });
    return structuredClone(lease);
  }

  #stamped(lease: Lease): Lease {
    this.#revision += 1;
    return structuredClone({ ...lease, metadata: { ...lease.metadata, resourceVersion: String(this.#revision) } });
  }

  #tell(event: WatchEvent<Lease>): void {
    for (const watcher of this.#watchers) watcher(event);
  }

  async *#watch(
    link: Link,
    options: { signal?: AbortSignal; onBytes?: () => void; timeoutSeconds: number; resourceVersion: string },
  ): AsyncGenerator<WatchEvent<Lease>> {
    if (link.cut) throw new UnreachableError("transient", "ApiServerUnreachable", 0, "refused");
    const endMs = this.#clock.elapsedMs() + options.timeoutSeconds * 1000;
    const missed = [...this.#leases.values()].filter(
      (l) => Number(l.metadata.resourceVersion) > Number(options.resourceVersion),
    );
    const queue: WatchEvent<Lease>[] = missed.map((object) => ({ type: "MODIFIED", object: structuredClone(object) }));
    let arrived = Promise.withResolvers<void>();
    const watcher = (event: WatchEvent<Lease>) => {
      queue.push(structuredClone(event));
      arrived.resolve();
    };
    this.#watchers.add(watcher);
    try {
      options.onBytes?.();
      while (this.#clock.elapsedMs() < endMs) {
        options.signal?.throwIfAborted();
        const event = link.cut ? undefined : queue.shift();
        if (event === undefined) {
          arrived = Promise.withResolvers();
          const tick = new AbortController();
          const onAbort = () => arrived.resolve();
          options.signal?.addEventListener("abort", onAbort, { once: true });
          await Promise.race([arrived.promise, this.#clock.sleep(500, tick.signal).catch(() => {})]);
          options.signal?.removeEventListener("abort", onAbort);
          tick.abort();
          continue;
        }
        await this.#clock.sleep(link.delayMs / 2, options.signal);
        options.onBytes?.();
        yield event;
      }
    } finally {
      this.#watchers.delete(watcher);
    }
  }
}
