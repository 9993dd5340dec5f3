import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { QuorateError } from "../../errors.ts";
import type { VolumeRef } from "../storage/index.ts";
import { until, zfsFuseMissing } from "../storage/testing/index.ts";
import { type ReplicationParts, replicate } from "./index.ts";
import { checksum, scribble, shell, snapshots, TwoNodes, volumeRef } from "./testing/index.ts";

const skip = zfsFuseMissing();
const MIB = 1024 * 1024;
const job = "100-0";
const [root, data] = [volumeRef("root"), volumeRef("data")];
const volumes: readonly VolumeRef[] = [root, data];

let lab: TwoNodes;

before(async () => {
  if (skip) return;
  lab = await TwoNodes.start();
  for (const volume of volumes) {
    await lab.n1.storage.ensureVolume(volume, { sizeBytes: 2 * MIB });
    await scribble(lab.n1, volume, { mib: 1 });
  }
  await lab.n1.zfs.zfs("snapshot", "tank/guests/vm-100-root@mine");
});

after(async () => {
  if (!skip) await lab[Symbol.asyncDispose]();
});

const run = (parts: ReplicationParts) => replicate({ job, source: "n1", target: "n2", volumes }, parts);

/**
 * An agent that is killed right after the effect with this number happened: nothing it does afterwards has an effect.
 * Before an effect is after the one before it, for a run keeps nothing but what the storages hold.
 */
class Killer {
  readonly effects: string[] = [];
  readonly #after: number;
  #dead: boolean;

  constructor(after: number) {
    this.#after = after;
    this.#dead = after < 0;
  }

  parts(parts: ReplicationParts): ReplicationParts {
    const tank = parts.storage("tank");
    assert.ok(tank?.replication);
    const storage = Object.assign(Object.create(tank), {
      replication: this.#around(tank.replication, "source"),
      inspect: (ids: readonly VolumeRef[]) => this.#effect("source.inspect", () => tank.inspect(ids)),
    });
    return {
      ...parts,
      storage: (name) => (name === "tank" ? storage : undefined),
      target: this.#around(parts.target, "target"),
      quiesce: (level) =>
        this.#effect("quiesce", async () => {
          const letGo = await parts.quiesce(level);
          return () => this.#effect("let go", letGo);
        }),
      record: (success) => this.#effect("record", () => parts.record(success)),
    };
  }

  async #effect<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#dead) throw new QuorateError("bug", "Killed", "the agent was killed");
    this.effects.push(name);
    if (this.effects.length > this.#after) this.#dead = true;
    const result = await work();
    if (this.#dead) throw new QuorateError("bug", "Killed", "the agent was killed");
    return result;
  }

  #around<T extends object>(subject: T, prefix: string): T {
    return new Proxy(subject, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== "function") return value;
        if (key === "sendCommand" || key === "failure") return value.bind(target);
        return (...args: unknown[]) => this.#effect(`${prefix}.${String(key)}`, () => value.apply(target, args));
      },
    });
  }
}

/** One more run, which must put everything right. */
async function nextRunIsRight(context: string): Promise<void> {
  const next = await run(lab.parts(lab.n1, lab.n2));
  assert.ok(next.outcome === "Succeeded", `${context}: ${JSON.stringify(next, undefined, 1)}`);
  for (const volume of volumes) {
    assert.equal(
      await checksum(lab.n2, volume),
      await checksum(lab.n1, volume),
      `${context}: ${volume.volume} differs`,
    );
    const mine = volume === root ? ["mine"] : [];
    assert.deepEqual(await snapshots(lab.n1, volume), [...mine, next.snapshot], context);
    assert.deepEqual(await snapshots(lab.n2, volume), [next.snapshot], context);
  }
}

for (const history of ["the first run", "a later run"] as const) {
  test(`the agent is killed after every step of ${history}: the next run is right, and nothing is lost`, {
    skip,
  }, async () => {
    const prepare = async () => {
      if (history === "the first run")
        for (const volume of volumes) await lab.n2.storage.replication?.destroyReplica(volume, job);
      for (const volume of volumes) await scribble(lab.n1, volume, { mib: 1, at: 1 });
    };
    if (history === "a later run") await nextRunIsRight("before");
    await prepare();
    const counted = new Killer(1_000);
    assert.equal((await run(counted.parts(lab.parts(lab.n1, lab.n2)))).outcome, "Succeeded");
    assert.ok(
      counted.effects.includes("let go") &&
        counted.effects.includes("source.destroySnapshots") === (history === "a later run"),
      counted.effects.join(" "),
    );

    for (const [after, name] of counted.effects.entries()) {
      await prepare();
      const killer = new Killer(after);
      const broken = await run(killer.parts(lab.parts(lab.n1, lab.n2)));
      const recorded = killer.effects.slice(0, after).includes("record");
      assert.equal(broken.outcome === "Succeeded" || broken.reason, recorded || "Killed", `killed after ${name}`);
      await nextRunIsRight(`killed after ${name} (${after})`);
    }
  });
}

test("the process of the agent is killed in the middle of the stream: nothing remains of it, the next run is right", {
  skip,
}, async () => {
  for (const volume of volumes) await scribble(lab.n1, volume, { mib: 1 });
  const script = fileURLToPath(new URL("testing/run-in-process.ts", import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "inherit", "inherit"] });
  child.stdin.end(
    JSON.stringify({
      holder: lab.n1.zfs.holder,
      identity: lab.n1.identity,
      port: lab.n2.server.port,
      request: { job, source: "n1", target: "n2", volumes, bytesPerSecond: 200_000 },
    }),
  );
  const commands = () => shell(lab.n2, "pgrep -fc '^zfs (receive|send) .*vm-100-' || true");
  await until("both ends of the stream", async () => (await commands()) === "2");
  child.kill("SIGKILL");
  await until("the end of both ends", async () => (await commands()) === "0");
  await nextRunIsRight("the process was killed");
});
