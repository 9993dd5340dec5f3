import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { cacheFolder, ensureBinaries, identifyProcess } from "../tools/index.ts";
import {
  type ControlPlane,
  listRecords,
  openControlPlane,
  startControlPlane,
  toolNames,
  whyNoControlPlane,
} from "./index.ts";

const skip = whyNoControlPlane({ cluster: true }) ?? false;
const main = join(import.meta.dirname, "../../main.ts");

describe("a control plane", { skip }, () => {
  let controlPlane: ControlPlane;
  before(async () => {
    controlPlane = await startControlPlane({ useExisting: false });
  });
  after(() => controlPlane?.stop());

  it("answers kubectl with the pinned version", async () => {
    const { stdout } = await controlPlane.kubectl(["version", "-o", "json"]);
    const { serverVersion } = JSON.parse(stdout);
    assert.equal(
      `${serverVersion.major}.${serverVersion.minor}`,
      serverVersion.gitVersion.slice(1).split(".").slice(0, 2).join("."),
    );
    assert.notEqual(serverVersion.major, "0");
  });

  it("denies a user without rights and lets RBAC grant them", async () => {
    const kubeconfig = await controlPlane.kubeconfigFor({ name: "jane", groups: ["operators"] });
    await assert.rejects(
      controlPlane.kubectl(["get", "configmaps"], { kubeconfig }),
      /User "jane" cannot list resource "configmaps"/,
    );
    await controlPlane.kubectl(["create", "clusterrole", "reader", "--verb=list", "--resource=configmaps"]);
    await controlPlane.kubectl([
      "create",
      "clusterrolebinding",
      "readers",
      "--clusterrole=reader",
      "--group=operators",
    ]);
    await until("jane may list ConfigMaps", () =>
      controlPlane.kubectl(["get", "configmaps"], { kubeconfig }).then(
        () => true,
        () => false,
      ),
    );
  });

  it("lets a kubelet write its own Node only", async () => {
    const kubeconfig = await controlPlane.kubeconfigFor({ name: "system:node:n1", groups: ["system:nodes"] });
    const node = (name: string) => JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name } });
    await controlPlane.kubectl(["create", "-f", "-"], { kubeconfig, input: node("n1") });
    await assert.rejects(
      controlPlane.kubectl(["create", "-f", "-"], { kubeconfig, input: node("n2") }),
      /node "n1" is not allowed to modify node "n2"/,
    );
  });

  it("keeps its objects and address while its API server is ended and started", async () => {
    await controlPlane.kubectl(["create", "configmap", "kept"]);
    await controlPlane.stopApiServer();
    await assert.rejects(controlPlane.kubectl(["get", "configmap", "kept"]), /refused/);
    await controlPlane.startApiServer();
    await controlPlane.kubectl(["get", "configmap", "kept"]);
  });

  it("answers nothing while its API server is paused", async () => {
    controlPlane.pauseApiServer();
    try {
      await assert.rejects(controlPlane.kubectl(["get", "namespaces", "--request-timeout=1s"]));
    } finally {
      controlPlane.resumeApiServer();
    }
    await controlPlane.kubectl(["get", "namespaces"]);
  });

  it("runs beside another one; stopping that leaves no process and no file of it", async () => {
    const second = await startControlPlane({ name: `second-${process.pid}`, useExisting: false });
    const record = listRecords().find(({ name }) => name === second.name);
    assert.ok(record);
    assert.notEqual(second.url, controlPlane.url);
    const pids = Object.values(record.servers).map(({ pid }) => pid);
    assert.equal(pids.length, 2);
    await second.stop();
    assert.deepEqual(pids.filter(identifyProcess), []);
    assert.equal(existsSync(record.folder), false);
    await controlPlane.kubectl(["get", "namespaces"]);
  });

  it("can be the existing cluster of somebody else, who keeps it", async () => {
    const before = process.env.KUBECONFIG;
    process.env.KUBECONFIG = controlPlane.kubeconfig;
    try {
      const existing = await startControlPlane({ useExisting: true });
      assert.equal(existing.url, controlPlane.url);
      const kubeconfig = await existing.kubeconfigFor({ name: "joe", groups: ["nobodies"] });
      await assert.rejects(existing.kubectl(["get", "configmaps"], { kubeconfig }), /User "joe" cannot list/);
      await assert.rejects(existing.stopApiServer(), /not ours to stop/);
      await existing.stop();
      await controlPlane.kubectl(["get", "namespaces"]);
    } finally {
      if (before === undefined) delete process.env.KUBECONFIG;
      else process.env.KUBECONFIG = before;
    }
  });

  it("says what a server said that does not come up", async () => {
    const apiPort = Number(new URL(controlPlane.url).port);
    await assert.rejects(
      startControlPlane({ useExisting: false, network: { apiPort } }),
      /kube-apiserver.* ended; its last lines:[\s\S]*address already in use/,
    );
    assert.deepEqual(
      listRecords().filter(({ owner, name }) => owner?.pid === process.pid && name !== controlPlane.name),
      [],
    );
  });

  it("refuses a name that is taken, and says how to free it", async () => {
    await assert.rejects(
      startControlPlane({ name: controlPlane.name, useExisting: false }),
      /quorate controlplane down --name/,
    );
  });
});

describe("a control plane with cluster: true", { skip }, () => {
  it("makes the pods of a Deployment and deletes namespaces", async () => {
    await using controlPlane = await startControlPlane({ cluster: true, useExisting: false });
    await controlPlane.kubectl(["create", "namespace", "short-lived"]);
    await controlPlane.kubectl([
      "create",
      "deployment",
      "web",
      "--image=none",
      "--replicas=2",
      "--namespace=short-lived",
    ]);
    await until("two pods exist", async () => {
      const { stdout } = await controlPlane.kubectl(["get", "pods", "--namespace=short-lived", "-o", "name"]);
      return stdout.trim().split("\n").length === 2;
    });
    await controlPlane.kubectl(["delete", "namespace", "short-lived", "--timeout=30s"], { timeoutMs: 40_000 });
  });
});

describe("quorate controlplane", { skip }, () => {
  // A cache of its own, so that control planes of others on this machine neither see nor disturb this.
  let cache: string;
  const realCache = process.env.QUORATE_CACHE;
  before(async () => {
    await ensureBinaries(toolNames(false));
    cache = mkdtempSync(join(tmpdir(), "quorate-controlplane-"));
    symlinkSync(cacheFolder("tools"), join(cache, "tools"));
    process.env.QUORATE_CACHE = cache;
  });
  after(async () => {
    await quorate("down", "--all");
    if (realCache === undefined) delete process.env.QUORATE_CACHE;
    else process.env.QUORATE_CACHE = realCache;
    rmSync(cache, { recursive: true, force: true });
  });

  it("up stays after the command, is found again by name, and down ends it", async () => {
    const kubeconfig = (await quorate("up", "--print-kubeconfig")).trim();
    const opened = openControlPlane("default");
    assert.equal(opened?.kubeconfig, kubeconfig);
    await opened.kubectl(["get", "namespaces"]);
    assert.equal((await quorate("up", "--print-kubeconfig")).trim(), kubeconfig, "a second up finds the first");
    assert.match(await quorate("status"), /default {2}https:.*stays until down\n {2}etcd \d+, kube-apiserver \d+/);
    const pids = serverPids();
    await quorate("down");
    assert.deepEqual(pids.filter(identifyProcess), []);
    assert.match(await quorate("status"), /nothing runs/);
  });

  it("down cleans up after a test run that was killed with -9", async () => {
    const pids = await startAndKillOwner();
    assert.match(await quorate("status"), /left behind/);
    assert.match(await quorate("down"), /ended .*, left behind by a process that is gone/);
    assert.deepEqual(pids.filter(identifyProcess), []);
    assert.deepEqual(readdirSync(join(cache, "controlplane")), []);
  });

  it("the next start cleans up after a test run that was killed with -9", async () => {
    const pids = await startAndKillOwner();
    await using next = await startControlPlane({ useExisting: false });
    assert.deepEqual(pids.filter(identifyProcess), []);
    assert.deepEqual(
      listRecords().map(({ name }) => name),
      [next.name],
    );
  });

  it("explains wrong use with exit status 64", async () => {
    await assert.rejects(quorate("sideways"), (error: { code: number; stderr: string }) => {
      assert.match(error.stderr, /no command "sideways"/);
      return error.code === 64;
    });
  });
});

/** A process like a test run: it starts a control plane, and is killed while it uses it. Returns the pids of the servers. */
async function startAndKillOwner(): Promise<number[]> {
  const program = `
    import { startControlPlane } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
    await startControlPlane({ useExisting: false });
    process.stdout.write("ready");
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "--eval", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(owner.stdout, "data");
  owner.kill("SIGKILL");
  await once(owner, "exit");
  const pids = serverPids();
  assert.equal(pids.filter(identifyProcess).length, 2, "the servers outlive their killed owner");
  return pids;
}

function serverPids(): number[] {
  return listRecords().flatMap((record) => Object.values(record.servers).map(({ pid }) => pid));
}

async function quorate(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--disable-warning=ExperimentalWarning",
    main,
    "controlplane",
    ...args,
  ]);
  return stdout;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await holds()); await delay(100)) {
    assert.ok(Date.now() < deadline, `not within 30 s: ${what}`);
  }
}
