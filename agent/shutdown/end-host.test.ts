import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { pino } from "pino";
import type { Clock } from "../../clock.ts";
import { FakeHost } from "../host/index.ts";
import { endHost } from "./end-host.ts";
import { answerShutdown, readShutdownRequest } from "./request.ts";

const log = pino({ level: "silent" });
const REBOOT = "  12 reboot.target   start waiting\n  99 web.service stop running\n";

/** A host in virtual time: `agent` is asked at each step what it does at that second. */
function world(given: {
  jobs?: string;
  machines?: string[];
  armed?: boolean;
  agent?: (second: number) => { beat: number; done: boolean } | undefined;
}) {
  const host = new FakeHost()
    .on(["systemctl", "list-jobs"], given.jobs ?? REBOOT)
    .on(["systemctl", "is-system-running"], { stdout: "running\n", exitCode: 0 });
  let machines = given.machines ?? [];
  let now = 1_000_000;
  const began = now;
  const did: string[] = [];
  const clock: Clock = {
    elapsedMs: () => now,
    wallMs: () => now,
    async sleep(ms) {
      now += ms;
      const answer = given.agent?.(Math.floor((now - began) / 1000));
      if (answer !== undefined) await answerShutdown(host, answer);
    },
  };
  return {
    host,
    did,
    seconds: () => Math.round((now - began) / 1000),
    parts: {
      host,
      clock,
      log,
      guests: {
        running: async () => machines,
        stopMachines: async () => {
          did.push(`stop ${machines.length}`);
          machines = machines.filter((name) => name.startsWith("hung"));
        },
      },
      keeper: {
        status: async () => ({ armed: given.armed ?? true }),
        disarm: async () => void did.push("disarm"),
      },
    },
  };
}

describe("the shutdown of a host", () => {
  it("does nothing where the unit is only stopped", async () => {
    const { parts, host, did } = world({ jobs: "  7 quorate-shutdown.service stop running\n", machines: ["lab.web1"] });
    using _ = host;
    await endHost(parts);
    assert.deepEqual(did, []);
    assert.equal(await readShutdownRequest(host), undefined);
  });

  it("waits as long as the agent is at it, and leaves the watchdog to its word", async () => {
    const { parts, host, did, seconds } = world({
      machines: ["lab.web1"],
      agent: (second) => ({ beat: second, done: second >= 200 }),
    });
    using _ = host;
    await endHost(parts);
    assert.deepEqual(await readShutdownRequest(host), { kind: "reboot" });
    assert.equal(seconds(), 200);
    assert.deepEqual(did, ["stop 1"]); // a machine that is not under HA
  });

  it("stops the machines in order and closes the watchdog where no agent answers", async () => {
    const { parts, host, did, seconds } = world({ machines: ["lab.web1", "lab.web2"] });
    using _ = host;
    await endHost(parts);
    assert.equal(seconds(), 30);
    assert.deepEqual(did, ["stop 2", "disarm"]);
  });

  it("takes an agent that stopped answering for lost", async () => {
    const { parts, host, did, seconds } = world({
      machines: ["lab.web1"],
      agent: (second) => (second < 50 ? { beat: second, done: false } : undefined),
    });
    using _ = host;
    await endHost(parts);
    assert.ok(seconds() >= 79 && seconds() <= 81, `${seconds()}`);
    assert.deepEqual(did, ["stop 1", "disarm"]);
  });

  it("leaves the watchdog armed where a guest does not end, or it is not known", async () => {
    const hung = world({ machines: ["hung"] });
    using _ = hung.host;
    await endHost(hung.parts);
    assert.deepEqual(hung.did, ["stop 1"]);
    const unknown = world({});
    using __ = unknown.host;
    unknown.parts.guests.running = async () => {
      throw new Error("systemd does not answer");
    };
    await endHost(unknown.parts);
    assert.deepEqual(unknown.did, ["stop 0"]);
  });

  it("waits a moment only where nothing runs and nothing is armed", async () => {
    const { parts, host, seconds, did } = world({ armed: false });
    using _ = host;
    await endHost(parts);
    assert.ok(seconds() <= 5, `${seconds()}`);
    assert.deepEqual(did, ["stop 0"]);
  });

  it("waits twelve minutes at most", async () => {
    const { parts, host, seconds } = world({ agent: (second) => ({ beat: second, done: false }) });
    using _ = host;
    await endHost(parts);
    assert.equal(seconds(), 720);
  });
});
