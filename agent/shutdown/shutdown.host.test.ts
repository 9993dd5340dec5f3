import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Host, podHost } from "../host/index.ts";
import {
  answerShutdown,
  installShutdownUnit,
  readShutdownRequest,
  removeShutdownUnit,
  SHUTDOWN_UNIT,
} from "./index.ts";

/** Where the unified hierarchy is: beside others, or alone. */
const CGROUPS = / (\S+) cgroup2 /.exec(readFileSync("/proc/self/mounts", "utf8"))?.[1];
const MISSING =
  process.getuid?.() !== 0
    ? "needs root to make a mount namespace"
    : spawnSync("systemd-run", ["--version"]).status !== 0 || !existsSync("/lib/systemd/systemd")
      ? "needs systemd's programs"
      : CGROUPS === undefined
        ? "needs the unified hierarchy of control groups"
        : false;

/**
 * A systemd of our own in a mount namespace: a user's manager, which is the same program as the system's, with the targets of a system
 * that goes down. `systemctl` and `systemd-run` in there speak to it. It sees no control group but one of its own: it moves and removes
 * whatever it finds in what it takes for its root.
 */
const HOLDER = `
set -e
folder=$1
mount -t tmpfs cgroups /sys/fs/cgroup
mount -t cgroup2 cgroups /sys/fs/cgroup
[ "$(sed -n s/^0:://p /proc/self/cgroup)" = / ]
for command in systemctl systemd-run; do
  cp --dereference /usr/bin/$command $folder/$command.real
  printf '#!/bin/sh\\nexport XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_UNIT_PATH=/etc/systemd/system:/usr/lib/systemd/user\\nexec %s --user "$@"\\n' $folder/$command.real >$folder/$command
  chmod +x $folder/$command
  mount --bind $folder/$command /usr/bin/$command
done
mount -t tmpfs run /run
mount -t tmpfs units /etc/systemd/system
mkdir -p /run/systemd/system /run/user/0 $folder/home
cat >/etc/systemd/system/multi-user.target <<X
[Unit]
Requires=basic.target
After=basic.target
X
cat >/etc/systemd/system/default.target <<X
[Unit]
Requires=multi-user.target
After=multi-user.target
X
for kind in reboot poweroff; do cat >/etc/systemd/system/$kind.target <<X
[Unit]
DefaultDependencies=no
Requires=shutdown.target
After=shutdown.target
X
done
cat >/etc/systemd/system/needed.service <<X
[Service]
ExecStart=/bin/sh -c 'trap "echo needed ended >>$folder/order; exit 0" TERM; sleep 120 & wait'
[Install]
WantedBy=multi-user.target
X
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s ../needed.service /etc/systemd/system/multi-user.target.wants/
export HOME=$folder/home XDG_RUNTIME_DIR=/run/user/0 SYSTEMD_UNIT_PATH=/etc/systemd/system:/usr/lib/systemd/user
exec /lib/systemd/systemd --user --log-target=null
`;

const until = async <T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> => {
  for (const end = Date.now() + 30_000; ; await delay(50)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`not within 30 s: ${what}`);
  }
};

describe("a systemd that goes down", { skip: MISSING }, () => {
  let folder = "";
  let group = "";
  let manager: ChildProcess;
  let host: Host;
  const systemctl = async (...args: string[]) =>
    (await host.run("systemctl", args, { timeoutMs: 20_000, exitCodes: [0, 1, 3, 4] })).stdout.trim();
  const order = () =>
    existsSync(join(folder, "order")) ? readFileSync(join(folder, "order"), "utf8").trim().split("\n") : [];
  const startMachine = () => {
    const text = `trap "echo machine ended >>${folder}/order; exit 0" TERM; sleep 120 & wait`;
    return host.run(
      "systemd-run",
      ["--quiet", "--unit=quorate-guest-lab.web1.service", "--service-type=exec", "--", "/bin/sh", "-c", text],
      { timeoutMs: 20_000 },
    );
  };
  const goDown = (target: string) =>
    host.run("systemctl", ["start", "--no-block", "--job-mode=replace-irreversibly", target], { timeoutMs: 20_000 });

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "quorate-shutdown-"));
    mkdirSync(join(folder, "program/bin"), { recursive: true });
    mkdirSync(join(folder, "program/lib"));
    symlinkSync(process.execPath, join(folder, "program/bin/node"));
    writeFileSync(
      join(folder, "program/lib/quorate.mjs"),
      `await import(${JSON.stringify(join(import.meta.dirname, "../../main.ts"))});\n`,
    );
    group = join(CGROUPS ?? "", `quorate-shutdown-test-${process.pid}`);
    mkdirSync(group);
    const enter = 'echo $$ >"$1/cgroup.procs" && shift && exec unshare --mount --cgroup --propagation private "$@"';
    manager = spawn("bash", ["-c", enter, "enter", group, "bash", "-c", HOLDER, "holder", folder], { stdio: "ignore" });
    host = podHost(manager.pid);
    await until("systemd is up", async () => (await systemctl("is-system-running").catch(() => "")) === "running");
    await installShutdownUnit(host, join(folder, "program"));
  });
  afterEach(async () => {
    writeFileSync(join(group, "cgroup.kill"), "1");
    if (manager.exitCode === null && manager.signalCode === null) await once(manager, "exit");
    await until("an empty control group", () => removedGroup(group));
    rmSync(folder, { recursive: true, force: true });
  });

  test("waits for the agent; guests and what they need end after that, and nothing new can start", async () => {
    await startMachine();
    await goDown("reboot.target");
    const request = await until("the request", () => readShutdownRequest(host));
    assert.deepEqual(request, { kind: "reboot" });
    // Longer than systemd would need for everything else.
    for (let beat = 0; beat < 20; beat += 1) {
      await answerShutdown(host, { beat, done: false });
      await delay(100);
    }
    assert.deepEqual(order(), []);
    assert.equal(await systemctl("is-active", "needed.service"), "active");
    assert.equal(await systemctl("is-active", "quorate-guest-lab.web1.service"), "active");
    await assert.rejects(
      host.run("systemd-run", ["--unit=quorate-guest-lab.web2.service", "--", "/bin/true"], { timeoutMs: 20_000 }),
      /destructive|shutdown/i,
    );
    // As a driver ends it: not by a job of systemd, which would wait for the unit that waits for us.
    await systemctl("kill", "--signal=SIGTERM", "quorate-guest-lab.web1.service");
    await until("the machine's end", () => order().length > 0);
    assert.deepEqual(order(), ["machine ended"]);
    await answerShutdown(host, { beat: 99, done: true });
    await until("the end of the rest", () => order().length > 1);
    assert.deepEqual(order(), ["machine ended", "needed ended"]);
  });

  test("is told apart from a power-off, and from the stop of the unit", async () => {
    await systemctl("stop", SHUTDOWN_UNIT);
    assert.equal(await readShutdownRequest(host), undefined);
    await systemctl("start", SHUTDOWN_UNIT);
    await goDown("poweroff.target");
    assert.deepEqual(await until("the request", () => readShutdownRequest(host)), { kind: "power-off" });
  });

  test("forgets a request when the unit starts again", async () => {
    await host.writeFileAtomic("/run/quorate/shutdown/request.json", '{"kind":"reboot"}', { mode: 0o600 });
    await systemctl("restart", SHUTDOWN_UNIT);
    assert.equal(await readShutdownRequest(host), undefined);
  });

  test("knows nothing of it any more once the unit is removed", async () => {
    await removeShutdownUnit(host);
    assert.equal(await systemctl("show", "--property=LoadState", "--value", SHUTDOWN_UNIT), "not-found");
    await removeShutdownUnit(host);
  });
});

/** The deepest first. Undefined while there is a process in any. */
function removedGroup(folder: string): true | undefined {
  const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  if (!entries.every((entry) => removedGroup(join(folder, entry.name)))) return undefined;
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return undefined;
  }
}
