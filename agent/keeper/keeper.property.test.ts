import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CONFIG, World } from "./testing/world.ts";

/**
 * Random lives of a host: partitions, frozen corosyncs, keepers that die and come back, orders at any moment, disks that
 * fail. The device and systemd behave as the kernel's and the real one.
 */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("tick"), times: fc.integer({ min: 1, max: 6 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("corosync"),
      says: fc.constantFrom("yes", "no", "silent", "slow", "new ring"),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("ask"), op: fc.constantFrom("arm", "arm", "disarm", "expire", "status") }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("keeper dies"), awayMs: fc.integer({ min: 0, max: 6000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pause"), ms: fc.integer({ min: 0, max: 8000 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("disk"), fails: fc.constantFrom("no", "no", "write") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("device"),
      fault: fc.constantFrom("none", "none", "EIO", "ENODEV", "stays active"),
    }),
  },
);

class Life {
  readonly world = new World();
  readonly trace: string[] = [];
  /** When corosync last was asked and said yes: the newest thing a pet can rest on. */
  #lastYesAskedAtMs = Number.NEGATIVE_INFINITY;
  #checked = 0;
  #expired = false;
  #ring = 1;

  async live(steps: readonly { do: string; [key: string]: unknown }[]): Promise<void> {
    for (const one of steps) {
      this.trace.push(JSON.stringify(one));
      await this.#step(one);
      this.#check();
      // A watchdog that was not kept alive resets the host.
      const last = this.world.device.pings.at(-1)?.atMs ?? 0;
      if (this.world.device.isActive && this.world.nowMs - last > CONFIG.timeoutSeconds * 1000) this.#reset();
    }
  }

  async #step(one: { do: string; [key: string]: unknown }): Promise<void> {
    const { world } = this;
    if (one.do === "tick") {
      for (let i = 0; i < Number(one.times); i++) {
        const askedAtMs = world.nowMs;
        if (world.corosync !== "silent" && world.corosync.quorate) this.#lastYesAskedAtMs = askedAtMs;
        await world.tick();
        this.#check();
      }
    } else if (one.do === "corosync") {
      if (one.says === "new ring" || one.says === "no") this.#ring++;
      const takesMs = one.says === "slow" ? 2500 : 20;
      world.corosync =
        one.says === "silent" ? "silent" : { quorate: one.says !== "no", ringId: `1.${this.#ring}`, takesMs };
    } else if (one.do === "ask") {
      const reply = await world.ask(one.op as "arm");
      if (one.op === "expire" && reply.ok) this.#expired = true;
      if (one.op === "arm" && reply.ok && "armed" in reply) {
        assert.equal(world.disk?.armed, true, "said to be armed, but not on the disk");
        assert.ok(world.device.isActive, "said to be armed, but the device is not active");
        assert.ok((reply.timeoutSeconds ?? Number.POSITIVE_INFINITY) <= CONFIG.timeoutSeconds);
      }
      if (one.op === "disarm" && reply.ok) {
        assert.ok(!world.device.isActive, "said to be disarmed, but the device is active");
        assert.ok(
          world.disk?.bootId !== world.bootId || !world.disk.armed,
          "said to be disarmed, but armed on the disk",
        );
      }
    } else if (one.do === "keeper dies") {
      world.killKeeper();
      world.nowMs += Number(one.awayMs);
      world.startKeeper();
    } else if (one.do === "pause") {
      world.nowMs += Number(one.ms);
    } else if (one.do === "disk") {
      world.diskFails = one.fails as "no";
    } else {
      world.device.petFails =
        one.fault === "EIO" || one.fault === "ENODEV"
          ? Object.assign(new Error(String(one.fault)), { code: one.fault })
          : undefined;
      world.device.closeFails = one.fault === "stays active" ? "stays active" : "no";
    }
  }

  #check(): void {
    for (const ping of this.world.device.pings.slice(this.#checked)) {
      const age = ping.atMs - this.#lastYesAskedAtMs;
      // A device that refuses to be closed, or is gone, is closed without the letter, which the kernel takes for a pet.
      const isForced =
        ping.by === "close" && (this.world.device.closeFails !== "no" || this.world.device.petFails !== undefined);
      assert.ok(
        isForced || age <= CONFIG.proofMaxAgeMilliseconds,
        `kept alive by ${ping.by} without a proof: the last yes was ${age} ms old`,
      );
      assert.ok(!this.#expired, `kept alive by ${ping.by} after expire`);
    }
    this.#checked = this.world.device.pings.length;
  }

  #reset(): void {
    this.trace.push("reset");
    this.world.diskFails = "no";
    this.world.device.petFails = undefined;
    this.world.device.closeFails = "no";
    this.world.reset();
    this.#expired = false;
  }
}

test("whatever happens, only a fresh proof keeps the host alive, and what the keeper said stays true", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: "max" }), async (steps) => {
      const life = new Life();
      try {
        await life.live(steps);
      } catch (error) {
        if (error instanceof Error) error.message += `\n${life.trace.join("\n")}`;
        throw error;
      }
    }),
    { numRuns: 3000 },
  );
});
