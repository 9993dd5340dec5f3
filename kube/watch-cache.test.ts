import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { GoneError, UnreachableError } from "./api-errors.ts";
import type { KubeApi } from "./client.ts";
import { CONFIG_MAPS, type ConfigMap } from "./core-types.ts";
import { ManualClock } from "./manual-clock.ts";
import { registry } from "./metrics.ts";
import { WatchCache, type WatchCacheOptions } from "./watch-cache.ts";
import type { WatchEvent } from "./watch-stream.ts";

const log = pino({ level: "silent" });

function configMap(name: string, resourceVersion: number, namespace = "default"): ConfigMap {
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace, resourceVersion: String(resourceVersion) },
  };
}

type Step = WatchEvent<ConfigMap> | Error;

/** A server that lists what the test put there and streams what the test sends. */
class Source {
  objects: ConfigMap[] = [];
  revision = 100;
  lists = 0;
  /** resourceVersion each watch began at. */
  watches: string[] = [];
  listError: Error | undefined;
  probes = 0;
  probeError: Error | undefined;
  #send: ((step: Step | "end") => void) | undefined;

  send(...steps: (Step | "end")[]): void {
    for (const step of steps) this.#send?.(step);
  }

  get watching(): boolean {
    return this.#send !== undefined;
  }

  client(): Pick<KubeApi, "list" | "watch" | "readText"> {
    const client = {
      list: async () => {
        this.lists += 1;
        if (this.listError !== undefined) throw this.listError;
        return { items: this.objects.map((object) => structuredClone(object)), resourceVersion: String(this.revision) };
      },
      watch: (_: unknown, options: { resourceVersion: string; signal?: AbortSignal; onBytes?: () => void }) =>
        this.#watch(options),
      readText: async () => {
        this.probes += 1;
        if (this.probeError !== undefined) throw this.probeError;
        return "{}";
      },
    };
    return client as unknown as Pick<KubeApi, "list" | "watch" | "readText">;
  }

  async *#watch(options: {
    resourceVersion: string;
    signal?: AbortSignal;
    onBytes?: () => void;
  }): AsyncGenerator<WatchEvent<ConfigMap>> {
    this.watches.push(options.resourceVersion);
    const queue: (Step | "end")[] = [];
    let arrived = Promise.withResolvers<void>();
    this.#send = (step) => {
      queue.push(step);
      arrived.resolve();
    };
    options.signal?.addEventListener("abort", () => arrived.resolve(), { once: true });
    options.onBytes?.();
    try {
      for (;;) {
        options.signal?.throwIfAborted();
        const step = queue.shift();
        if (step === undefined) {
          await arrived.promise;
          arrived = Promise.withResolvers();
          if (options.signal?.aborted) continue;
          continue;
        }
        if (step === "end") return;
        if (step instanceof Error) throw step;
        options.onBytes?.();
        yield step;
      }
    } finally {
      this.#send = undefined;
    }
  }
}

describe("a watch cache", () => {
  let clock: ManualClock;
  let source: Source;
  let changed: string[];
  let cache: WatchCache<ConfigMap>;

  beforeEach(() => {
    registry.resetMetrics();
    clock = new ManualClock();
    source = new Source();
    changed = [];
  });
  afterEach(async () => {
    await cache.stop();
    await clock.advance(1);
    assert.equal(clock.sleeping, 0, "no timer is left");
  });

  function create(options: Partial<WatchCacheOptions<ConfigMap>> = {}): WatchCache<ConfigMap> {
    cache = new WatchCache({
      client: source.client(),
      type: CONFIG_MAPS,
      name: "test",
      onChange: (key) => void changed.push(key),
      clock,
      log,
      random: () => 0.5,
      ...options,
    });
    return cache;
  }

  /** Synced, and the watch is open. */
  async function startWatching(options: Partial<WatchCacheOptions<ConfigMap>> = {}): Promise<void> {
    await create(options).start();
    await clock.advance(0);
  }

  const metric = async (name: string) =>
    (await registry.getSingleMetric(`quorate_watch_${name}`)?.get())?.values.reduce(
      (sum, value) => sum + value.value,
      0,
    );

  it("is synced after the first list, and tells each key of it", async () => {
    source.objects = [configMap("a", 1), configMap("b", 2, "other")];
    await startWatching();
    assert.deepEqual(changed, ["default/a", "other/b"]);
    assert.equal(cache.get("default/a")?.metadata.name, "a");
    assert.equal(cache.list().length, 2);
    assert.equal(cache.list("other").length, 1);
    assert.equal(cache.list("none").length, 0);
  });

  it("follows events and resumes a watch that ended where the last event or bookmark was", async () => {
    source.objects = [configMap("a", 1)];
    await startWatching();
    await clock.advance(2_000);
    source.send(
      { type: "MODIFIED", object: configMap("a", 101) },
      { type: "ADDED", object: configMap("b", 102) },
      { type: "DELETED", object: configMap("a", 103) },
      { type: "BOOKMARK", resourceVersion: "150" },
      "end",
    );
    await clock.advance(1);
    assert.deepEqual(changed, ["default/a", "default/a", "default/b", "default/a"]);
    assert.equal(cache.get("default/a"), undefined);
    assert.equal(cache.size, 1);
    assert.deepEqual(source.watches, ["100", "150"]);
    assert.equal(source.lists, 1);
  });

  it("lists anew when the server has forgotten its place, and tells only what differs", async () => {
    source.objects = [configMap("same", 1), configMap("changes", 2), configMap("goes", 3)];
    await startWatching();
    changed = [];
    source.objects = [configMap("same", 1), configMap("changes", 5), configMap("comes", 6)];
    source.revision = 200;
    source.send(new GoneError("transient", "Gone", 410, "too old"));
    await clock.advance(1_000);
    assert.deepEqual(changed.sort(), ["default/changes", "default/comes", "default/goes"]);
    assert.deepEqual(source.watches, ["100", "200"]);
    assert.equal(await metric("gone_total"), 1);
    assert.equal(await metric("relisted_total"), 2);
  });

  it("comes back with growing waits while the server is away, at most 5 s, and resumes without a list", async () => {
    await startWatching();
    await clock.advance(20_000);
    const broken = new UnreachableError("transient", "WatchBroken", 0, "connection reset");
    let tries = source.watches.length;
    const waits: number[] = [];
    for (let i = 0; i < 10; i++) {
      source.send(broken);
      const beganMs = clock.elapsedMs();
      while (source.watches.length === tries) await clock.advance(5);
      waits.push(clock.elapsedMs() - beganMs);
      tries = source.watches.length;
    }
    assert.deepEqual(waits, [75, 150, 300, 600, 1200, 2400, 3750, 3750, 3750, 3750]);
    assert.equal(source.lists, 1);
    assert.equal(await metric("error_total"), 10);
  });

  it("starts over with short waits after a watch that worked for a second", async () => {
    await startWatching();
    const broken = new UnreachableError("transient", "WatchBroken", 0, "connection reset");
    for (let i = 0; i < 20; i++) {
      await clock.advance(1_500);
      const tries = source.watches.length;
      source.send(broken);
      await clock.advance(100);
      assert.equal(source.watches.length, tries + 1, `break ${i}`);
    }
  });

  it("does not loop hot on a server that forgets its place again and again", async () => {
    await startWatching();
    for (let i = 0; i < 1_000; i++) {
      source.send(new GoneError("transient", "Gone", 410, "too old"));
      await clock.advance(10);
    }
    assert.ok(source.lists < 20, `${source.lists} lists in 10 s`);
  });

  it("keeps trying when the first list fails, and start waits for it", async () => {
    source.listError = new UnreachableError("transient", "ApiServerUnreachable", 0, "refused");
    let synced = false;
    const started = create()
      .start()
      .then(() => {
        synced = true;
      });
    await clock.advance(60_000);
    assert.equal(synced, false);
    assert.equal(cache.synced, false);
    source.listError = undefined;
    await clock.advance(5_000);
    await started;
  });

  it("does not loop hot on a server that ends every watch at once", async () => {
    await startWatching();
    for (let i = 0; i < 1_000; i++) {
      source.send("end");
      await clock.advance(10);
    }
    assert.ok(source.watches.length < 20, `${source.watches.length} watches in 10 s`);
  });

  it("lists anew every ten minutes, less a part", async () => {
    await startWatching();
    for (let i = 0; i < 60 * 60; i += 30) {
      await clock.advance(30_000);
      source.send({ type: "BOOKMARK", resourceVersion: String(1000 + i) }, "end");
    }
    assert.ok(source.lists >= 6 && source.lists <= 8, `${source.lists} lists in an hour`);
  });

  it("asks a silent server for a sign of life and drops the stream of one that gives none", async () => {
    await startWatching();
    await clock.advance(11_000);
    assert.equal(source.probes, 1);
    assert.equal(source.watches.length, 1);
    source.probeError = new UnreachableError("transient", "ApiServerTimeout", 0, "no answer");
    await clock.advance(10_000);
    assert.equal(source.watches.length, 2, "a new stream");
    assert.ok(cache.lastSeenAgeMs() < 10_000);
  });

  it("does not trust a stream for longer than the server was asked to keep it, even if the server answers probes", async () => {
    await startWatching();
    await clock.advance(36_000);
    assert.equal(source.watches.length, 2);
    assert.ok(source.probes >= 2);
  });

  it("an answer to a probe is no sign of life of the stream", async () => {
    await startWatching();
    await clock.advance(25_000);
    assert.ok(cache.lastSeenAgeMs() >= 25_000);
    source.send({ type: "BOOKMARK", resourceVersion: "101" });
    await clock.advance(0);
    assert.equal(cache.lastSeenAgeMs(), 0);
  });

  it("knows when it saw each object change, on its own clock, and a list of the same does not count", async () => {
    source.objects = [configMap("a", 1)];
    await startWatching();
    await clock.advance(5_000);
    source.send(new GoneError("transient", "Gone", 410, "too old"));
    await clock.advance(5_000);
    assert.equal(cache.changedAtMs("default/a"), 0);
    source.send({ type: "MODIFIED", object: configMap("a", 201) });
    await clock.advance(1_000);
    assert.equal(cache.changedAtMs("default/a"), 10_000);
    assert.equal(cache.changedAtMs("default/none"), undefined);
  });

  it("a handler that throws disturbs nothing", async () => {
    source.objects = [configMap("a", 1), configMap("b", 2)];
    const told: string[] = [];
    await startWatching({
      onChange: (key) => {
        told.push(key);
        throw new Error("a bug in the handler");
      },
    });
    source.send({ type: "MODIFIED", object: configMap("a", 101) });
    await clock.advance(0);
    assert.deepEqual(told, ["default/a", "default/b", "default/a"]);
    assert.equal(cache.get("default/a")?.metadata.resourceVersion, "101");
    assert.equal(source.watches.length, 1);
  });

  it("calls no handler after stop, not even for events already here", async () => {
    await startWatching({
      onChange: (key) => {
        changed.push(key);
        void cache.stop();
      },
    });
    source.send({ type: "ADDED", object: configMap("a", 101) }, { type: "ADDED", object: configMap("b", 102) });
    await clock.advance(60_000);
    assert.deepEqual(changed, ["default/a"]);
    assert.equal(source.watching, false);
  });

  it("start rejects when it is stopped before it is synced", async () => {
    source.listError = new UnreachableError("transient", "ApiServerUnreachable", 0, "refused");
    const started = assert.rejects(create().start(), { reason: "CacheStopped" });
    await clock.advance(1_000);
    await cache.stop();
    await started;
    await assert.rejects(cache.start(), { reason: "CacheStopped" });
  });

  it("gives out frozen objects without managedFields", async () => {
    const object = configMap("a", 1);
    Object.assign(object.metadata, { managedFields: [{ manager: "kubectl" }] });
    source.objects = [object];
    await startWatching();
    const cached = cache.get("default/a");
    assert.ok(cached);
    assert.equal("managedFields" in cached.metadata, false);
    assert.throws(() => {
      cached.metadata.name = "other";
    }, TypeError);
  });
});
