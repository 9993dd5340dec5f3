import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { CommandError } from "./host.ts";
import { localHost } from "./local-host.ts";

const host = localHost();
let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "quorate-local-host-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** The reason of the CommandError the promise rejects with. */
async function reasonOf(promise: Promise<unknown>): Promise<{ reason: string; message: string }> {
  const error = await promise.then(
    () => assert.fail("expected the command to fail"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof CommandError, String(error));
  return error;
}

describe("run", () => {
  test("gives both outputs as they are, and the input to the command", async () => {
    const result = await host.run("sh", ["-c", "cat; echo problem >&2"], { timeoutMs: 5000, input: "text\n" });
    assert.deepEqual(result, { stdout: "text\n", stderr: "problem\n", exitCode: 0 });
  });

  test("without input the command reads the end at once", async () => {
    assert.equal((await host.run("cat", [], { timeoutMs: 5000 })).stdout, "");
  });

  test("arguments reach the command as they are: no shell", async () => {
    const strange = ["$HOME", "a b", "; rm -rf x", "'", "-n\n"];
    const { stdout } = await host.run("printf", ["%s|", ...strange], { timeoutMs: 5000 });
    assert.equal(stdout, strange.map((word) => `${word}|`).join(""));
  });

  test("nothing of this process's environment is passed on", async () => {
    process.env.QUORATE_TEST_SECRET = "secret";
    try {
      const { stdout } = await host.run("env", [], { timeoutMs: 5000, env: { ONE: "1" } });
      const names = stdout.split("\n").map((line) => line.split("=")[0]);
      assert.deepEqual(names.filter((name) => name !== "" && name !== "PWD").sort(), ["HOME", "LC_ALL", "ONE", "PATH"]);
    } finally {
      delete process.env.QUORATE_TEST_SECRET;
    }
  });

  test("a failure names the command, its exit code and its last lines of stderr", async () => {
    const failed = await reasonOf(host.run("sh", ["-c", "seq 20 >&2; exit 3"], { timeoutMs: 5000 }));
    assert.equal(failed.reason, "CommandFailed");
    assert.match(failed.message, /^sh -c .*exit code 3: 16 \| 17 \| 18 \| 19 \| 20$/);
  });

  test("an exit code can be an answer", async () => {
    assert.equal((await host.run("sh", ["-c", "exit 2"], { timeoutMs: 5000, exitCodes: [0, 2] })).exitCode, 2);
  });

  test("a command that does not exist is said to be missing", async () => {
    assert.equal(
      (await reasonOf(host.run("quorate-no-such-command", [], { timeoutMs: 5000 }))).reason,
      "CommandNotFound",
    );
  });

  test("at the time-out the whole group ends, also what ignores SIGTERM", async () => {
    const pids = join(folder, "pids");
    const script = `trap "" TERM; sleep 1000 & echo $$ $! > ${pids}; wait; wait`;
    const started = performance.now();
    const failed = await reasonOf(host.run("bash", ["-c", script], { timeoutMs: 300 }));
    assert.equal(failed.reason, "CommandTimeout");
    assert.ok(performance.now() - started < 5000, "rejected in time");
    for (const pid of readFileSync(pids, "utf8").trim().split(" "))
      assert.ok(!isAlive(pid), `process ${pid} still runs`);
  });

  test("a command that ended, while its child holds the output open, ends at the time-out", async () => {
    const failed = await reasonOf(host.run("sh", ["-c", "sleep 1000 & echo started"], { timeoutMs: 300 }));
    assert.equal(failed.reason, "CommandTimeout");
    assert.match(failed.message, /it said: started/);
  });

  test("an abort ends the command, or keeps it from starting", async () => {
    const abort = new AbortController();
    const running = reasonOf(host.run("sleep", ["1000"], { timeoutMs: 60_000, signal: abort.signal }));
    abort.abort();
    assert.equal((await running).reason, "CommandAborted");
    assert.equal(
      (await reasonOf(host.run("sleep", ["1000"], { timeoutMs: 60_000, signal: abort.signal }))).reason,
      "CommandAborted",
    );
  });

  test("endless output ends the command", async () => {
    assert.equal(
      (await reasonOf(host.run("yes", [], { timeoutMs: 20_000, maxOutput: 1000 }))).reason,
      "CommandOutputTooLarge",
    );
  });
});

describe("spawn", () => {
  test("an accepted socket is handed over as standard input", async () => {
    const out = join(folder, "handed-over");
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      const child = host.spawn("dd", [`of=${out}`, "status=none"], { stdio: [socket, "ignore", "ignore"] });
      child.once("spawn", () => socket.destroy());
      child.once("exit", () => server.close());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    await host.run("bash", ["-c", `printf through > /dev/tcp/127.0.0.1/${port}`], { timeoutMs: 5000 });
    await once(server, "close");
    assert.equal(readFileSync(out, "utf8"), "through");
  });
});

describe("writeFileAtomic", () => {
  test("sets the mode whatever the umask, makes the folder, leaves no temporary file", async () => {
    const path = join(folder, "made", "key");
    const umask = process.umask(0o077);
    try {
      await host.writeFileAtomic(path, Buffer.from([0, 255]), { mode: 0o444 });
    } finally {
      process.umask(umask);
    }
    assert.deepEqual(await host.readFile(path), Buffer.from([0, 255]));
    assert.equal(statSync(path).mode & 0o777, 0o444);
    assert.deepEqual(readdirSync(join(folder, "made")), ["key"]);
  });

  test("keeps the replaced content as backup, the last one only", async () => {
    const path = join(folder, "conf");
    const backup = join(folder, "conf.last");
    await host.writeFileAtomic(path, "1", { mode: 0o600, backup });
    assert.equal(await host.readFile(backup), undefined, "nothing was replaced yet");
    await host.writeFileAtomic(path, "2", { mode: 0o600, backup });
    await host.writeFileAtomic(path, "3", { mode: 0o600, backup });
    assert.equal(String(await host.readFile(path)), "3");
    assert.equal(String(await host.readFile(backup)), "2");
  });

  test("a folder in the way leaves everything as it was", async () => {
    const path = join(folder, "occupied");
    await host.writeFileAtomic(join(path, "inside"), "x", { mode: 0o600 });
    await assert.rejects(host.writeFileAtomic(path, "y", { mode: 0o600 }), { reason: "FileNotWritten" });
    assert.deepEqual(readdirSync(path), ["inside"]);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.endsWith(".tmp")),
      [],
    );
  });

  test("writes through a symbolic link and keeps the link", async () => {
    writeFileSync(join(folder, "real"), "old");
    symlinkSync(join(folder, "real"), join(folder, "link"));
    await host.writeFileAtomic(join(folder, "link"), "new", { mode: 0o600 });
    assert.equal(readlinkSync(join(folder, "link")), join(folder, "real"));
    assert.equal(readFileSync(join(folder, "real"), "utf8"), "new");
  });
});

describe("files", () => {
  test("a missing file is undefined, removing it no error", async () => {
    assert.equal(await host.readFile(join(folder, "missing")), undefined);
    await host.removeFile(join(folder, "missing"));
    await host.removeFile(join(folder, "no-folder", "missing"));
  });

  test("a file over the limit is refused", async () => {
    const path = join(folder, "large");
    writeFileSync(path, "12345");
    chmodSync(path, 0o600);
    await assert.rejects(host.readFile(path, { maxBytes: 4 }), { reason: "FileTooLarge" });
  });

  test("a relative path is a bug of the caller", () => {
    assert.throws(() => host.path("etc/passwd"), { reason: "PathNotAbsolute" });
  });

  test("the boot id is the same twice", async () => {
    assert.match(await host.bootId(), /^[0-9a-f-]{36}\.\d+$/);
    assert.equal(await host.bootId(), await host.bootId());
  });
});

/** A killed process whose parent has not fetched its end is dead too. */
function isAlive(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
