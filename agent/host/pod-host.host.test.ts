import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { podHost } from "./pod-host.ts";

const isRoot = process.getuid?.() === 0;

/**
 * A stand-in for PID 1 of a host: its own mount, UTS, network and IPC namespaces, a tmpfs at /srv that nobody else sees,
 * and a unix socket on it. It ends with its standard input.
 */
const HOLDER = `
hostname fake-host
mount -t tmpfs tmpfs /srv
ln -s /srv/data /srv/link && mkdir /srv/data
ip link add only-here type dummy 2>/dev/null || ip link add only-here type veth peer name other
exec ${JSON.stringify(process.execPath)} -e '
  require("node:net").createServer((s) => s.end("hello from the host")).listen("/srv/host.sock", () => console.log("ready"));
  process.stdin.resume().on("end", () => process.exit())'
`;

describe("the host below a pod", { skip: isRoot ? false : "needs root to make namespaces" }, () => {
  let holder: ChildProcess;
  let scratch = "";
  before(async () => {
    scratch = mkdtempSync(join(tmpdir(), "quorate-pod-host-"));
    holder = spawn(
      "unshare",
      ["--mount", "--uts", "--net", "--ipc", "--propagation", "private", "bash", "-c", HOLDER],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    assert.ok(holder.stdout !== null);
    const [said] = await once(holder.stdout, "data");
    assert.equal(String(said), "ready\n");
  });
  after(async () => {
    holder.stdin?.end();
    await once(holder, "exit");
    rmSync(scratch, { recursive: true, force: true });
  });
  const host = () => podHost(holder.pid);

  test("commands run in the host's UTS, network and mount namespaces", async () => {
    assert.equal((await host().run("hostname", [], { timeoutMs: 5000 })).stdout, "fake-host\n");
    assert.match((await host().run("ip", ["-o", "link"], { timeoutMs: 5000 })).stdout, /only-here/);
    assert.equal((await host().run("findmnt", ["-no", "FSTYPE", "/srv"], { timeoutMs: 5000 })).stdout, "tmpfs\n");
  });

  test("input, exit codes and errors come through nsenter", async () => {
    assert.equal((await host().run("cat", [], { timeoutMs: 5000, input: "text" })).stdout, "text");
    await assert.rejects(host().run("sh", ["-c", "echo no >&2; exit 7"], { timeoutMs: 5000 }), {
      reason: "CommandFailed",
      exitCode: 7,
    });
    await assert.rejects(host().run("quorate-no-such-command", [], { timeoutMs: 5000 }), { reason: "CommandNotFound" });
  });

  test("a time-out ends the command in the host", async () => {
    await assert.rejects(host().run("sh", ["-c", "echo $$ > /srv/pid; exec sleep 1000"], { timeoutMs: 500 }), {
      reason: "CommandTimeout",
    });
    const pid = String(await host().readFile("/srv/pid")).trim();
    assert.ok(!existsSync(`/proc/${pid}`), `process ${pid} still runs`);
  });

  test("files are the host's, also behind an absolute symbolic link", async () => {
    await host().writeFileAtomic("/srv/link/file", "content", { mode: 0o640 });
    assert.equal((await host().run("cat", ["/srv/data/file"], { timeoutMs: 5000 })).stdout, "content");
    assert.equal((await host().run("stat", ["-c", "%a", "/srv/data/file"], { timeoutMs: 5000 })).stdout, "640\n");
    assert.equal(String(await host().readFile("/srv/link/file")), "content");
    assert.ok(!existsSync("/srv/data/file"), "nothing was written on this side");
  });

  test("a unix socket of the host can be reached from here", async () => {
    const socket = connect(host().path("/srv/host.sock"));
    let said = "";
    for await (const chunk of socket) said += String(chunk);
    assert.equal(said, "hello from the host");
  });

  test("spawn hands descriptors to a command of the host", async () => {
    const child = host().spawn("sh", ["-c", "cat > /srv/streamed"], { stdio: ["pipe", "ignore", "inherit"] });
    child.stdin?.end("streamed");
    assert.deepEqual(await once(child, "exit"), [0, null]);
    assert.equal(readFileSync(host().path("/srv/streamed"), "utf8"), "streamed");
  });

  test("the boot id can be read", async () => {
    assert.match(await host().bootId(), /^[0-9a-f-]{36}\.\d+$/);
  });
});
