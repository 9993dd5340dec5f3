/** What a simulated world prints: one JSON object for each event, in the order in which they happened. */

import type { LrmEvent } from "../agent/ha/index.ts";
import type { HaEvent } from "../controllers/ha/index.ts";

export interface SimEvent {
  readonly i: number;
  readonly t: number;
  readonly actor?: "coordinator" | "agent" | "env" | "keeper";
  readonly at?: string;
  readonly class: string;
  readonly kind: string;
  readonly subject?: string;
  readonly [field: string]: unknown;
}

export class Recorder {
  readonly events: SimEvent[] = [];
  /** Told of each event. */
  onEvent: ((event: SimEvent) => void) | undefined;

  /** @param t virtual seconds. */
  add(t: number, event: Readonly<Record<string, unknown>> & { readonly class: string; readonly kind: string }): void {
    const added: SimEvent = { i: this.events.length, t: Math.round(t * 1000) / 1000, ...event };
    this.events.push(added);
    this.onEvent?.(added);
  }

  addStepEvents(
    t: number,
    actor: "coordinator" | "agent",
    at: string | undefined,
    events: readonly (HaEvent | LrmEvent)[],
  ): void {
    for (const event of events) {
      const { next, ...data } = event.data;
      this.add(t, {
        actor,
        ...(at === undefined ? {} : { at }),
        class: event.class,
        kind: event.kind,
        ...(event.subject === undefined ? {} : { subject: event.subject }),
        ...data,
        // biome-ignore lint/suspicious/noThenProperty: the scenario format names it so, and nothing awaits an event
        ...(next === undefined ? {} : { then: next }),
        ...(event.level === "info" ? {} : { level: event.level }),
      });
    }
  }
}
