import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import type { Clock } from "../../clock.ts";
import { CRM_HOLDER } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { ConflictError, type KubeApi, type Lease } from "../../kube/index.ts";
import { DEFAULT_LRM_PARAMETERS } from "../ha/index.ts";
import { Lrm, type LrmSurroundings, NodeLease, WorkTable } from "./index.ts";

/** One Lease on a server that can be away: writes are compare-and-swap, and one that the CRM holds is not the agent's to write. */
class LeaseServer {
  away = false;
  lease: Lease | undefined;
  readonly writtenAt: number[] = [];
  now = () => 0;
  #revision = 0;

  put(lease: Lease): Lease {
    this.#revision += 1;
    this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion: `${this.#revision}` } };
    return this.lease;
  }

  /** The CRM's fence. */
  take(): void {
    assert.ok(this.lease);
    this.put({ ...this.lease, spec: { ...this.lease.spec, holderIdentity: CRM_HOLDER, leaseTransitions: 2 } });
  }

  get api(): Pick<KubeApi, "get" | "create" | "replace"> {
    const save = (lease: Lease): Lease => {
      this.writtenAt.push(this.now());
      return this.put(lease);
    };
    return {
      get: async () => {
        this.#check();
        return this.lease;
      },
      create: async (_type: unknown, lease: Lease) => {
        this.#check();
        return save(lease);
      },
      replace: async (_type: unknown, lease: Lease) => {
        this.#check();
        if (this.lease === undefined || this.lease.metadata.resourceVersion !== lease.metadata.resourceVersion)
          throw new ConflictError("transient", "Conflict", "the Lease has changed", []);
        if (this.lease.spec?.holderIdentity === CRM_HOLDER)
          throw new QuorateError("environment", "Forbidden", "the Lease was taken by the controllers");
        return save(lease);
      },
    } as unknown as Pick<KubeApi, "get" | "create" | "replace">;
  }

  #check(): void {
    if (this.away) throw new QuorateError("transient", "ApiServerTimeout", "the API server is away");
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
  parts.server.now = () => now;
  let expiring = false;
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
      renewalGoodMs: 10_000,
      clock,
    }),
    work: new WorkTable({ start: async () => {}, stop: async () => {}, move: async () => {} }, clock, log, () => {}),
    look: async () => ({
      quorate: true,
      membership: "{}",
      storeReadable: true,
      watchdog: { armed: parts.armed(), expiring },
      services: {},
      strays: [],
      disarmed: false,
      maintenance: false,
      ...at(Math.floor(now / 1000)),
    }),
    keeper: {
      arm: async () => {},
      disarm: async () => parts.disarm(now / 1000),
      expire: async () => {
        expiring = true;
        parts.expired?.(now / 1000);
      },
    },
    report: async () => {},
    onMode: () => {},
    onEvent: () => {},
    parameters: DEFAULT_LRM_PARAMETERS,
    renewIntervalMs: 2_000,
    fenceDelayMs: () => parts.fenceDelayMs,
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
  readonly expired?: (second: number) => void;
  readonly fenceDelayMs?: number;
}

const web = {
  state: "Started",
  node: "n1",
  command: { uid: "u1" },
  maxRestart: 0,
  owner: "n1",
  running: true,
  canMoveLive: false,
} as const;

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

describe("the LRM and its Lease", () => {
  const guarding = (server: LeaseServer, expired: number[]): Parts => ({
    server,
    armed: () => true,
    disarm: () => {},
    expired: (second) => expired.push(second),
  });

  it("orders the reset as soon as it reads that the Lease was taken, while the CRM still holds it", async () => {
    const server = new LeaseServer();
    const expired: number[] = [];
    const at = (second: number) => {
      server.away = second >= 5 && second < 40;
      if (second === 30 && server.lease?.spec?.holderIdentity !== CRM_HOLDER) server.take();
      return { services: { web }, storeReadable: !server.away };
    };
    await live(60, at, guarding(server, expired));
    assert.equal(expired.length, 1);
    assert.ok((expired[0] ?? 0) >= 40 && (expired[0] ?? 0) < 45, `${expired}`);
  });

  it("takes no order from what it had read before the API server went away", async () => {
    const server = new LeaseServer();
    const expired: number[] = [];
    await live(
      60,
      (second) => {
        server.away = second >= 5;
        return { services: { web }, storeReadable: !server.away };
      },
      guarding(server, expired),
    );
    assert.deepEqual(expired, []);
  });

  it("holds on, under the same epoch, when somebody deletes the Lease of a healthy host", async () => {
    const server = new LeaseServer();
    const expired: number[] = [];
    let deleted = false;
    await live(
      30,
      (second) => {
        if (second === 10 && !deleted) server.lease = undefined;
        deleted ||= second === 10;
        return { services: { web } };
      },
      guarding(server, expired),
    );
    assert.deepEqual(expired, []);
    assert.equal(server.lease?.spec?.holderIdentity, "n1/b1");
    assert.equal(server.lease?.spec?.leaseTransitions, 1);
  });

  it("does not hold on to a deleted Lease that the CRM could have taken before: it was not renewed for too long", async () => {
    const server = new LeaseServer();
    const expired: number[] = [];
    let deleted = false;
    await live(
      40,
      (second) => {
        server.away = second >= 5 && second < 30;
        if (second === 25 && !deleted) server.lease = undefined;
        deleted ||= second === 25;
        return { services: { web }, storeReadable: !server.away };
      },
      guarding(server, expired),
    );
    assert.equal(expired.length, 1, "it is not known what happened to the guests meanwhile");
  });

  it("says some words in a row when a proof could end that began with its present membership", async () => {
    const server = new LeaseServer();
    const parts: Parts = { ...guarding(server, []), fenceDelayMs: 20_000 };
    await live(60, (second) => ({ membership: second < 10 ? "{}" : '{"ringId":"2"}' }), parts);
    const changedAt = server.writtenAt.find((at) => at >= 10_000) ?? 0;
    const closing = server.writtenAt.filter((at) => at >= changedAt + 20_000 && at <= changedAt + 20_500);
    assert.ok(closing.length >= 4, `${server.writtenAt}`);
    assert.ok((closing[0] ?? 0) - changedAt - 20_000 <= 100);
    const later = server.writtenAt.filter((at) => at > changedAt + 23_000);
    assert.ok(later.length <= 16, "and is as quiet as before afterwards");
  });
});
