import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { KeeperClient } from "./client.ts";
import { type KeeperStatus, type Operation, Refused } from "./protocol.ts";
import { listen } from "./server.ts";

const STATUS: KeeperStatus = {
  ok: true,
  armed: false,
  expiring: false,
  device: "/dev/watchdog0",
  quorate: true,
  held: false,
};

describe("the keeper's socket", () => {
  let folder = "";
  let path = "";
  let server: Server;
  const asked: Operation[] = [];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "quorate-keeper-socket-"));
    path = join(folder, "made", "keeper.sock");
    server = await listen(path, async (operation) => {
      asked.push(operation);
      if (operation === "disarm") throw new Refused("ExpireOrdered", "the host was told to reset");
      if (operation === "expire") throw new TypeError("a bug");
      return operation === "hello" ? { ok: true, release: "1.0", protocol: 1, pid: 42 } : STATUS;
    });
  });
  after(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  /** What comes back for these bytes until the other side closes or as many lines came. */
  async function say(bytes: string, lines: number): Promise<string[]> {
    const socket = connect(path).setEncoding("utf8");
    socket.write(bytes);
    let said = "";
    for await (const chunk of socket) {
      said += chunk;
      if (said.split("\n").length > lines) break;
    }
    return said.split("\n").slice(0, -1);
  }

  test("is for root only", () => {
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test("answers the client: who it is, its status, a refusal with its reason", async () => {
    const client = new KeeperClient(path);
    assert.deepEqual(await client.hello(), { ok: true, release: "1.0", protocol: 1, pid: 42 });
    assert.deepEqual(await client.status(), STATUS);
    await assert.rejects(client.disarm(), {
      class: "environment",
      reason: "ExpireOrdered",
      message: /refused to disarm: the host was told to reset/,
    });
    await assert.rejects(client.expire(), { reason: "KeeperError" });
  });

  test("answers several lines in order, and lines that come in pieces", async () => {
    asked.length = 0;
    const replies = await say('{"op":"status"}\n{"op":"hello"}\n', 2);
    assert.deepEqual(asked, ["status", "hello"]);
    assert.match(replies[1] ?? "", /"pid":42/);
    const socket = connect(path).setEncoding("utf8");
    socket.write('{"op":');
    await once(socket, "connect");
    socket.write('"hello"}\n');
    assert.match(String((await once(socket, "data"))[0]), /"pid":42/);
    socket.destroy();
  });

  test("what is not understood is refused and does nothing", async () => {
    asked.length = 0;
    const replies = await say('nonsense\n{"op":"reboot"}\n{"op":7}\nnull\n', 4);
    assert.deepEqual(
      replies.map((line) => JSON.parse(line).reason),
      ["NotJson", "UnknownOperation", "UnknownOperation", "UnknownOperation"],
    );
    assert.deepEqual(asked, []);
  });

  test("a line without end is cut off", async () => {
    assert.deepEqual(
      await say("x".repeat(100_000), 1).catch((error) =>
        [error.code === "EPIPE" || error.code === "ECONNRESET"].filter((v) => !v),
      ),
      [],
    );
  });

  test("a client that leaves without waiting does no harm", async () => {
    for (let i = 0; i < 20; i++) {
      const socket = connect(path);
      socket.write('{"op":"status"}\n');
      await once(socket, "connect");
      socket.destroy();
    }
    assert.equal((await new KeeperClient(path).hello()).pid, 42);
  });

  test("is not taken from a keeper that lives, but from one that died", async () => {
    await assert.rejects(
      listen(path, async () => STATUS),
      /another keeper answers/,
    );
    const stale = join(folder, "stale.sock");
    const die = `require("node:net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", die, stale]);
    assert.ok(statSync(stale).isSocket(), "the dead keeper's socket is left");
    const again = await listen(stale, async () => STATUS);
    assert.equal((await new KeeperClient(stale).status()).ok, true);
    again.close();
  });
});

describe("the client", () => {
  test("does not wait for ever", async () => {
    const folder = mkdtempSync(join(tmpdir(), "quorate-keeper-client-"));
    const path = join(folder, "sock");
    const silent = createServer((socket) => socket.resume()).listen(path);
    await once(silent, "listening");
    await assert.rejects(new KeeperClient(path, { timeoutMs: 100 }).status(), {
      class: "transient",
      reason: "KeeperUnreachable",
      message: /no reply to status within 100 ms/,
    });
    silent.close();
    await assert.rejects(new KeeperClient(join(folder, "none")).status(), {
      class: "transient",
      reason: "KeeperUnreachable",
      message: /ENOENT.*quorate-keeper.service/,
    });
    rmSync(folder, { recursive: true, force: true });
  });
});
