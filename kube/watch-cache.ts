import { type Clock, systemClock } from "../clock.ts";
import { classify, QuorateError } from "../errors.ts";
import { type Logger, processLog } from "../log.ts";
import { ApiError, GoneError } from "./api-errors.ts";
import { backoffMs, jittered } from "./backoff.ts";
import type { KubeApi } from "./client.ts";
import { counter, gauge } from "./metrics.ts";
import { ObjectStore } from "./object-store.ts";
import { type KubeObject, keyOf, type ResourceType } from "./resource.ts";
import type { WatchEvent } from "./watch-stream.ts";

export interface WatchCacheOptions<T extends KubeObject> {
  client: Pick<KubeApi, "list" | "watch" | "readText">;
  type: ResourceType<T>;
  /** All namespaces when absent. */
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  /**
   * An object appeared, changed or went. Called with its key only, in order, and never after `stop()`; it should do no
   * more than put the key into a queue. What it throws is logged and changes nothing for the cache.
   */
  onChange?: (key: string) => void;
  /** In metrics and logs; default: the plural of the kind. */
  name?: string;
  clock?: Clock;
  log?: Logger;
  /** In [0, 1). */
  random?: () => number;
  /** List anew after this long, less up to a tenth; 10 min. */
  relistMs?: number;
  /** The server ends a watch after at most this long, so no stream is trusted for longer; 30 s. */
  watchSeconds?: number;
  /** Silent for this long: ask the server whether it is there; 10 s. */
  probeAfterMs?: number;
  /** How long the server may take to answer that; 5 s. */
  probeTimeoutMs?: number;
}

const started = counter("quorate_watch_started_total", "Watches opened.", ["cache"]);
const relisted = counter("quorate_watch_relisted_total", "Full lists fetched by a watch cache.", ["cache"]);
const failed = counter("quorate_watch_error_total", "Lists and watches that failed.", ["cache", "reason"]);
const gone = counter("quorate_watch_gone_total", "Watches whose resourceVersion the server no longer knew.", ["cache"]);
const received = counter("quorate_watch_events_total", "Watch events received.", ["cache", "type"]);
const running = new Map<string, Set<WatchCache<never>>>();
gauge("quorate_watch_last_seen_seconds", "Age of the last sign of life of the oldest stream.", ["cache"], (g) => {
  g.reset();
  for (const [cache, all] of running) g.set({ cache }, Math.max(...[...all].map((one) => one.lastSeenAgeMs())) / 1000);
});
gauge("quorate_watch_objects", "Objects held.", ["cache"], (g) => {
  g.reset();
  for (const [cache, all] of running)
    g.set(
      { cache },
      [...all].reduce((sum, one) => sum + one.size, 0),
    );
});

const RECONNECT = { baseMs: 100, maxMs: 5_000 };
const WORKED_MS = 1_000;

/**
 * A local copy of all objects of a kind, kept fresh by list and watch. Objects are frozen and come without
 * managedFields. After a lost connection it resumes where it was; it lists anew when the server has forgotten that place,
 * and every few minutes in any case.
 */
export class WatchCache<T extends KubeObject> {
  readonly name: string;
  readonly #options: WatchCacheOptions<T>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #stopping = new AbortController();
  readonly #synced = Promise.withResolvers<void>();
  readonly #objects = new ObjectStore<T>();
  #loop: Promise<void> | undefined;
  #resourceVersion: string | undefined;
  #relistAtMs = 0;
  #lastSeenMs: number;
  /** When the server accepted the present watch. */
  #openedMs: number | undefined;
  #isSynced = false;

  constructor(options: WatchCacheOptions<T>) {
    this.name = options.name ?? options.type.plural;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? processLog("kube")).child({ cache: this.name });
    this.#random = options.random ?? Math.random;
    this.#lastSeenMs = this.#clock.elapsedMs();
    this.#synced.promise.catch(() => {});
  }

  /**
   * Resolves when the first list is in; it tries until then, however long the server is away.
   * Rejects (reason CacheStopped) when it is stopped before.
   */
  start(): Promise<void> {
    if (this.#loop === undefined && !this.#stopping.signal.aborted) {
      const peers = running.get(this.name) ?? new Set();
      running.set(this.name, peers.add(this as unknown as WatchCache<never>));
      this.#loop = this.#run();
    }
    return this.#synced.promise;
  }

  /** From this call on no handler runs. Resolves when the connection is closed. */
  async stop(): Promise<void> {
    this.#stopping.abort(new QuorateError("transient", "CacheStopped", `the cache of ${this.name} was stopped`));
    this.#synced.reject(this.#stopping.signal.reason);
    const peers = running.get(this.name);
    peers?.delete(this as unknown as WatchCache<never>);
    if (peers?.size === 0) running.delete(this.name);
    await this.#loop;
  }

  get synced(): boolean {
    return this.#isSynced;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** @param key `namespace/name` */
  get(key: string): T | undefined {
    return this.#objects.get(key)?.object;
  }

  /** A new list at every change; one that was given out stays as it was. */
  list(namespace?: string): readonly T[] {
    return this.#objects.list(namespace);
  }

  /**
   * When this cache first saw the object as it is now, on the Clock's `elapsedMs`. The time of another's clock does not
   * enter, so it is what "the Lease has not changed for …" is measured with.
   */
  changedAtMs(key: string): number | undefined {
    return this.#objects.get(key)?.changedAtMs;
  }

  /**
   * How long ago the server last gave a sign of life on this very stream (an event, a bookmark, its opening, a list). A
   * stream over which nothing happens gives one about every `watchSeconds`.
   */
  lastSeenAgeMs(): number {
    return this.#clock.elapsedMs() - this.#lastSeenMs;
  }

  async #run(): Promise<void> {
    const stop = this.#stopping.signal;
    let failures = 0;
    while (!stop.aborted) {
      this.#openedMs = undefined;
      const relist = this.#resourceVersion === undefined || this.#clock.elapsedMs() >= this.#relistAtMs;
      try {
        if (relist) await this.#relist(stop);
        await this.#watch(stop);
        // A server on its way down ends streams as soon as it opens them.
        failures = this.#worked() ? 0 : failures + 1;
      } catch (error) {
        if (stop.aborted) return;
        failures = this.#worked() ? 1 : failures + 1;
        this.#note(error, failures);
        if (error instanceof GoneError && !relist) continue;
      }
      if (failures === 0) continue;
      await this.#clock.sleep(jittered(backoffMs(failures, RECONNECT), this.#random), stop).catch(() => {});
    }
  }

  /** Whether the last watch was open long enough to say that the server was well. */
  #worked(): boolean {
    return this.#openedMs !== undefined && this.#clock.elapsedMs() - this.#openedMs >= WORKED_MS;
  }

  #note(error: unknown, failures: number): void {
    const problem = classify(error);
    if (error instanceof GoneError) {
      this.#resourceVersion = undefined;
      gone.inc({ cache: this.name });
    } else {
      failed.inc({ cache: this.name, reason: problem.reason });
      // A server that answers but keeps refusing to go on from here (its data were restored from a backup, say).
      if (error instanceof ApiError && error.status > 0 && failures >= 5) this.#resourceVersion = undefined;
    }
    // The first of a series, then ever more rarely: a server away for an hour is no thousand lines.
    const level = (failures & (failures - 1)) === 0 ? "warn" : "debug";
    this.#log[level](
      { reason: problem.reason, failures, err: problem.class === "bug" ? problem : undefined },
      problem.message,
    );
  }

  async #relist(stop: AbortSignal): Promise<void> {
    const { client, type, namespace, labelSelector, fieldSelector } = this.#options;
    const { items, resourceVersion } = await client.list(type, {
      namespace,
      labelSelector,
      fieldSelector,
      signal: stop,
    });
    this.#seen();
    relisted.inc({ cache: this.name });
    const listed = new Set<string>();
    for (const item of items) {
      listed.add(keyOf(item));
      this.#put(item);
    }
    for (const key of this.#objects.keys()) if (!listed.has(key)) this.#remove(key);
    this.#resourceVersion = resourceVersion;
    const relistMs = this.#options.relistMs ?? 600_000;
    this.#relistAtMs = this.#clock.elapsedMs() + relistMs * (1 - this.#random() / 10);
    this.#isSynced = true;
    this.#synced.resolve();
  }

  async #watch(stop: AbortSignal): Promise<void> {
    const { client, type, namespace, labelSelector, fieldSelector } = this.#options;
    const limitSeconds = this.#options.watchSeconds ?? 30;
    const stream = new AbortController();
    const onStop = () => stream.abort(stop.reason);
    stop.addEventListener("abort", onStop, { once: true });
    const guard = this.#guard(stream, (limitSeconds + 5) * 1000);
    try {
      started.inc({ cache: this.name });
      const events = client.watch(type, {
        namespace,
        labelSelector,
        fieldSelector,
        resourceVersion: this.#resourceVersion ?? "",
        timeoutSeconds: Math.max(1, Math.round(limitSeconds * (1 - this.#random() / 5))),
        signal: stream.signal,
        onBytes: () => {
          this.#seen();
          this.#openedMs ??= this.#lastSeenMs;
        },
      });
      for await (const event of events) {
        if (stop.aborted) return;
        this.#take(event);
      }
    } finally {
      stop.removeEventListener("abort", onStop);
      stream.abort(new Error("watch over"));
      await guard;
    }
  }

  /** Ends a stream whose server is silent and does not answer a probe either, or that outlives its time. */
  async #guard(stream: AbortController, limitMs: number): Promise<void> {
    const { client, probeAfterMs = 10_000, probeTimeoutMs = 5_000 } = this.#options;
    const endMs = this.#clock.elapsedMs() + limitMs;
    let askedMs = this.#clock.elapsedMs();
    try {
      while (!stream.signal.aborted) {
        const now = this.#clock.elapsedMs();
        if (now >= endMs)
          throw new QuorateError("transient", "WatchOverdue", `watch ${this.name}: the server did not end it`);
        const dueMs = Math.max(this.#lastSeenMs, askedMs) + probeAfterMs;
        if (now < dueMs) {
          await this.#clock.sleep(Math.min(dueMs, endMs) - now, stream.signal);
          continue;
        }
        await client.readText("/version", { timeoutMs: probeTimeoutMs, signal: stream.signal });
        askedMs = this.#clock.elapsedMs();
      }
    } catch (error) {
      stream.abort(error);
    }
  }

  #take(event: WatchEvent<T>): void {
    received.inc({ cache: this.name, type: event.type });
    if (event.type === "BOOKMARK") {
      this.#resourceVersion = event.resourceVersion;
      return;
    }
    if (event.type === "DELETED") this.#remove(keyOf(event.object));
    else this.#put(event.object);
    this.#resourceVersion = event.object.metadata.resourceVersion ?? this.#resourceVersion;
  }

  #put(object: T): void {
    if (this.#objects.put(object, this.#clock.elapsedMs())) this.#tell(keyOf(object));
  }

  #remove(key: string): void {
    if (this.#objects.remove(key)) this.#tell(key);
  }

  #tell(key: string): void {
    if (this.#stopping.signal.aborted) return;
    try {
      this.#options.onChange?.(key);
    } catch (error) {
      this.#log.error({ err: classify(error), key }, "a change handler threw; handlers only put keys into a queue");
    }
  }

  #seen(): void {
    this.#lastSeenMs = this.#clock.elapsedMs();
  }
}
