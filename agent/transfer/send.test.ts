import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { test } from "node:test";
import { setImmediate as soon } from "node:timers/promises";
import { systemClock } from "../../clock.ts";
import type { QuorateError } from "../../errors.ts";
import { STALL_MS } from "./child.ts";
import type { Connection } from "./connection.ts";
import { sendStream } from "./send.ts";

/** A receiver that is alive and says nothing. */
const connection = {
  keepAlive: () => () => undefined,
  sendData: async () => undefined,
  sendFrame: async () => undefined,
  send: async () => undefined,
  reader: { next: () => new Promise(() => undefined) },
} as unknown as Connection;

test("a producer that waits for a hung disk, which no kill ends, is a stalled storage", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  // A process of the child keeps the pipe open when the child is killed.
  let child: ChildProcess | undefined;
  const produce = () => {
    child = spawn("sh", ["-c", "printf begun; sleep 30 & echo $! >&2; wait"], { stdio: ["ignore", "pipe", "pipe"] });
    return child;
  };
  let left: number | undefined;
  const options = {
    job: "100-0",
    volume: { vmid: 100, volume: "root", storage: "tank" },
    toGuid: "42",
    produce,
    failure: (error: QuorateError) => error,
  };
  const begun = Promise.withResolvers<void>();
  const sent = sendStream(connection, { ...options, onBytes: () => begun.resolve() }, systemClock);
  const outcome = assert.rejects(sent, { reason: "StorageStalled", class: "environment" });
  child?.stderr?.once("data", (pid: string) => (left = Number(pid)));
  await begun.promise;
  for (let i = 0; i < 5; i++) await soon();
  t.mock.timers.tick(STALL_MS);
  await outcome;
  if (left !== undefined) process.kill(left);
});
