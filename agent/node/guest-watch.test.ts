import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import { systemClock } from "../../clock.ts";
import type { Guest, GuestStatus } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { GuestProcess, GuestState, Guests } from "../guests/index.ts";
import { GuestWatch } from "./guest-watch.ts";

const guest = (name: string, nodeName = "n1"): Guest => ({
  apiVersion: "quorate.dev/v1alpha1",
  kind: "Guest",
  metadata: { name, namespace: "lab" },
  spec: {
    nodeName,
    onBoot: false,
    startDelaySeconds: 0,
    resources: { cpu: 1, memory: "16Mi" },
    service: { unit: `${name}.service` },
  },
});

/** A host that answers when told to. */
class SlowHost {
  readonly asked: string[][] = [];
  readonly known = new Set<string>();
  readonly #answers: (() => void)[] = [];
  state: GuestState = "Running";
  startedAt = "2026-11-21T00:00:00Z";

  readonly drivers = {
    listRunning: async () => [],
    knownServices: async () => [...this.known],
    states: async (guests: readonly GuestProcess[]) => {
      this.asked.push(guests.map(({ name }) => name));
      const { state, startedAt } = this;
      await new Promise<void>((resolve) => void this.#answers.push(resolve));
      return guests.map(() => (state === "Running" ? { state, startedAt } : { state }));
    },
  } as unknown as Guests;

  async answer(): Promise<void> {
    while (this.#answers.length === 0) await new Promise((resolve) => setImmediate(resolve));
    this.#answers.shift()?.();
  }
}

function watch(host: SlowHost, guests: readonly Guest[], client = {} as KubeClient): GuestWatch {
  return new GuestWatch({
    node: "n1",
    namespace: "lab",
    client,
    clock: systemClock,
    log: pino({ level: "silent" }),
    drivers: host.drivers,
    guests: () => guests,
    usage: () => undefined,
    onChange: () => undefined,
  });
}

describe("the look at the guests of a host", () => {
  it("asks for all that belong here with one question", async () => {
    const host = new SlowHost();
    const looks = watch(host, [guest("a"), guest("b"), guest("elsewhere", "n2")]);
    const done = looks.look();
    await host.answer();
    await done;
    assert.deepEqual(host.asked, [["a", "b"]]);
    assert.deepEqual(looks.here(), ["a", "b"]);
  });

  it("sees a service that ran here and is bound elsewhere by now", async () => {
    const host = new SlowHost();
    host.known.add("moved.service");
    const looks = watch(host, [guest("moved", "n2"), guest("elsewhere", "n2")]);
    const done = looks.look();
    await host.answer();
    await done;
    assert.deepEqual(host.asked, [["moved"]]);
    assert.deepEqual(looks.here(), ["moved"]);
    assert.equal(looks.running("moved"), true);
  });

  it("asks once more for all who called meanwhile, and none of them gets the older answer", async () => {
    const host = new SlowHost();
    const looks = watch(host, [guest("a")]);
    const first = looks.look();
    while (host.asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
    host.state = "Stopped";
    const seen: (boolean | "unknown")[] = [];
    const later = Array.from({ length: 20 }, async () => {
      await looks.look();
      seen.push(looks.running("a"));
    });
    await host.answer();
    await first;
    assert.equal(looks.running("a"), true);
    assert.deepEqual(seen, []);
    await host.answer();
    await Promise.all(later);
    assert.deepEqual(new Set(seen), new Set([false]));
    assert.equal(host.asked.length, 2);
  });

  it("goes on after a question that failed", async () => {
    const host = new SlowHost();
    const answer = host.drivers.listRunning;
    host.drivers.listRunning = async () => {
      throw new Error("the bus is away");
    };
    const looks = watch(host, [guest("a")]);
    const [first, second] = [looks.look(), looks.look()];
    await assert.rejects(first, /the bus is away/);
    await assert.rejects(second, /the bus is away/);
    host.drivers.listRunning = answer;
    const third = looks.look();
    await host.answer();
    await third;
    assert.equal(looks.running("a"), true);
  });
});

describe("the status of a guest", () => {
  it("tells since when it runs, or ran last, wherever that was", async () => {
    const host = new SlowHost();
    const object = guest("a");
    const written: GuestStatus[] = [];
    const client = {
      applyStatus: async (_: unknown, { status }: { status: GuestStatus }) => void written.push(status),
    } as unknown as KubeClient;
    const looks = watch(host, [object], client);
    for (const state of ["Running", "Stopped"] as const) {
      host.state = state;
      object.status = {
        ...written.at(-1),
        ...(state === "Stopped" ? { node: "n9", startedAt: "2026-11-22T00:00:00Z" } : {}),
      };
      const done = looks.look();
      await host.answer();
      await done;
      await looks.report();
    }
    assert.deepEqual(
      written.map(({ node, startedAt }) => ({ node, startedAt })),
      [
        { node: "n1", startedAt: "2026-11-21T00:00:00Z" },
        { node: "n9", startedAt: "2026-11-22T00:00:00Z" },
      ],
    );
  });
});
