import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { FakeHost } from "../host/index.ts";
import { type GuestDefinition, Guests } from "./index.ts";

const UNIT = "quorate-guest-lab.web1.service";
const FOLDER = "/run/quorate/guests/lab.web1";
const web1: GuestDefinition = {
  namespace: "lab",
  name: "web1",
  vmid: 100,
  cpus: 1,
  memoryBytes: 0,
  volumes: [],
  machine: {},
};

/** QEMU as far as pausing goes, behind a real socket. */
class PlayedQemu {
  status = "running";
  readonly heard: string[] = [];
  /** How many times it closes the connection instead of going on. */
  deaf = 0;
  /** Answers to `cont` wait for it. */
  slow: Promise<void> = Promise.resolve();
  readonly #server: Server;

  constructor(folder: string) {
    this.#server = createServer((socket) => {
      socket.on("error", () => {});
      socket.write('{"QMP": {"version": {}, "capabilities": []}}\r\n');
      socket.setEncoding("utf8").on("data", (text: string) => {
        for (const line of text.split("\n").filter(Boolean)) void this.#answer(JSON.parse(line), socket);
      });
    });
    // The path of a socket may have 107 bytes only.
    const cwd = process.cwd();
    process.chdir(folder);
    this.#server.listen("qmp.sock");
    process.chdir(cwd);
  }

  async #answer({ execute, id }: { execute: string; id: number }, socket: Socket): Promise<void> {
    if (execute === "stop" || execute === "cont") this.heard.push(execute);
    if (execute === "stop") this.status = "paused";
    if (execute === "cont") {
      if (this.deaf > 0) {
        this.deaf -= 1;
        socket.destroy();
        return;
      }
      await this.slow;
      this.status = "running";
    }
    const answer = execute === "query-status" ? { status: this.status } : {};
    socket.write(`${JSON.stringify({ return: answer, id })}\r\n`);
  }

  close(): void {
    this.#server.close();
  }
}

let host: FakeHost;
let qemu: PlayedQemu;
let guests: Guests;
const isMarked = () => existsSync(host.path(`${FOLDER}/paused-by-agent`));

beforeEach(() => {
  host = new FakeHost()
    .on(["systemctl", "show"], `Id=${UNIT}\nLoadState=loaded\nActiveState=active\nMainPID=42\n`)
    .on(["systemctl", "list-units"], `${UNIT} loaded active running\n`);
  mkdirSync(join(host.path("/"), FOLDER), { recursive: true });
  qemu = new PlayedQemu(host.path(FOLDER));
  guests = new Guests({ host, storage: () => undefined });
});

afterEach(() => {
  mock.timers.reset();
  qemu.close();
  host[Symbol.dispose]();
});

describe("a machine that was paused for a snapshot", () => {
  test("goes on when it hears of it only at another try", async () => {
    const letGo = await guests.quiesce(web1, "Pause");
    assert.equal(qemu.status, "paused");
    qemu.deaf = 2;
    await letGo();
    assert.equal(qemu.status, "running");
    assert.equal(isMarked(), false);
  });

  test("has as long for going on as for pausing", async () => {
    const letGo = await guests.quiesce(web1, "Pause");
    const answer = Promise.withResolvers<void>();
    qemu.slow = answer.promise;
    mock.timers.enable({ apis: ["setTimeout"] });
    const done = letGo();
    while (qemu.heard.at(-1) !== "cont") await new Promise((resolve) => setImmediate(resolve));
    mock.timers.tick(14_000);
    answer.resolve();
    await done;
    assert.deepEqual(qemu.heard, ["stop", "cont"]);
  });

  test("and hears of nothing is told of, and goes on when somebody looks for those", async () => {
    const letGo = await guests.quiesce(web1, "Pause");
    assert.deepEqual(await guests.resumeForgotten(), [], "a snapshot holds it");
    assert.equal(qemu.status, "paused");
    qemu.deaf = 4;
    await assert.rejects(letGo(), { reason: "NotResumed", class: "transient", message: /"web1" was paused/ });
    assert.deepEqual(await guests.resumeForgotten(), [], "still deaf");
    assert.equal(isMarked(), true);
    assert.deepEqual(await guests.resumeForgotten(), ["lab.web1"]);
    assert.equal(qemu.status, "running");
    assert.deepEqual(await guests.resumeForgotten(), []);
  });

  test("and forgotten, is paused by the next snapshot as if it ran, and goes on after it", async () => {
    const letGo = await guests.quiesce(web1, "Pause");
    qemu.deaf = 3;
    await assert.rejects(letGo());
    const again = await guests.quiesce(web1, "Pause");
    assert.deepEqual(await guests.resumeForgotten(), []);
    assert.equal(qemu.status, "paused");
    await again();
    assert.equal(qemu.status, "running");
  });

  test("is paused for one snapshot at a time", async () => {
    const letGo = await guests.quiesce(web1, "Pause");
    await assert.rejects(guests.quiesce(web1, "Pause"), { reason: "Locked" });
    assert.equal(qemu.status, "paused");
    await letGo();
    await (await guests.quiesce(web1, "Pause"))();
  });

  test("by a person stays paused", async () => {
    qemu.status = "paused";
    await (await guests.quiesce(web1, "Pause"))();
    assert.deepEqual(await guests.resumeForgotten(), []);
    assert.equal(qemu.status, "paused");
    assert.deepEqual(qemu.heard, []);
  });
});
