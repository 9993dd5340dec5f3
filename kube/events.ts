import { randomBytes } from "node:crypto";
import { type Clock, systemClock } from "../clock.ts";
import { classify } from "../errors.ts";
import { type Logger, processLog } from "../log.ts";
import { NotFoundError } from "./api-errors.ts";
import { backoffMs } from "./backoff.ts";
import type { KubeApi } from "./client.ts";
import { EVENTS, type Event, type ObjectReference } from "./core-types.ts";
import { counter } from "./metrics.ts";
import { microTime } from "./micro-time.ts";
import type { KubeObject } from "./resource.ts";

export interface Happening {
  /** The object the event is about; it is shown by `kubectl describe` of it. */
  regarding: KubeObject | ObjectReference;
  type: "Normal" | "Warning";
  /** CamelCase, one of a fixed set: people and alerts match on it. */
  reason: string;
  /** What was done or tried, CamelCase: `Fence`, `Start`. */
  action: string;
  /** For humans: names the objects, what happened, what to do. At most 1024 characters are kept. Never a secret. */
  note: string;
  related?: KubeObject | ObjectReference;
}

export interface EventRecorderOptions {
  client: Pick<KubeApi, "create" | "mergePatch">;
  /** Who reports, as a qualified name: `quorate.dev/ha`. */
  controller: string;
  /** Which one of them: the pod or the node. */
  instance: string;
  /** Different events about one object for one reason that may come at once, and then one every `refillMs`; 10, 30 s. */
  burst?: number;
  refillMs?: number;
  /** The count of an event that repeats is written at most this often; 10 s. */
  seriesMs?: number;
  clock?: Clock;
  log?: Logger;
}

const emitted = counter("quorate_events_emitted_total", "Kubernetes events written.", ["reason"]);
const dropped = counter("quorate_events_dropped_total", "Kubernetes events that were not written.", ["why"]);

const NOTE_LIMIT = 1024;
const QUEUE_LIMIT = 500;
const SERIES_LIMIT = 2_000;
/** What did not happen again for so long is a new event when it does. */
const SERIES_ENDS_MS = 600_000;
const TRIES = 8;
const RETRY = { baseMs: 500, maxMs: 30_000 };

/** One event as the server knows it, and how often it happened since. */
interface Series {
  event: Event;
  created: boolean;
  count: number;
  lastMs: number;
  lastTime: string;
  /** The last count on the server, and when it was written. */
  writtenCount: number;
  writtenMs: number;
  queued: boolean;
}

/**
 * Events (events.k8s.io/v1) for humans. `event()` only notes it down: it never blocks and never throws, and what the
 * server does not take in time is dropped and counted. Nothing may depend on an event having been written.
 */
export class EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  /** By what makes two happenings the same; in order of creation. */
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();
  readonly #queue: Series[] = [];
  #lastWallMs = 0;
  #sequence = 0;
  #writer: Promise<void> | undefined;
  #flusher: Promise<void> | undefined;

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = (options.log ?? processLog("kube")).child({ events: options.controller });
  }

  event(happening: Happening): void {
    try {
      this.#note(happening);
    } catch (error) {
      dropped.inc({ why: "Error" });
      this.#log.error({ err: classify(error), reason: happening.reason }, "an event could not be noted");
    }
  }

  /** Writes what is still to be written, for at most `timeoutMs`; takes no more. */
  async stop(timeoutMs = 2_000): Promise<void> {
    const patience = new AbortController();
    this.#stopping.abort();
    for (const series of this.#series.values()) if (series.count > series.writtenCount) this.#enqueue(series);
    await Promise.race([this.#writer, this.#clock.sleep(timeoutMs, patience.signal).catch(() => {})]);
    patience.abort();
    this.#queue.length = 0;
  }

  #note(happening: Happening): void {
    if (this.#stopping.signal.aborted) return;
    const now = this.#clock.elapsedMs();
    const time = this.#nextTime();
    const event = this.#build(happening, time);
    const identity = JSON.stringify([
      event.regarding,
      event.related,
      event.type,
      event.reason,
      event.action,
      event.note,
    ]);
    const known = this.#series.get(identity);
    if (known !== undefined && now - known.lastMs < SERIES_ENDS_MS) {
      known.count += 1;
      known.lastMs = now;
      known.lastTime = time;
      this.#flusher ??= this.#flush();
      return;
    }
    if (!this.#allowed(event, now)) {
      dropped.inc({ why: "RateLimited" });
      return;
    }
    const series = {
      event,
      created: false,
      count: 1,
      lastMs: now,
      lastTime: time,
      writtenCount: 0,
      writtenMs: now,
      queued: false,
    };
    this.#series.delete(identity);
    this.#series.set(identity, series);
    if (this.#series.size > SERIES_LIMIT) this.#series.delete(this.#series.keys().next().value ?? "");
    this.#enqueue(series);
  }

  /** Happenings of one millisecond stay in their order. */
  #nextTime(): string {
    const wallMs = this.#clock.wallMs();
    this.#sequence = wallMs === this.#lastWallMs ? Math.min(this.#sequence + 1, 999) : 0;
    this.#lastWallMs = wallMs;
    return microTime(wallMs).replace(/\d{3}Z$/, `${String(this.#sequence).padStart(3, "0")}Z`);
  }

  #build(happening: Happening, time: string): Event {
    const regarding = referenceOf(happening.regarding);
    // The name must stay a DNS name, which ends in a letter or digit before each dot.
    const name = (regarding.name ?? "unknown").slice(0, 200).replace(/[^a-z0-9]+$/, "");
    return {
      apiVersion: EVENTS.apiVersion,
      kind: EVENTS.kind,
      metadata: {
        // What is listed comes by name, and `kubectl describe` keeps that order: it begins with the time.
        name: `${name}.${Date.parse(time).toString(16)}${time.slice(-4, -1)}${randomBytes(4).toString("hex")}`,
        namespace: regarding.namespace ?? "default",
      },
      eventTime: time,
      reportingController: this.#options.controller,
      reportingInstance: this.#options.instance.slice(0, 128),
      action: happening.action.slice(0, 128),
      reason: happening.reason.slice(0, 128),
      regarding,
      ...(happening.related === undefined ? {} : { related: referenceOf(happening.related) }),
      note: happening.note.length > NOTE_LIMIT ? `${happening.note.slice(0, NOTE_LIMIT - 1)}…` : happening.note,
      type: happening.type,
    };
  }

  /** A token bucket for each object and reason. */
  #allowed(event: Event, now: number): boolean {
    const { burst = 10, refillMs = 30_000 } = this.#options;
    const key = JSON.stringify([event.regarding.kind, event.regarding.namespace, event.regarding.name, event.reason]);
    const bucket = this.#buckets.get(key) ?? { tokens: burst, atMs: now };
    const tokens = Math.min(burst, bucket.tokens + (now - bucket.atMs) / refillMs);
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: tokens >= 1 ? tokens - 1 : tokens, atMs: now });
    if (this.#buckets.size > SERIES_LIMIT) this.#buckets.delete(this.#buckets.keys().next().value ?? "");
    return tokens >= 1;
  }

  #enqueue(series: Series): void {
    if (series.queued) return;
    if (this.#queue.length >= QUEUE_LIMIT) {
      dropped.inc({ why: "QueueFull" });
      return;
    }
    series.queued = true;
    this.#queue.push(series);
    this.#writer ??= this.#write().finally(() => {
      this.#writer = undefined;
    });
  }

  /** Looks for series whose count has grown, until there are none. */
  async #flush(): Promise<void> {
    const { seriesMs = 10_000 } = this.#options;
    try {
      for (;;) {
        await this.#clock.sleep(seriesMs, this.#stopping.signal);
        let open = false;
        for (const series of this.#series.values()) {
          if (series.count === series.writtenCount) continue;
          open = true;
          if (this.#clock.elapsedMs() - series.writtenMs >= seriesMs) this.#enqueue(series);
        }
        if (!open) break;
      }
    } catch {
      // stopped
    } finally {
      this.#flusher = undefined;
    }
  }

  async #write(): Promise<void> {
    for (let series = this.#queue.shift(); series !== undefined; series = this.#queue.shift()) {
      series.queued = false;
      await this.#writeOne(series);
    }
  }

  async #writeOne(series: Series): Promise<void> {
    for (let failures = 1; ; failures += 1) {
      const { count, lastTime } = series;
      try {
        await this.#send(series, count, lastTime);
        series.created = true;
        series.writtenCount = count;
        series.writtenMs = this.#clock.elapsedMs();
        emitted.inc({ reason: series.event.reason });
        return;
      } catch (error) {
        const problem = classify(error);
        if (problem instanceof NotFoundError && series.created) series.created = false;
        else if (
          problem.class !== "transient" ||
          failures >= TRIES ||
          problem instanceof NotFoundError ||
          this.#stopping.signal.aborted
        ) {
          dropped.inc({ why: problem.reason });
          series.writtenCount = count;
          this.#log.warn({ reason: problem.reason, event: series.event.reason }, problem.message);
          return;
        }
        await this.#clock.sleep(backoffMs(failures, RETRY), this.#stopping.signal).catch(() => {});
      }
    }
  }

  async #send(series: Series, count: number, lastObservedTime: string): Promise<void> {
    const { client } = this.#options;
    const { event } = series;
    const repeated = count > 1 ? { series: { count, lastObservedTime } } : {};
    if (!series.created) {
      await client.create(EVENTS, { ...event, ...repeated }).catch((error: unknown) => {
        // Ours, from a try whose answer was lost: the name is random.
        if (classify(error).reason !== "AlreadyExists") throw error;
      });
      return;
    }
    const key = { namespace: event.metadata.namespace ?? "default", name: event.metadata.name };
    await client.mergePatch(EVENTS, key, repeated, { fieldManager: this.#options.controller });
  }
}

function referenceOf(object: KubeObject | ObjectReference): ObjectReference {
  if (!("metadata" in object)) return object;
  const { name, namespace, uid } = object.metadata;
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
  };
}
