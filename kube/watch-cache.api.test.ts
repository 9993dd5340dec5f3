import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { pino } from "pino";
import { systemClock } from "../clock.ts";
import { type ControlPlane, listRecords, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { KubeClient } from "./client.ts";
import { CONFIG_MAPS, type ConfigMap, NAMESPACES } from "./core-types.ts";
import { ManualClock } from "./manual-clock.ts";
import { registry } from "./metrics.ts";
import { type KubeObject, parseKey } from "./resource.ts";
import { WatchCache, type WatchCacheOptions } from "./watch-cache.ts";

const log = pino({ level: "silent" });
const NAMESPACE = "soak";
const OBJECTS = 200;
const CHANGES = 10_000;

/** What a consumer of the cache makes of it: after each change, the revision it reads there. */
class Consumer {
  readonly seen = new Map<string, bigint>();
  readonly wentBack: string[] = [];
  stopped = false;
  callsAfterStop = 0;
  cache: WatchCache<ConfigMap> | undefined;

  readonly onChange = (key: string): void => {
    if (this.stopped) this.callsAfterStop += 1;
    const object = this.cache?.get(key);
    if (object === undefined) {
      this.seen.delete(key);
      return;
    }
    const revision = BigInt(object.metadata.resourceVersion ?? "0");
    if (revision <= (this.seen.get(key) ?? 0n)) this.wentBack.push(`${key} ${this.seen.get(key)} -> ${revision}`);
    this.seen.set(key, revision);
  };
}

/** Changes random objects, now and then deleting and making one anew; what fails is tried again, as a user would. */
class Writers {
  done = 0;
  readonly #client: KubeClient;
  readonly #abort = new AbortController();

  constructor(client: KubeClient) {
    this.#client = client;
  }

  async run(total: number, atOnce: number): Promise<void> {
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        while (this.done < total && !this.#abort.signal.aborted) await this.#change();
      }),
    );
  }

  stop(): void {
    this.#abort.abort();
  }

  async #change(): Promise<void> {
    const n = this.done++;
    const metadata = { namespace: NAMESPACE, name: `object-${Math.floor(Math.random() * OBJECTS)}` };
    for (;;) {
      try {
        const options = { timeoutMs: 2_000, signal: this.#abort.signal };
        if (n % 25 === 0) await this.#client.delete(CONFIG_MAPS, metadata, options);
        else
          await this.#client.apply(
            CONFIG_MAPS,
            { metadata, data: { n: `${n}` } },
            { fieldManager: "soak", ...options },
          );
        return;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (!(error instanceof Error && "class" in error && error.class === "transient")) throw error;
        await systemClock.sleep(50);
      }
    }
  }
}

describe("a watch cache on a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  before(async () => {
    controlPlane = await startControlPlane({ useExisting: false });
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig, { log });
    await client.create(NAMESPACES, { metadata: { name: NAMESPACE } });
  });
  after(() => controlPlane?.stop());
  // What a failed test left: an API server that is away or frozen, caches that look for it for ever.
  beforeEach(() => {
    controlPlane.resumeApiServer();
    return controlPlane.startApiServer();
  });
  afterEach(() => Promise.all(opened.splice(0).map((cache) => cache.stop())));

  const opened: WatchCache<KubeObject>[] = [];
  function open<T extends KubeObject>(options: Omit<WatchCacheOptions<T>, "client" | "log">): WatchCache<T> {
    const cache = new WatchCache<T>({ ...options, client, log } as WatchCacheOptions<T>);
    opened.push(cache as unknown as WatchCache<KubeObject>);
    return cache;
  }

  async function until(what: string, seconds: number, holds: () => Promise<boolean> | boolean): Promise<void> {
    for (const endMs = systemClock.elapsedMs() + seconds * 1000; !(await holds()); await systemClock.sleep(50)) {
      assert.ok(systemClock.elapsedMs() < endMs, `not within ${seconds} s: ${what}`);
    }
  }

  it("misses none of 10,000 changes while the API server is killed, frozen and started again, and does not grow", async (t) => {
    const consumer = new Consumer();
    const cache = open({
      type: CONFIG_MAPS,
      namespace: NAMESPACE,
      name: "soak",
      onChange: consumer.onChange,
      probeAfterMs: 1_000,
      probeTimeoutMs: 1_000,
      watchSeconds: 8,
    });
    consumer.cache = cache;
    await cache.start();

    const writers = new Writers(KubeClient.fromKubeconfig(controlPlane.kubeconfig, { log }));
    const writing = writers.run(CHANGES, 8);
    let writersFailed: unknown;
    writing.catch((error: unknown) => {
      writersFailed = error;
    });
    const heapMb: number[] = [];
    const reached = async (share: number) => {
      await until(`${share * 100} % of the changes`, 120, () => {
        assert.equal(writersFailed, undefined);
        return writers.done >= CHANGES * share;
      });
      heapMb.push(heapUsedMb());
    };
    try {
      await reached(0.2);
      await controlPlane.stopApiServer("SIGKILL");
      await controlPlane.startApiServer();
      await reached(0.4);
      controlPlane.pauseApiServer();
      await until("the frozen server is noticed", 10, () => cache.lastSeenAgeMs() > 3_000);
      controlPlane.resumeApiServer();
      await reached(0.6);
      await controlPlane.stopApiServer("SIGTERM");
      await systemClock.sleep(1_000);
      await controlPlane.startApiServer();
      await reached(0.8);
      await controlPlane.stopApiServer("SIGKILL");
      await controlPlane.startApiServer();
      await writing;
    } finally {
      writers.stop();
      await writing.catch(() => {});
    }

    const truth = await client.list(CONFIG_MAPS, { namespace: NAMESPACE });
    const expected = new Map(
      truth.items.map((item) => [`${NAMESPACE}/${item.metadata.name}`, BigInt(item.metadata.resourceVersion ?? "0")]),
    );
    const cached = () =>
      new Map(
        cache
          .list()
          .map((item) => [`${NAMESPACE}/${item.metadata.name}`, BigInt(item.metadata.resourceVersion ?? "0")]),
      );
    const same = (a: Map<string, bigint>, b: Map<string, bigint>) =>
      a.size === b.size && [...a].every(([key, revision]) => b.get(key) === revision);
    await until("the cache equals a list", 20, () => same(cached(), expected));
    for (const item of truth.items) assert.deepEqual(cache.get(`${NAMESPACE}/${item.metadata.name}`)?.data, item.data);
    assert.deepEqual([...consumer.seen].sort(), [...expected].sort(), "the last revision of each object was told");
    assert.deepEqual(consumer.wentBack, [], "no object was told twice or went back in time");
    heapMb.push(heapUsedMb());

    consumer.stopped = true;
    const stopped = cache.stop();
    const other = new Writers(client);
    await other.run(200, 4);
    await stopped;
    assert.equal(consumer.callsAfterStop, 0);

    t.diagnostic(
      `watches ${await metricOf("started", "soak")}, lists ${await metricOf("relisted", "soak")}, gone ${await metricOf("gone", "soak")}, ` +
        `errors ${await metricOf("error", "soak")}, events ${await metricOf("events", "soak")}; heap MB ${heapMb.map((mb) => mb.toFixed(1)).join(" ")}`,
    );
    const growth = (heapMb.at(-1) ?? 0) - (heapMb[0] ?? 0);
    assert.ok(growth < 4, `the heap grew by ${growth.toFixed(1)} MB: ${heapMb.map((mb) => mb.toFixed(1)).join(", ")}`);
    assert.ok((await metricOf("started", "soak")) >= 5);
  });

  it("watches only what its selectors name, in one namespace or all", async () => {
    const name = "the-one";
    const one = open({
      type: CONFIG_MAPS,
      namespace: "default",
      fieldSelector: `metadata.name=${name}`,
    });
    const labelled = open({ type: CONFIG_MAPS, labelSelector: "kube-test=yes" });
    await Promise.all([one.start(), labelled.start()]);
    await client.create(CONFIG_MAPS, { metadata: { namespace: "default", name: "another" } });
    await client.create(CONFIG_MAPS, { metadata: { namespace: "default", name } });
    await client.create(CONFIG_MAPS, {
      metadata: { namespace: NAMESPACE, name: "labelled", labels: { "kube-test": "yes" } },
    });
    await until("both have theirs", 10, () => one.size === 1 && labelled.size === 1);
    assert.deepEqual(parseKey(`default/${name}`), { namespace: "default", name });
    assert.ok(one.get(`default/${name}`));
    assert.equal(labelled.list(NAMESPACE).length, 1);
    await client.mergePatch(
      CONFIG_MAPS,
      { namespace: NAMESPACE, name: "labelled" },
      { metadata: { labels: null } },
      { fieldManager: "test" },
    );
    await until("what no longer matches is gone", 10, () => labelled.size === 0);
  });

  it("lists anew when the history since its last event is gone from etcd, and tells what it missed", async () => {
    const clock = new ManualClock();
    const told: string[] = [];
    const metadata = (name: string) => ({ namespace: "default", name });
    await client.create(CONFIG_MAPS, { metadata: metadata("goes") });
    const onChange = (key: string) => void told.push(key);
    const cache = open({ type: CONFIG_MAPS, namespace: "default", name: "compacted", clock, onChange });
    await cache.start();
    await until("the watch is open", 5, async () => (await metricOf("started", "compacted")) === 1);
    await controlPlane.stopApiServer("SIGKILL");
    // Its clock stands still, so it does not come back before all this has happened.
    await until("it waits to come back", 5, async () => (await metricOf("error", "compacted")) === 1);
    told.length = 0;
    await controlPlane.startApiServer();
    await client.delete(CONFIG_MAPS, metadata("goes"));
    await client.create(CONFIG_MAPS, { metadata: metadata("comes") });
    const { metadata: latest } = await client.create(CONFIG_MAPS, { metadata: metadata("comes-too") });
    await compact(controlPlane, latest.resourceVersion ?? "");
    await controlPlane.stopApiServer("SIGKILL");
    await controlPlane.startApiServer();
    await until("it lists anew", 15, async () => {
      await clock.advance(1_000);
      return (await metricOf("relisted", "compacted")) === 2;
    });
    assert.equal(await metricOf("gone", "compacted"), 1);
    assert.deepEqual(told.sort(), ["default/comes", "default/comes-too", "default/goes"]);
  });

  it("an idle stream shows signs of life, ends and resumes without a list", async () => {
    const cache = open({ type: NAMESPACES, name: "idle", watchSeconds: 4 });
    await cache.start();
    await until("three watches", 20, async () => (await metricOf("started", "idle")) >= 3);
    assert.equal(await metricOf("relisted", "idle"), 1);
    assert.ok(cache.lastSeenAgeMs() < 5_000);
  });
});

async function metricOf(metric: string, cache: string): Promise<number> {
  const values = (await registry.getSingleMetric(`quorate_watch_${metric}_total`)?.get())?.values ?? [];
  return values.filter(({ labels }) => labels.cache === cache).reduce((sum, { value }) => sum + value, 0);
}

/** etcd forgets what was before this revision, as the API server has it do every five minutes. */
async function compact(controlPlane: ControlPlane, revision: string): Promise<void> {
  const record = listRecords().find(({ name }) => name === controlPlane.name);
  assert.ok(record);
  const url = `http://127.0.0.1:${record.network.etcdPort}/v3/kv/compaction`;
  const response = await fetch(url, { method: "POST", body: JSON.stringify({ revision, physical: true }) });
  assert.equal(response.status, 200, await response.text());
}

/** After a full collection. */
function heapUsedMb(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed / 1024 / 1024;
}
