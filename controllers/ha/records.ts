/**
 * The services of one step: what the step was given, and over it what it changed. Steps are many and change little, so that what did
 * not change is neither copied nor sorted again.
 */
import type { CrmState, ServiceRecord } from "./types.ts";

type Services = CrmState["services"];

/** The sorted ids of what a step returned. */
const sortedIds = new WeakMap<Services, readonly string[]>();

export class Records {
  readonly #before: Services;
  /** Undefined: dropped. */
  readonly #changed = new Map<string, ServiceRecord | undefined>();
  #ids: readonly string[];
  #added: string[] = [];

  constructor(before: Services) {
    this.#before = before;
    this.#ids = sortedIds.get(before) ?? Object.keys(before).sort();
  }

  /** In plain string order, in which all services are handled. */
  get ids(): readonly string[] {
    if (this.#added.length > 0) {
      this.#ids = [...this.#ids, ...this.#added].sort();
      this.#added = [];
    }
    return this.#ids;
  }

  get(id: string): ServiceRecord | undefined {
    if (this.#changed.size > 0) {
      const changed = this.#changed.get(id);
      if (changed !== undefined || this.#changed.has(id)) return changed;
    }
    return this.#before[id];
  }

  has(id: string): boolean {
    return this.get(id) !== undefined;
  }

  /** A change of one that is there. */
  set(id: string, record: ServiceRecord): void {
    this.#changed.set(id, record);
  }

  add(id: string, record: ServiceRecord): void {
    this.set(id, record);
    this.#added.push(id);
  }

  drop(id: string): void {
    this.#changed.set(id, undefined);
    this.#ids = this.ids.filter((other) => other !== id);
  }

  /** Those that are not what the step was given, by id. */
  changed(): [string, ServiceRecord][] {
    const list: [string, ServiceRecord][] = [];
    for (const [id, record] of this.#changed)
      if (record !== undefined && record !== this.#before[id]) list.push([id, record]);
    return list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  }

  /** What the step gives back: the very same where nothing changed. */
  after(): Services {
    if (this.#changed.size === 0) return this.#before;
    const after: Record<string, ServiceRecord> = { ...this.#before };
    for (const [id, record] of this.#changed) {
      if (record === undefined) delete after[id];
      else after[id] = record;
    }
    sortedIds.set(after, this.ids);
    return after;
  }
}
