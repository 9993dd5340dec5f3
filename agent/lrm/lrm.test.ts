import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import type { Clock } from "../../clock.ts";
import type { KubeApi, Lease } from "../../kube/index.ts";
import { DEFAULT_LRM_PARAMETERS } from "../ha/index.ts";
import { Lrm, type LrmSurroundings, NodeLease, WorkTable } from "./index.ts";

/** One Lease on a server that can be away. */
class LeaseServer {
  away = false;
  lease: Lease | undefined;
  #revision = 0;
  get api(): Pick<KubeApi, "get" | "create" | "replace"> {
    const save = (lease: Lease): Lease => {
      this.#check();
      this.#revision += 1;
      this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: `${this.#revision}` } };
      return this.lease;
    };
    return {
      get: async () => {
        this.#check();
        return this.lease;
      },
      create: async (_type: unknown, lease: Lease) => save(lease),
      replace: async (_type: unknown, lease: Lease) => save(lease),
    } as unknown as Pick<KubeApi, "get" | "create" | "replace">;
  }
  #check(): void {
    if (this.away) throw new Error("the API server is away");
  }
}

/** Rounds are one virtual second each; `at` is what is around then. */
async function live(seconds: number, at: (second: number) => Partial<LrmSurroundings>, parts: Parts): Promise<Lrm> {
  const stop = new AbortController();
  let now = 0;
  const clock: Clock = {
    elapsedMs: () => now,
    wallMs: () => 1_795_222_800_000 + now,
    async sleep(ms) {
      now += ms;
      if (now >= seconds * 1000) stop.abort();
    },
  };
  const log = pino({ level: "silent" });
  const lrm = new Lrm({
    node: "n1",
    clock,
    log,
    lease: new NodeLease({
      client: parts.server.api,
      namespace: "lab",
      node: "n1",
      bootId: "b1",
      leaseSeconds: 15,
      clock,
    }),
    work: new WorkTable({ start: async () => {}, stop: async () => {}, move: async () => {} }, clock, log, () => {}),
    look: async () => ({
      quorate: true,
      membership: "{}",
      storeReadable: true,
      watchdog: { armed: parts.armed(), expiring: false },
      services: {},
      strays: [],
      disarmed: false,
      maintenance: false,
      ...at(Math.floor(now / 1000)),
    }),
    keeper: { arm: async () => {}, disarm: async () => parts.disarm(now / 1000), expire: async () => {} },
    report: async () => {},
    onMode: () => {},
    onEvent: () => {},
    parameters: DEFAULT_LRM_PARAMETERS,
    renewIntervalMs: 2_000,
    leaseMs: 10_000,
    knownResults: {},
  });
  await lrm.run(stop.signal);
  return lrm;
}

interface Parts {
  readonly server: LeaseServer;
  readonly armed: () => boolean;
  readonly disarm: (second: number) => void;
}

const goesDown = { shutdown: { kind: "power-off", policy: "conditional" } } as const;

describe("the LRM of a host that goes down", () => {
  it("tries the last things again until they are done, and has not ended before", async () => {
    const server = new LeaseServer();
    const tried: number[] = [];
    let armed = true;
    const parts: Parts = {
      server,
      armed: () => armed,
      disarm: (second) => {
        tried.push(second);
        if (second < 8) throw new Error("the keeper is away");
        armed = false;
      },
    };
    const running = live(7, (second) => (second < 3 ? {} : goesDown), parts);
    assert.equal((await running).exited, false);
    assert.ok(tried.length >= 3);
    const server2 = new LeaseServer();
    const ended = await live(20, (second) => (second < 3 ? {} : goesDown), { ...parts, server: server2 });
    assert.equal(armed, false);
    assert.equal(ended.exited, true);
    assert.equal(server2.lease?.spec?.holderIdentity ?? "", "");
  });

  it("has ended a quarter of a minute later without them, where the API server stays away", async () => {
    const server = new LeaseServer();
    const parts: Parts = { server, armed: () => false, disarm: () => {} };
    const at = (second: number) => {
      server.away = second >= 3;
      return second < 3 ? {} : { ...goesDown, storeReadable: false };
    };
    assert.equal((await live(12, at, parts)).exited, false);
    assert.equal((await live(40, at, { ...parts })).exited, true);
    assert.match(server.lease?.spec?.holderIdentity ?? "", /^n1\//);
  });

  it("never pays at the end what an earlier idle hour owed: guests may run again by then", async () => {
    const server = new LeaseServer();
    const disarmed: number[] = [];
    const web = {
      state: "Started",
      node: "n1",
      command: { uid: "u1" },
      maxRestart: 0,
      owner: "n1",
      running: true,
      canMoveLive: false,
    } as const;
    const parts: Parts = {
      server,
      armed: () => true,
      disarm: (second) => {
        disarmed.push(second);
        throw new Error("the keeper is away");
      },
    };
    // Disarmed by the operator for a moment (in vain), then a guest that never ends, then the shutdown.
    const lrm = await live(
      60,
      (second) => {
        if (second < 4) return { disarmed: second >= 2 };
        return { services: { web }, ...(second < 10 ? {} : goesDown) };
      },
      parts,
    );
    assert.equal(lrm.exited, true);
    assert.ok(disarmed.length > 0 && disarmed.every((second) => second < 4), `${disarmed}`);
  });
});
