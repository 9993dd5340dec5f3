import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { execa } from "execa";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { agoOf, labDrafts, lease, NAMESPACE } from "./testing/lab.ts";

const repository = join(import.meta.dirname, "..");
const program = join(repository, "bin", "kubectl-quorate");

interface Ended {
  stdout: string;
  stderr: string;
  exitCode: number | undefined;
}

/** The plugin as a process, against a real API server with the objects of a lab whose statuses are written as by controllers. */
describe("kubectl quorate, against a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "quorate-plugin-"));
    controlPlane = await startControlPlane();
    await controlPlane.kubectl(["apply", "--server-side", "-f", join(repository, "crds")]);
    await controlPlane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]);
    await controlPlane.kubectl(["create", "namespace", NAMESPACE]);
    await controlPlane.kubectl(["create", "namespace", "empty"]);
    const ago = agoOf(Date.now());
    for (const draft of [...labDrafts(ago), ...["n1", "n2", "n3"].map((node) => lease(node, ago))]) await put(draft);
  });
  after(async () => {
    await controlPlane?.stop();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  async function put(draft: { kind: string; metadata: { name: string }; status?: object }): Promise<void> {
    const { status, ...object } = { apiVersion: "quorate.dev/v1alpha1", ...draft };
    await controlPlane.kubectl(["apply", "-n", NAMESPACE, "-f", "-"], { input: JSON.stringify(object) });
    if (status !== undefined) await putStatus(draft.kind, draft.metadata.name, status);
  }

  async function putStatus(kind: string, name: string, status: object): Promise<void> {
    const patch = JSON.stringify({ status });
    const object = `${kind.toLowerCase()}.quorate.dev/${name}`;
    await controlPlane.kubectl(["patch", object, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch]);
  }

  async function run(args: string[], environment: Record<string, string> = {}): Promise<Ended> {
    const env = { KUBECONFIG: controlPlane.kubeconfig, TERM: "xterm", ...environment };
    const { stdout, stderr, exitCode } = await execa(program, args, {
      env,
      cwd: folder,
      reject: false,
      timeout: 60_000,
    });
    return { stdout, stderr, exitCode };
  }

  async function ok(...args: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await run([...args, "-n", NAMESPACE]);
    assert.equal(exitCode, 0, `kubectl quorate ${args.join(" ")}:\n${stdout}\n${stderr}`);
    return stdout;
  }

  async function field(object: string, path: string): Promise<string> {
    const args = ["get", object, "-n", NAMESPACE, "-o", `jsonpath={${path}}`];
    return (await controlPlane.kubectl(args)).stdout;
  }

  async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (!(await holds())) {
      if (Date.now() > deadline) assert.fail(`${what} did not happen within 30 s`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  it("is found by kubectl as a plugin", async () => {
    const kubectl = controlPlane.binaries.kubectl ?? "kubectl";
    const env = {
      KUBECONFIG: controlPlane.kubeconfig,
      PATH: `${join(repository, "bin")}:${process.env.PATH ?? ""}`,
    };
    const { stdout } = await execa(kubectl, ["quorate", "status", "-n", NAMESPACE], { env });
    assert.match(stdout, /^quorum +quorate, 3 of 3 votes, 2 needed$/m);
  });

  it("status shows cluster, nodes, guests and jobs, without colour where nobody looks", async () => {
    const screen = await ok("status");
    for (const row of [
      /^cluster +lab in namespace lab$/m,
      /^n1 +1 +1 +Online +yes +2\/2 +Active +\d+s +10s armed$/m,
      /^web1 +100 +Machine +Running +n1 +Started +Started +3m\d+s/m,
      /^web1-n2 +100-0 +web1 +n1 +n2 +\*\/5 +\d+s +in \S+ +Idle/m,
    ]) {
      assert.match(screen, row);
    }
    assert.equal(screen.includes("\u001b"), false);
    assert.doesNotMatch(screen, /NEEDS A LOOK/);
  });

  it("takes namespace, context and kubeconfig as kubectl does, before and after the command", async () => {
    const context = (await controlPlane.kubectl(["config", "current-context"])).stdout.trim();
    const flags = ["--kubeconfig", controlPlane.kubeconfig, "--context", context];
    const { exitCode, stdout } = await run([...flags, "nodes", "--namespace", NAMESPACE], { KUBECONFIG: "/nowhere" });
    assert.equal(exitCode, 0);
    assert.match(stdout, /^n3 +3 +1 +Online +0 +10\.6\.0\.3,10\.6\.1\.3 /m);
    const wrong = await run(["nodes", "--context", "elsewhere"]);
    assert.equal(wrong.exitCode, 1);
    assert.match(wrong.stderr, /^error: the kubeconfig has no context "elsewhere"; it has: /);
  });

  it("says where the clusters are when there is none in the namespace", async () => {
    const { exitCode, stderr } = await run(["status", "-n", "empty"]);
    assert.equal(exitCode, 1);
    assert.equal(stderr, 'error: namespace "empty" holds no Cluster; name one of these with -n: lab');
  });

  it("ends with 64 for wrong usage, and asks the API server nothing", async () => {
    for (const args of [
      [],
      ["statu"],
      ["migrate", "web1"],
      ["maintenance", "n1", "maybe"],
      ["why", "../web1"],
      ["status", "--request-timeout", "soon"],
      ["disarm"],
    ]) {
      const { exitCode, stderr } = await run(args, { KUBECONFIG: "/nowhere" });
      assert.equal(exitCode, 64, `${args.join(" ")}: ${stderr}`);
      assert.notEqual(stderr, "");
    }
    assert.equal((await run(["--help"], { KUBECONFIG: "/nowhere" })).exitCode, 0);
  });

  it("says that the API server does not answer, and that guests run on", async () => {
    const file = join(folder, "unreachable");
    const text = readFileSync(controlPlane.kubeconfig, "utf8").replaceAll(controlPlane.url, "https://127.0.0.1:1");
    execFileSync("tee", [file], { input: text, stdio: ["pipe", "ignore", "inherit"] });
    const { exitCode, stderr } = await run(["status", "--kubeconfig", file, "--request-timeout", "2s"]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /^error: .*127\.0\.0\.1:1.*\nThe API server does not answer: check --kubeconfig/);
  });

  it("says which role is missing", async () => {
    const kubeconfig = await controlPlane.kubeconfigFor({ name: "visitor" });
    const { exitCode, stderr } = await run(["status", "-n", NAMESPACE, "--kubeconfig", kubeconfig]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /visitor.*cannot list.*\nYou need the role "quorate-view"/s);
  });

  it("shows everything but heartbeats to who may read the cluster and no Leases", async () => {
    const grant = ["-n", NAMESPACE, "reader", "--verb=get,list", "--resource=*.quorate.dev"];
    await controlPlane.kubectl(["create", "role", ...grant]);
    await controlPlane.kubectl(["create", "rolebinding", "reader", "-n", NAMESPACE, "--role=reader", "--user=reader"]);
    const kubeconfig = await controlPlane.kubeconfigFor({ name: "reader" });
    // The API server learns of a new role a moment after it was written.
    let said: Ended | undefined;
    await eventually("the role", async () => {
      said = await run(["status", "-n", NAMESPACE, "--kubeconfig", kubeconfig]);
      return said.exitCode === 0;
    });
    assert.match(said?.stdout ?? "", /^n1 .* Active +- +10s armed$/m);
  });

  it("why explains a guest under HA, and says of another that it is not", async () => {
    assert.match(await ok("why", "web1"), /^- it is as asked for, and no rule wants it elsewhere$/m);
    assert.match(await ok("why", "db1"), /^db1 is not under HA: it is bound to n2/);
    const { exitCode, stderr } = await run(["why", "web9", "-n", NAMESPACE]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /^error: namespace "lab" has no HAResource "web9"; "kubectl get haresources -n lab" lists/);
  });

  it("maintenance sets and takes back the wish, once", async () => {
    assert.match(await ok("maintenance", "n1", "on"), /^n1: maintenance begins; 1 guest under HA leaves\./);
    assert.equal(await field("clusternode/n1", ".spec.maintenance"), "true");
    assert.equal(await ok("maintenance", "n1", "on"), "n1: maintenance is on already");
    assert.match(await ok("status"), /^n1 +1 +1 +Online, leaving/m);
    assert.match(await ok("maintenance", "n1", "off"), /^n1: maintenance ends/);
    assert.equal(await field("clusternode/n1", ".spec.maintenance"), "false");
    const { exitCode, stderr } = await run(["maintenance", "n9", "on", "-n", NAMESPACE]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /has no ClusterNode "n9"/);
  });

  it("disarm and arm set and remove the field, and wait for the controllers when asked", async () => {
    assert.match(await ok("disarm", "freeze"), /^lab: disarms \(Freeze\)/);
    assert.equal(await field("cluster/lab", ".spec.ha.disarm"), "Freeze");
    assert.equal(await ok("disarm", "freeze"), "lab: disarmed (Freeze) already");
    const late = await run(["disarm", "freeze", "--wait", "--timeout", "1s", "-n", NAMESPACE]);
    assert.equal(late.exitCode, 1);
    assert.match(late.stderr, /Cluster "lab" is not disarmed yet \(Armed: /);
    const waiting = run(["disarm", "ignore", "--wait", "-n", NAMESPACE]);
    await eventually("the wish", async () => (await field("cluster/lab", ".spec.ha.disarm")) === "Ignore");
    await putArmed("False", "Disarmed");
    assert.match((await waiting).stdout, /\nlab: Disarmed$/);
    assert.match(await ok("arm"), /^lab: arms again$/);
    assert.equal(await field("cluster/lab", ".spec.ha.disarm"), "");
    await putArmed("True", "Armed");
    assert.match(await ok("arm", "--wait"), /^lab: armed already\nlab: Armed$/);
  });

  async function putArmed(status: string, reason: string): Promise<void> {
    const all = JSON.parse(await field("cluster/lab", ".status.conditions")) as { type: string }[];
    await putStatus("Cluster", "lab", {
      conditions: all.map((one) => (one.type === "Armed" ? { ...one, status, reason } : one)),
    });
  }

  it("migrate creates a Migration and follows it to its end", async () => {
    const going = run(["migrate", "web1", "n2", "--relocate", "--watch", "-n", NAMESPACE]);
    const name = await onlyMigration();
    assert.equal(
      await field(`migration/${name}`, ".spec"),
      '{"guest":"web1","mode":"Relocate","target":"n2","ttlSecondsAfterFinished":3600}',
    );
    await putStatus("Migration", name, { state: "Succeeded", source: "n1", downtimeMilliseconds: 900 });
    const { stdout, exitCode } = await going;
    assert.equal(exitCode, 0);
    assert.match(stdout, new RegExp(`^Migration ${name} created: web1 goes to n2\n`));
    assert.match(stdout, /\nweb1 is on n2 after \d+s; it stood still for 900 ms$/);
    await controlPlane.kubectl(["delete", "migration", name, "-n", NAMESPACE]);
  });

  it("migrate --watch fails with the reason of the Migration", async () => {
    const going = run(["migrate", "web1", "n3", "--watch", "-n", NAMESPACE]);
    const name = await onlyMigration();
    assert.equal(await field(`migration/${name}`, ".spec.mode"), "Auto");
    await putStatus("Migration", name, { state: "Failed", reason: "TargetNotOnline", message: "n3 is in maintenance" });
    const { stderr, exitCode } = await going;
    assert.equal(exitCode, 1);
    assert.match(stderr, /^error: Migration "\S+" failed after \d+s: TargetNotOnline: n3 is in maintenance$/);
    await controlPlane.kubectl(["delete", "migration", name, "-n", NAMESPACE]);
  });

  async function onlyMigration(): Promise<string> {
    let name = "";
    await eventually("the Migration", async () => {
      name = (await controlPlane.kubectl(["get", "migration", "-n", NAMESPACE, "-o", "name"])).stdout.trim();
      return name !== "";
    });
    return name.split("/").at(-1) ?? "";
  }

  it("migrate refuses what cannot be, and does nothing for a guest that is there", async () => {
    assert.equal(await ok("migrate", "web1", "n1"), "web1 is on n1 already");
    for (const [guest, node, said] of [
      ["web9", "n1", /has no Guest "web9"/],
      ["web1", "n9", /has no ClusterNode "n9"/],
    ] as const) {
      const { exitCode, stderr } = await run(["migrate", guest, node, "-n", NAMESPACE]);
      assert.equal(exitCode, 1);
      assert.match(stderr, said);
    }
  });

  it("replication lists, shows logs, and follows a run that it asked for", async () => {
    assert.match(await ok("replication", "list"), /^web1-n2 +100-0 +web1 +n1 +n2 /m);
    assert.match(
      await ok("replication", "log", "web1-n2"),
      /snapshot .*\n.* done\nweb1-n2: succeeded in 3s \(what changed, 5\.0 MiB\)$/,
    );
    const going = run(["replication", "run", "web1-n2", "--follow", "-n", NAMESPACE]);
    let runNow = "";
    await eventually("runNow", async () => {
      runNow = await field("replicationjob/web1-n2", ".spec.runNow");
      return runNow !== "";
    });
    const startedAt = new Date().toISOString();
    await putStatus("ReplicationJob", "web1-n2", {
      state: "Idle",
      observedRunNow: runNow,
      lastRun: { startedAt, finishedAt: startedAt, outcome: "Succeeded", bytes: 42, full: true },
      log: [`${startedAt} sent`],
    });
    const { stdout, exitCode } = await going;
    assert.equal(exitCode, 0);
    assert.equal(stdout, `web1-n2: asked to run now\n${startedAt} sent\nweb1-n2: succeeded in 0s (everything, 42 B)`);
  });

  it("support-bundle packs objects without secrets, and says what it could not read", async () => {
    const secret = [
      "create",
      "secret",
      "generic",
      "quorate-corosync-key",
      "-n",
      NAMESPACE,
      "--from-literal=authkey=hunter2",
    ];
    await controlPlane.kubectl(secret);
    const annotation = ["annotate", "clusternode", "n1", "-n", NAMESPACE, "example.com/api-token=hunter2"];
    await controlPlane.kubectl(annotation);
    const published = [
      "create",
      "configmap",
      "quorate-corosync",
      "-n",
      NAMESPACE,
      "--from-literal=corosync.conf=totem {}",
    ];
    await controlPlane.kubectl(published);
    const { stdout, stderr, exitCode } = await run(["support-bundle", "-o", "bundle.tar.gz", "-n", NAMESPACE]);
    assert.equal(exitCode, 0, stderr);
    assert.equal(stdout, join(folder, "bundle.tar.gz"));
    assert.match(stderr, /no pods of Quorate were found/);
    execFileSync("tar", ["-xzf", "bundle.tar.gz"], { cwd: folder });
    const read = (file: string) => readFileSync(join(folder, "bundle", file), "utf8");
    assert.match(read("cluster/clusternodes.yaml"), /name: n1[\s\S]*name: n3/);
    assert.match(read("cluster/leases.yaml"), /holderIdentity: n1\/boot-n1/);
    assert.match(read("cluster/configmap-quorate-corosync.yaml"), /totem \{\}/);
    assert.match(read("status.txt"), /^quorum +quorate/m);
    assert.match(read("version.json"), /gitVersion/);
    const files = readdirSync(join(folder, "bundle"), { recursive: true, withFileTypes: true }).filter((one) =>
      one.isFile(),
    );
    assert.equal(files.length > 10, true);
    for (const { parentPath, name } of files)
      assert.doesNotMatch(readFileSync(join(parentPath, name), "utf8"), /hunter2/);
  });

  it("support-bundle writes a folder when asked, and never over something", async () => {
    assert.equal(await ok("support-bundle", "-o", "folder"), join(folder, "folder"));
    assert.equal(existsSync(join(folder, "folder", "cluster", "guests.yaml")), true);
    const { exitCode, stderr } = await run(["support-bundle", "-o", "folder", "-n", NAMESPACE]);
    assert.equal(exitCode, 1);
    assert.match(stderr, /folder exists; remove it, or name another file with -o/);
  });
});
