import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { QmpClient, type QmpEvent } from "./index.ts";

const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';
let base: string;
let folder: string;
let server: Server;
let answer: (request: { execute: string; id: number }, socket: Socket) => void;
let onConnect: (socket: Socket) => void;

beforeEach(async () => {
  base = mkdtempSync(join(tmpdir(), "quorate-qmp-"));
  // Deeper than the 107 bytes a socket's path may have.
  folder = join(base, "x".repeat(80), "y".repeat(80));
  mkdirSync(folder, { recursive: true });
  onConnect = (socket) => socket.write(GREETING);
  answer = ({ id }, socket) => socket.write(`${JSON.stringify({ return: {}, id })}\r\n`);
  server = createServer((socket) => {
    socket.on("error", () => {});
    onConnect(socket);
    socket.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.split("\n").filter(Boolean)) answer(JSON.parse(line), socket);
    });
  });
  const cwd = process.cwd();
  process.chdir(folder);
  await new Promise<void>((resolve) => server.listen("qmp.sock", resolve));
  process.chdir(cwd);
});

afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(base, { recursive: true, force: true });
});

const connect = (options?: { timeoutMs?: number; onEvent?: (event: QmpEvent) => void }) =>
  QmpClient.connect(folder, "qmp.sock", options);

test("commands get their own answers, in whatever order and pieces they come", async () => {
  const asked: number[] = [];
  answer = ({ execute, id }, socket) => {
    if (execute === "qmp_capabilities") return socket.write(`{"return": {}, "id": ${id}}\r\n`);
    asked.push(id);
    if (asked.length < 2) return true;
    const text = asked
      .toReversed()
      .map((each) => `{"return": "answer to ${each}", "id": ${each}}\r\n`)
      .join("");
    socket.write(text.slice(0, 20));
    return setImmediate(() => socket.write(text.slice(20)));
  };
  using client = await connect();
  const answers = await Promise.all([client.command("a"), client.command("b")]);
  assert.deepEqual(
    answers,
    asked.map((id) => `answer to ${id}`),
  );
});

test("events are told apart from answers, and QEMU's refusal is an error of its own", async () => {
  answer = ({ execute, id }, socket) => {
    socket.write('{"event": "STOP", "data": {"x": 1}, "timestamp": {}}\r\n');
    socket.write(
      execute === "bad"
        ? `{"error": {"class": "GenericError", "desc": "no such disk"}, "id": ${id}}\r\n`
        : `{"return": {}, "id": ${id}}\r\n`,
    );
  };
  const events: QmpEvent[] = [];
  using client = await connect({ onEvent: (event) => events.push(event) });
  await assert.rejects(client.command("bad"), { reason: "QmpRefused", message: /no such disk/ });
  assert.deepEqual(events[0], { event: "STOP", data: { x: 1 } });
});

test("silence is no answer: to the connection, to the greeting, to a command", async () => {
  onConnect = () => {};
  await assert.rejects(connect({ timeoutMs: 50 }), { reason: "NoAnswer", message: /another client/ });
  onConnect = (socket) => socket.write(GREETING);
  answer = ({ execute, id }, socket) =>
    execute === "qmp_capabilities" && socket.write(`{"return": {}, "id": ${id}}\r\n`);
  using client = await connect();
  await assert.rejects(client.command("quit", undefined, 50), {
    reason: "NoAnswer",
    message: /no answer to quit within 50 ms/,
  });
  await assert.rejects(QmpClient.connect(folder, "nothing.sock"), { reason: "NoAnswer" });
  await assert.rejects(QmpClient.connect(`${folder}/none`, "qmp.sock"), { reason: "NoAnswer" });
});

test("a machine that dies in the middle fails what waits, and nothing else", async () => {
  answer = ({ execute, id }, socket) => {
    if (execute === "qmp_capabilities") socket.write(`{"return": {}, "id": ${id}}\r\n`);
    else socket.destroy();
  };
  using client = await connect();
  const both = await Promise.allSettled([client.command("a"), client.command("b")]);
  for (const each of both) {
    assert.equal(each.status, "rejected");
    assert.equal(each.status === "rejected" && each.reason.reason, "NoAnswer");
  }
  await assert.rejects(client.command("c"), { reason: "NoAnswer", message: /closed/ });
});
