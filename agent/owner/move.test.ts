import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { pino } from "pino";
import { API_VERSION, type Guest, withDefaults } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { ManualClock } from "../../kube/testing.ts";
import type { Guests } from "../guests/index.ts";
import { FakeHost } from "../host/index.ts";
import { GuestOwner } from "./index.ts";

const signal = new AbortController().signal;
let calls: string[];
let claims: number;
let fails: QuorateError | undefined;
let bound: string;

beforeEach(() => {
  calls = [];
  claims = 0;
  fails = undefined;
  bound = "n1";
});

function guest(kind: "machine" | "service", volumes: string[]): Guest {
  const spec = {
    vmid: 100,
    resources: { cpu: 1, memory: "96Mi" },
    volumes: volumes.map((name) => ({ name, storage: "tank", size: "64Mi" })),
    ...(kind === "machine" ? { machine: { driver: "QEMU" } } : { service: { unit: "x.service" } }),
  };
  return {
    apiVersion: API_VERSION,
    kind: "Guest",
    metadata: { name: "web1", namespace: "lab", uid: "u1" },
    ...(withDefaults("Guest", { spec }) as Pick<Guest, "spec">),
    status: { node: "n1", volumes: [{ name: "root" }] },
  };
}

async function move(object: Guest, clock = new ManualClock()): Promise<void> {
  using host = new FakeHost();
  const owner = new GuestOwner({
    clock,
    log: pino({ level: "silent" }),
    host,
    node: "n1",
    namespace: "lab",
    drivers: () => ({ stop: async () => void calls.push("stop") }) as unknown as Guests,
    cluster: () => undefined,
    guest: () => ({ ...object, spec: { ...object.spec, nodeName: bound } }),
    abortReceives: async () => undefined,
    sendVolumes: async (_, target) => {
      calls.push(`send to ${target}`);
      if (fails !== undefined) throw fails;
    },
    claim: (name, target) => {
      calls.push(`claim ${name} for ${target}`);
      return claims++ < 1 ? undefined : () => void calls.push("release");
    },
  });
  const storage = { shared: false, deactivate: async () => void calls.push("deactivate") };
  Object.assign(owner, { storage: () => storage });
  const moved = owner.move("web1", "n2", "restart", signal);
  moved.catch(() => {});
  await clock.advance(500);
  await moved;
}

const CLAIM = "claim web1 for n2";

describe("a guest that moves", () => {
  it("is stopped only when no run is in the way and its data is there; what it wrote since goes after", async () => {
    await move(guest("machine", ["root"]));
    assert.deepEqual(calls, [CLAIM, CLAIM, "send to n2", "stop", "send to n2", "deactivate", "release"]);
  });

  it("is not stopped when its data can't be brought there", async () => {
    fails = new QuorateError("user", "TargetModified", "n2 has an old disk");
    await assert.rejects(move(guest("machine", ["root"])), { reason: "TargetModified" });
    assert.deepEqual(calls, [CLAIM, CLAIM, "send to n2", "release"]);
  });

  it("is not sent as it runs when it is a service with several volumes, which can't be paused", async () => {
    await move(guest("service", ["root", "data"]));
    assert.deepEqual(calls.slice(2, 4), ["stop", "send to n2"]);
    calls = [];
    claims = 0;
    await move(guest("service", ["root"]));
    assert.deepEqual(calls.slice(2, 4), ["send to n2", "stop"]);
  });

  it("is not stopped here when it was bound elsewhere meanwhile", async () => {
    const clock = new ManualClock();
    const sleep = clock.sleep.bind(clock);
    clock.sleep = async (...args) => {
      await sleep(...args);
      bound = "n3";
    };
    await assert.rejects(move(guest("machine", ["root"]), clock), { reason: "WrongNode" });
    assert.deepEqual(calls, [CLAIM, CLAIM, "release"]);
  });
});
