import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connect } from "node:tls";
import { QuorateError } from "../../errors.ts";
import { type Logger, processLog } from "../../log.ts";
import { localHost } from "../host/index.ts";
import type { Command, ReplicationStorage, StorageDriver, VolumeRef } from "../storage/index.ts";
import { FrameReader, messageFrame } from "./frames.ts";
import { startTransferServer, type TlsIdentity, TransferClient, type TransferServer, type Verdict } from "./index.ts";
import { UNPROVEN_LIMIT } from "./server.ts";
import { testAuthority } from "./testing/index.ts";

const MIB = 1024 * 1024;
const volume: VolumeRef = { storage: "tank", vmid: 100, volume: "root" };
const sending = { job: "100-0", volume, toGuid: "42", failure: (error: QuorateError) => error };
const quiet: Logger = Object.assign(processLog("test"), { level: "silent" });

/** A storage whose streams are files: what a receive command does is the test's to say. */
class FileStorage {
  receive: Command = { command: "false", args: [] };
  readonly calls: string[] = [];

  refuses: QuorateError | undefined;
  readonly heads: Buffer[] = [];

  readonly replication = {
    checkStream: (head: Buffer) => {
      this.heads.push(head);
      if (this.refuses !== undefined) throw this.refuses;
    },
    beginReceive: async (_: unknown, kind: string) => {
      this.calls.push(`begin ${kind}`);
      return this.receive;
    },
    finishReceive: async (_: unknown, kind: string, job: string, guid: string, __: unknown, guest?: string) => {
      this.calls.push(`finish ${kind} ${job} ${guid}${guest === undefined ? "" : ` of ${guest}`}`);
    },
    discardPartial: async () => {
      this.calls.push("discard");
    },
    destroySnapshots: async (_: unknown, job: string, refs: readonly { name: string }[]) => {
      this.calls.push(`destroy ${job} ${refs.map(({ name }) => name)}`);
      return { kept: [] };
    },
    failure: (error: QuorateError) =>
      error.message.includes("no space") ? new QuorateError("environment", "NoSpace", error.message) : error,
  } as unknown as ReplicationStorage;

  readonly driver = {
    name: "tank",
    type: "ZFS",
    replication: this.replication,
    inspect: async (ids: readonly VolumeRef[]) => ids.map((id) => ({ id, exists: false, snapshots: [] })),
  } as unknown as StorageDriver;
}

let folder: string;
let authority: Awaited<ReturnType<typeof testAuthority>>;
let n1: TlsIdentity;
let n2: TlsIdentity;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "quorate-transfer-"));
  authority = await testAuthority();
  [n1, n2] = await Promise.all([authority.identity("n1"), authority.identity("n2")]);
});

after(() => rmSync(folder, { recursive: true, force: true }));

let storage: FileStorage;
let server: TransferServer;
let verdict: () => Promise<Verdict>;
let members: string[];
let out: QuorateError | undefined;

beforeEach(async () => {
  storage = new FileStorage();
  verdict = async () => ({ allowed: true });
  members = ["n1", "n2"];
  out = undefined;
  server = await startServer();
});

const startServer = (change: { handshakeWithinMs?: number } = {}) =>
  startTransferServer({
    host: localHost(),
    storage: (name) => (name === "tank" ? storage.driver : undefined),
    identity: n2,
    listen: { address: "127.0.0.1", port: 0 },
    isMember: (node) => {
      if (out !== undefined) throw out;
      return members.includes(node);
    },
    mayReceive: async (vmid, from) => {
      assert.deepEqual([vmid, from], [100, "n1"]);
      return verdict();
    },
    log: quiet,
    ...change,
  });

afterEach(() => server.close());

const clientOf = (identity: TlsIdentity, node = "n2") =>
  new TransferClient({ node, address: "127.0.0.1", port: server.port, identity });
const shell = (line: string): Command => ({ command: "sh", args: ["-c", line] });
const produce = (line: string) => () => localHost().spawn("sh", ["-c", line], { stdio: ["ignore", "pipe", "pipe"] });
const childrenOf = (pattern: string) =>
  readFileSync("/proc/self/task/".concat(String(process.pid), "/children"), "utf8")
    .split(" ")
    .filter((pid) => pid !== "" && commandOf(pid).includes(pattern));
const commandOf = (pid: string) => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
};

describe("a stream", () => {
  test("arrives as it was sent, is announced only when it is whole, and is named by its GUID", async () => {
    writeFileSync(
      join(folder, "in"),
      Buffer.from(Array.from({ length: 8 * MIB }, (_, i) => (i * 31 + (i >> 8)) & 255)),
    );
    storage.receive = shell(`cat > ${folder}/out`);
    let seen = 0;
    const bytes = await clientOf(n1).send({
      ...sending,
      fromGuid: "41",
      produce: produce(`cat ${folder}/in`),
      onBytes: (n) => (seen += n),
    });
    assert.equal(bytes, 8 * MIB);
    assert.equal(seen, 8 * MIB);
    assert.ok(readFileSync(join(folder, "in")).equals(readFileSync(join(folder, "out"))));
    assert.deepEqual(storage.calls, ["begin incremental", "finish incremental 100-0 42"]);
  });

  test("says of which Guest object it is", async () => {
    storage.receive = shell("cat >/dev/null");
    const guest = "0b3e4f5a-0000-4000-8000-000000000001";
    await clientOf(n1).send({ ...sending, guest, produce: produce("true") });
    assert.deepEqual(storage.calls, ["begin full", `finish full 100-0 42 of ${guest}`]);
    const refused = clientOf(n1).send({ ...sending, guest: "x tank/y", produce: produce("true") });
    await assert.rejects(refused, { reason: "InvalidName" });
    assert.equal(storage.calls.length, 2);
  });

  test("an empty stream is a stream", async () => {
    storage.receive = shell("wc -c | grep -qx 0");
    assert.equal(await clientOf(n1).send({ ...sending, produce: produce("true") }), 0);
  });

  test("its head is checked before anything of it reaches the command, however it comes in pieces", async () => {
    storage.receive = shell(`cat > ${folder}/checked`);
    const said = "0123456789abcdefghijklmnopqrstuvwxyz";
    const slowly = `for c in ${[...said].join(" ")}; do printf %s $c; done`;
    await clientOf(n1).send({ ...sending, produce: produce(slowly) });
    assert.equal(readFileSync(join(folder, "checked"), "utf8"), said);
    assert.equal(storage.heads.length, 1);
    assert.ok((storage.heads[0]?.length ?? 0) >= 24 && said.startsWith(storage.heads[0]?.toString() ?? "-"));

    await clientOf(n1).send({ ...sending, produce: produce("printf short") });
    assert.deepEqual([readFileSync(join(folder, "checked"), "utf8"), String(storage.heads[1])], ["short", "short"]);

    storage.refuses = new QuorateError("environment", "StreamRefused", "a stream with properties");
    storage.calls.length = 0;
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("cat /dev/zero") }), {
      reason: "StreamRefused",
    });
    assert.equal(readFileSync(join(folder, "checked"), "utf8"), "", "the command was given nothing");
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("a receiver that knows the end of the stream from the stream itself may be gone before the end is announced", async () => {
    storage.receive = shell(`head -c ${MIB} >${folder}/whole`);
    // The sender goes on for a while after its last byte: so long the end is not announced.
    const bytes = await clientOf(n1).send({ ...sending, produce: produce(`head -c ${MIB} /dev/zero; sleep 0.5`) });
    assert.equal(bytes, MIB);
    assert.equal(readFileSync(join(folder, "whole")).length, MIB);
    assert.deepEqual(storage.calls, ["begin full", "finish full 100-0 42"]);
  });

  test("a receiver that ends well before the stream does has not received it", async () => {
    storage.receive = shell("head -c 1000 >/dev/null");
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("cat /dev/zero") }), {
      reason: "CommandFailed",
      message: "receiving root: the command ended before the stream did",
    });
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("waits for a slow receiver instead of filling the memory", async () => {
    storage.receive = shell("sleep 0.5; cat >/dev/null");
    const before = process.memoryUsage().rss;
    await clientOf(n1).send({ ...sending, produce: produce("head -c 200M /dev/zero") });
    assert.ok(process.memoryUsage().rss - before < 150 * MIB);
  });

  test("the receiver's failure is the error that is shown, and ends a sender that has no end", async () => {
    storage.receive = shell("head -c 1000000 >/dev/null; echo 'cannot receive: no space' >&2; exit 1");
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("exec cat /dev/zero") }), {
      reason: "NoSpace",
      message: /cannot receive: no space/,
    });
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
    assert.deepEqual(childrenOf("/dev/zero"), []);
  });

  test("a receiver that fails after the last byte fails the transfer", async () => {
    storage.receive = shell("cat >/dev/null; exit 3");
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("echo x") }), {
      reason: "CommandFailed",
      message: /exit code 3/,
    });
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("a sender that fails half way is never taken for the end of the stream", async () => {
    storage.receive = shell("exec cat >/dev/null");
    await assert.rejects(
      clientOf(n1).send({ ...sending, produce: produce("echo half; echo 'pool went away' >&2; exit 2") }),
      { message: /pool went away/ },
    );
    await server.close();
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("a sender that cannot be started fails the transfer", async () => {
    storage.receive = shell("exec cat >/dev/null");
    const produce = () => localHost().spawn("/nonexistent", [], { stdio: ["ignore", "pipe", "pipe"] });
    await assert.rejects(clientOf(n1).send({ ...sending, produce }), { message: /not started.*ENOENT/ });
  });

  test("a receiving command that cannot be started fails the transfer", async () => {
    storage.receive = { command: "/nonexistent", args: [] };
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("exec cat /dev/zero") }), {
      message: /ENOENT/,
    });
  });

  test("a killed receiving command is shown as such", async () => {
    storage.receive = shell("exec sh -c 'kill -9 $$'");
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("exec cat /dev/zero") }), {
      message: /SIGKILL/,
    });
  });

  test("an abort ends both ends", async () => {
    storage.receive = shell("exec cat >/dev/null");
    const abort = new AbortController();
    const sent = clientOf(n1).send({
      ...sending,
      produce: produce("exec cat /dev/zero"),
      signal: abort.signal,
      onBytes: () => abort.abort(),
    });
    await assert.rejects(sent, { reason: "Aborted" });
    await server.close();
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
    assert.deepEqual(childrenOf("cat"), []);
  });

  test("the receiving node can end it, for the guest is about to start there", async () => {
    storage.receive = shell("exec cat >/dev/null");
    let started = () => {};
    const running = new Promise<void>((resolve) => (started = resolve));
    const sent = clientOf(n1).send({ ...sending, produce: produce("exec cat /dev/zero"), onBytes: () => started() });
    sent.catch(() => {});
    await running;
    await server.abortReceives(101);
    await server.abortReceives(100);
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
    assert.deepEqual(childrenOf("cat"), []);
    await assert.rejects(sent, { reason: "ConnectionLost" });
  });

  test("permission that was withdrawn during the stream keeps it from taking effect", async () => {
    storage.receive = shell("cat >/dev/null");
    let asked = 0;
    verdict = async () =>
      asked++ === 0
        ? { allowed: true }
        : { allowed: false, reason: "GuestIsHere", message: "it was recovered to this node" };
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("echo x") }), { reason: "GuestIsHere" });
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("a second stream onto the same volume is told to come again", async () => {
    storage.receive = shell("exec cat >/dev/null");
    let started = () => {};
    const running = new Promise<void>((resolve) => (started = resolve));
    const abort = new AbortController();
    const first = clientOf(n1).send({
      ...sending,
      produce: produce("exec cat /dev/zero"),
      onBytes: () => started(),
      signal: abort.signal,
    });
    await running;
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("true") }), {
      reason: "Locked",
      class: "transient",
    });
    abort.abort();
    await assert.rejects(first, { reason: "Aborted" });
  });
});

describe("a cut connection", () => {
  test("in the middle of the stream ends the receiving command and the sender", async () => {
    storage.receive = shell("exec cat >/dev/null");
    const cut = await throughProxy(server.port, 3 * MIB);
    const client = new TransferClient({ node: "n2", address: "127.0.0.1", port: cut.port, identity: n1 });
    await assert.rejects(client.send({ ...sending, produce: produce("exec cat /dev/zero") }), {
      reason: "ConnectionLost",
      class: "transient",
    });
    await server.close();
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
    assert.deepEqual(childrenOf("cat"), []);
    cut.close();
  });

  test("nobody listens: unreachable, at once", async () => {
    await server.close();
    await assert.rejects(clientOf(n1).ping(), {
      reason: "NetworkUnreachable",
      class: "transient",
      message: /node "n2" at 127.0.0.1/,
    });
  });
});

describe("who is heard", () => {
  test("a member", async () => {
    await clientOf(n1).ping();
    assert.deepEqual(await clientOf(n1).listSnapshots("100-0", [volume]), [
      { id: volume, exists: false, snapshots: [] },
    ]);
  });

  test("not a node that has left, though its certificate is good", async () => {
    members = ["n2"];
    await assert.rejects(clientOf(n1).ping(), { reason: "NotAMember", message: /"n1"/ });
  });

  test("not a node that leaves while its stream is under way: what it sent takes no effect", async () => {
    storage.receive = shell("cat >/dev/null");
    const sent = clientOf(n1).send({ ...sending, produce: produce("echo x"), onBytes: () => (members = ["n2"]) });
    await assert.rejects(sent, { reason: "NotAMember" });
    assert.deepEqual(storage.calls, ["begin full", "discard"]);
  });

  test("nobody, when it cannot be known who belongs to the cluster", async () => {
    out = new QuorateError("transient", "OutOfTouch", "not heard of the cluster for 41 s");
    await assert.rejects(clientOf(n1).ping(), { reason: "OutOfTouch", class: "transient" });
  });

  test("not one with a certificate of another authority, or with none", async () => {
    const stranger = await (await testAuthority()).identity("n1");
    await assert.rejects(clientOf({ ...stranger, ca: n1.ca }).ping());
    const socket = connect({ host: "127.0.0.1", port: server.port, ca: n1.ca, checkServerIdentity: () => undefined });
    await assert.rejects(new Promise((_, reject) => socket.on("error", reject)), /certificate required/i);
  });

  test("not an older TLS", async () => {
    const socket = connect({
      ...n1,
      host: "127.0.0.1",
      port: server.port,
      maxVersion: "TLSv1.2",
      checkServerIdentity: () => undefined,
    });
    await assert.rejects(new Promise((_, reject) => socket.on("error", reject)), /protocol version/i);
  });

  test("and a client talks to the node it meant, and to no other", async () => {
    await assert.rejects(clientOf(n1, "n3").ping(), { reason: "NotAMember", message: /is not node "n3" but n2/ });
    const impostor = await (await testAuthority()).identity("n2");
    server.setIdentity(impostor);
    await assert.rejects(clientOf(n1).ping(), { reason: "NetworkUnreachable", message: /certificate|signature/ });
  });

  test("renewed certificates are used from the next connection on", async () => {
    server.setIdentity(await authority.identity("n2"));
    await clientOf(await authority.identity("n1")).ping();
  });
});

describe("what may be asked", () => {
  test("nothing is changed without permission, nor when the question fails", async () => {
    verdict = async () => ({ allowed: false, reason: "GuestIsHere", message: "guest 100 runs on n2" });
    await assert.rejects(clientOf(n1).send({ ...sending, produce: produce("true") }), {
      reason: "GuestIsHere",
      message: /runs on n2/,
    });
    await assert.rejects(clientOf(n1).destroySnapshots("100-0", volume, []), { reason: "GuestIsHere" });
    await assert.rejects(clientOf(n1).rollBack("100-0", volume, { name: "x", guid: "1" }), { reason: "GuestIsHere" });
    await assert.rejects(clientOf(n1).destroyReplica("100-0", volume), { reason: "GuestIsHere" });
    verdict = async () => {
      throw new Error("the API server is away");
    };
    await assert.rejects(clientOf(n1).destroyReplica("100-0", volume), {
      reason: "NotAllowed",
      message: /API server is away/,
    });
    assert.deepEqual(storage.calls, []);
  });

  test("only volumes of storages the node has, under names that are names", async () => {
    await assert.rejects(clientOf(n1).listSnapshots("100-0", [{ ...volume, storage: "other" }]), {
      reason: "StorageMissing",
    });
    for (const bad of [
      { volume: "../root" },
      { volume: "a@b" },
      { storage: "a/b" },
      { vmid: 0 },
      { vmid: 1e9 },
      { volume: "-r" },
    ]) {
      await assert.rejects(
        clientOf(n1).destroyReplica("100-0", { ...volume, ...bad }),
        { reason: "InvalidName" },
        JSON.stringify(bad),
      );
    }
    await assert.rejects(
      clientOf(n1).destroyReplica("101-0", volume),
      { reason: "InvalidName" },
      "a job of another guest",
    );
    assert.deepEqual(storage.calls, []);
  });

  test("nobody for long, or often, without a certificate", async () => {
    const ended = (socket: Socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()));
    const open = () => {
      const socket = connectTcp({ host: "127.0.0.1", port: server.port });
      return socket.on("error", () => {}).resume();
    };
    const idle = Array.from({ length: UNPROVEN_LIMIT }, open);
    await Promise.all(idle.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    await ended(open());
    await assert.rejects(clientOf(n1).ping(), { class: "transient" });
    assert.ok(idle.every(({ destroyed }) => !destroyed));
    idle[0]?.destroy();
    // The server hears of it a moment later.
    await delay(100);
    for (let i = 0; i < 3; i++) await clientOf(n1).ping();
    await server.close();
    await Promise.all(idle.map((socket) => socket.destroyed || ended(socket)));
  });

  test("whoever shows no certificate in time is sent away", { timeout: 5_000 }, async () => {
    await server.close();
    server = await startServer({ handshakeWithinMs: 50 });
    const socket = connectTcp({ host: "127.0.0.1", port: server.port });
    socket.on("error", () => {}).resume();
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    await clientOf(n1).ping();
  });

  test("what is no request is refused, and the server goes on", async () => {
    const ask = async (bytes: Buffer) => {
      const socket = connect({ ...n1, host: "127.0.0.1", port: server.port, checkServerIdentity: () => undefined });
      socket.on("error", () => {});
      const reader = new FrameReader(socket);
      socket.write(bytes);
      const frame = await reader.next(5_000);
      socket.destroy();
      return JSON.stringify(frame);
    };
    assert.match(await ask(messageFrame({ version: 99, op: "ping" })), /ProtocolError.*same release/);
    for (const request of [
      null,
      [],
      "x",
      { version: 1 },
      { version: 1, op: "constructor" },
      { version: 1, op: "receive" },
      { version: 1, op: "receive", job: "100-0", volume, toGuid: "1; rm" },
    ]) {
      assert.match(await ask(messageFrame(request)), /ProtocolError/, JSON.stringify(request));
    }
    assert.match(await ask(Buffer.from("GET / HTTP/1.1\r\n\r\n")), /ProtocolError/);
    await clientOf(n1).ping();
  });
});

test("the rate limit is not exceeded, and changes nothing of the data", async () => {
  storage.receive = shell(`sha256sum > ${folder}/sum`);
  const started = performance.now();
  await clientOf(n1).send({ ...sending, produce: produce("head -c 6000000 /dev/zero"), bytesPerSecond: 3_000_000 });
  const seconds = (performance.now() - started) / 1000;
  // How much longer it takes is the machine's affair; rate-limit.test.ts holds the rate to 5 % on a clock of its own.
  assert.ok(seconds > 1.8, `6 MB at 3 MB/s took ${seconds} s`);
  const expected = await localHost().run("sh", ["-c", "head -c 6000000 /dev/zero | sha256sum"], { timeoutMs: 10_000 });
  assert.equal(readFileSync(join(folder, "sum"), "utf8"), expected.stdout);
});

/** A TCP proxy that cuts both ways after so many bytes to the server. */
async function throughProxy(port: number, cutAfter: number): Promise<{ port: number; close(): void }> {
  const { connect: connectTcp } = await import("node:net");
  const proxy = createTcpServer((client: Socket) => {
    const upstream = connectTcp(port, "127.0.0.1");
    let passed = 0;
    client.on("data", (chunk) => {
      passed += chunk.length;
      if (passed > cutAfter) {
        client.destroy();
        upstream.destroy();
      } else upstream.write(chunk);
    });
    upstream.on("data", (chunk) => client.write(chunk));
    for (const socket of [client, upstream]) socket.on("error", () => {});
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  await delay(0);
  const address = proxy.address();
  return { port: typeof address === "object" && address !== null ? address.port : 0, close: () => proxy.close() };
}
