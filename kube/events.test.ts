import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { ForbiddenError, NotFoundError, UnreachableError } from "./api-errors.ts";
import type { KubeApi } from "./client.ts";
import type { Event } from "./core-types.ts";
import { EventRecorder, type Happening } from "./events.ts";
import { ManualClock } from "./manual-clock.ts";
import type { ObjectKey } from "./resource.ts";

const log = pino({ level: "silent" });
const regarding = {
  apiVersion: "quorate.dev/v1alpha1",
  kind: "Guest",
  metadata: { name: "db1", namespace: "prod", uid: "u1" },
};
const moved: Happening = { regarding, type: "Normal", reason: "Migrated", action: "Migrate", note: "db1 runs on n2" };

describe("an event recorder", () => {
  let clock: ManualClock;
  let recorder: EventRecorder;
  let stored: Map<string, Event>;
  let writes: number;
  let error: Error | undefined;

  beforeEach(() => {
    clock = new ManualClock();
    stored = new Map();
    writes = 0;
    error = undefined;
    const client = {
      create: async (_: unknown, event: Event) => {
        writes += 1;
        if (error !== undefined) throw error;
        stored.set(event.metadata.name, structuredClone(event));
        return event;
      },
      mergePatch: async (_: unknown, key: ObjectKey, patch: Partial<Event>) => {
        writes += 1;
        if (error !== undefined) throw error;
        const event = stored.get(key.name);
        if (event === undefined) throw new NotFoundError("transient", "NotFound", 404, "gone");
        Object.assign(event, patch);
        return event;
      },
    } as unknown as Pick<KubeApi, "create" | "mergePatch">;
    recorder = new EventRecorder({ client, controller: "quorate.dev/test", instance: "pod-1", clock, log });
  });
  afterEach(async () => {
    await recorder.stop();
    await clock.advance(1);
    assert.equal(clock.sleeping, 0, "no timer is left");
  });

  const events = () => [...stored.values()];

  it("writes what happened, to whom, by whom", async () => {
    recorder.event({
      ...moved,
      related: { apiVersion: "quorate.dev/v1alpha1", kind: "ClusterNode", name: "n2", namespace: "prod" },
    });
    await clock.advance(1);
    const [event] = events();
    assert.ok(event);
    assert.match(event.metadata.name, /^db1\.[0-9a-f]{22}$/);
    assert.equal(event.metadata.namespace, "prod");
    assert.match(event.eventTime, /\.\d{6}Z$/);
    assert.deepEqual(event.regarding, {
      apiVersion: "quorate.dev/v1alpha1",
      kind: "Guest",
      name: "db1",
      namespace: "prod",
      uid: "u1",
    });
    assert.equal(event.related?.name, "n2");
    assert.equal(event.reportingController, "quorate.dev/test");
    assert.equal(event.series, undefined);
  });

  it("counts what happens again in the same event, writing the count every 10 s", async () => {
    for (let i = 0; i < 100; i++) {
      recorder.event(moved);
      await clock.advance(250);
    }
    await clock.advance(20_000);
    assert.equal(events().length, 1);
    assert.equal(events()[0]?.series?.count, 100);
    assert.ok(writes <= 5, `${writes} writes`);
  });

  it("begins a new event when the last was long ago", async () => {
    recorder.event(moved);
    await clock.advance(700_000);
    recorder.event(moved);
    await clock.advance(1);
    assert.equal(events().length, 2);
  });

  it("writes an event anew when the server has forgotten it", async () => {
    recorder.event(moved);
    await clock.advance(1);
    stored.clear();
    recorder.event(moved);
    await clock.advance(20_000);
    assert.equal(events()[0]?.series?.count, 2);
  });

  it("limits different events of one reason about one object, and no other", async () => {
    for (let i = 0; i < 50; i++) recorder.event({ ...moved, note: `attempt ${i}` });
    recorder.event({ ...moved, reason: "Fenced", type: "Warning" });
    await clock.advance(1);
    assert.equal(events().length, 11);
    await clock.advance(60_000);
    for (let i = 0; i < 50; i++) recorder.event({ ...moved, note: `later attempt ${i}` });
    await clock.advance(1);
    assert.equal(events().length, 13);
  });

  it("tries again while the server is away, blocking no one, and writes the event when it is back", async () => {
    error = new UnreachableError("transient", "ApiServerUnreachable", 0, "refused");
    recorder.event(moved);
    await clock.advance(3_000);
    error = undefined;
    await clock.advance(10_000);
    assert.equal(events().length, 1);
  });

  it("drops what is refused and goes on with the next", async () => {
    error = new ForbiddenError("environment", "Forbidden", 403, "no");
    recorder.event(moved);
    await clock.advance(1);
    error = undefined;
    recorder.event({ ...moved, reason: "Started" });
    await clock.advance(1);
    assert.deepEqual(
      events().map((event) => event.reason),
      ["Started"],
    );
  });

  it("never throws, whatever it is given", async () => {
    recorder.event({ ...moved, regarding: null } as unknown as Happening);
    recorder.event({ ...moved, note: "x".repeat(5_000) });
    recorder.event({
      ...moved,
      regarding: { kind: "Guest", name: `${"a".repeat(199)}-${"b".repeat(40)}`, namespace: "prod" },
    });
    await clock.advance(1);
    assert.equal(events().length, 2);
    assert.equal(events()[0]?.note?.length, 1024);
    assert.match(events()[1]?.metadata.name ?? "", /^a{199}\.[0-9a-f]{22}$/);
  });

  it("stop writes what is still open, and takes no more", async () => {
    recorder.event(moved);
    await clock.advance(1);
    recorder.event(moved);
    recorder.event(moved);
    await recorder.stop();
    assert.equal(events()[0]?.series?.count, 3);
    recorder.event({ ...moved, reason: "Late" });
    await clock.advance(60_000);
    assert.equal(events().length, 1);
  });

  it("stop does not wait for a server that is away", async () => {
    error = new UnreachableError("transient", "ApiServerUnreachable", 0, "refused");
    recorder.event(moved);
    const stopped = recorder.stop(2_000);
    await clock.advance(2_000);
    await stopped;
  });
});
