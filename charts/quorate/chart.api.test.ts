import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { dump, load, loadAll } from "js-yaml";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../../e2e/controlplane/index.ts";
import { ensureBinaries, whyNotAvailable } from "../../e2e/tools/index.ts";

const chart = import.meta.dirname;
const skip = whyNoControlPlane() ?? whyNotAvailable(["helm"]) ?? false;
const NAMESPACE = "quorate-system";
/** Everything that is optional and needs no other operator's kinds. */
const EVERYTHING = [
  "--set=networkPolicy.restrictEgress=true,apiServer.host=10.6.0.254,controllers.podLabels.a=b,agent.podAnnotations.c=d",
];

/** The one value without a default. */
const IMAGE = "--set=image.repository=registry.example/quorate";

const RIGHTS: Record<string, [verb: string, may: "yes" | "no", what: string][]> = {
  "quorate-agent": [
    ["watch", "yes", "quorate.dev/clusternodes"],
    ["patch", "yes", "quorate.dev/clusternodes/status"],
    ["patch", "yes", "quorate.dev/guests/status"],
    ["patch", "yes", "quorate.dev/haresources/status"],
    ["patch", "yes", "quorate.dev/replicationjobs/status"],
    ["get", "yes", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["create", "yes", "coordination.k8s.io/leases"],
    ["update", "yes", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["watch", "yes", "core/secrets=quorate-corosync-key"],
    ["watch", "yes", "core/configmaps=quorate-corosync"],
    ["get", "yes", "core/configmaps=quorate-ca"],
    ["create", "yes", "certificates.k8s.io/certificatesigningrequests"],
    ["get", "yes", "certificates.k8s.io/certificatesigningrequests"],
    ["patch", "no", "quorate.dev/clusternodes"],
    ["patch", "no", "quorate.dev/guests"],
    ["patch", "no", "quorate.dev/clusters/status"],
    ["patch", "no", "quorate.dev/migrations/status"],
    ["list", "no", "coordination.k8s.io/leases"],
    ["patch", "no", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["delete", "no", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["get", "no", "core/secrets=anything"],
    ["list", "no", "core/secrets"],
    ["update", "no", "core/secrets=quorate-corosync-key"],
    ["update", "no", "core/configmaps=quorate-corosync"],
    ["create", "no", "core/pods"],
    ["patch", "no", "core/nodes=n1"],
    ["list", "no", "certificates.k8s.io/certificatesigningrequests"],
    ["patch", "no", "certificates.k8s.io/certificatesigningrequests/approval"],
  ],
  "quorate-controllers": [
    ["patch", "yes", "quorate.dev/clusters"],
    ["patch", "yes", "quorate.dev/guests"],
    ["patch", "yes", "quorate.dev/clusternodes"],
    ["patch", "yes", "quorate.dev/replicationjobs"],
    ["patch", "yes", "quorate.dev/clusters/status"],
    ["patch", "yes", "quorate.dev/migrations/status"],
    ["delete", "yes", "quorate.dev/migrations"],
    ["delete", "yes", "quorate.dev/replicationjobs"],
    ["watch", "yes", "coordination.k8s.io/leases"],
    ["update", "yes", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["delete", "yes", "coordination.k8s.io/leases=quorate-agent-n1"],
    ["watch", "yes", "core/configmaps=quorate-corosync"],
    ["update", "yes", "core/configmaps=quorate-corosync"],
    ["patch", "yes", "core/configmaps=quorate-ca"],
    ["get", "yes", "core/secrets=quorate-corosync-key"],
    ["create", "yes", "core/secrets"],
    ["patch", "yes", "certificates.k8s.io/certificatesigningrequests/approval"],
    ["patch", "yes", "certificates.k8s.io/certificatesigningrequests/status"],
    ["sign", "yes", "certificates.k8s.io/signers=quorate.dev/agent"],
    ["sign", "no", "certificates.k8s.io/signers=kubernetes.io/kube-apiserver-client"],
    ["get", "no", "core/secrets=anything"],
    ["list", "no", "core/secrets"],
    ["update", "no", "quorate.dev/clusters"],
    ["delete", "no", "quorate.dev/clusters"],
    ["patch", "no", "quorate.dev/haresources"],
    ["update", "no", "quorate.dev/guests"],
    ["patch", "no", "quorate.dev/guests/status"],
    ["create", "no", "quorate.dev/migrations"],
    ["update", "no", "core/secrets=quorate-corosync-key"],
    ["delete", "no", "core/secrets=quorate-ca"],
    ["delete", "no", "core/configmaps=quorate-corosync"],
    ["list", "no", "core/nodes"],
    ["delete", "no", "quorate.dev/guests"],
    ["delete", "no", "quorate.dev/clusternodes"],
    ["create", "no", "core/pods"],
    ["escalate", "no", "rbac.authorization.k8s.io/clusterroles"],
  ],
};

describe("the chart with helm", { skip }, () => {
  let controlPlane: ControlPlane;
  let helmBinary: string;
  let folder: string;
  before(async () => {
    helmBinary = (await ensureBinaries(["helm"])).helm;
    folder = mkdtempSync(join(tmpdir(), "quorate-chart-"));
    controlPlane = await startControlPlane();
  });
  after(async () => {
    await controlPlane?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function helm(...args: string[]): Promise<string> {
    const homes = Object.fromEntries(
      ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map((name) => [name, join(folder, name)]),
    );
    const env = { ...process.env, ...homes, KUBECONFIG: controlPlane.kubeconfig };
    const { stdout, stderr } = await promisify(execFile)(helmBinary, args, {
      env,
      timeout: 120_000,
      maxBuffer: 64 << 20,
    });
    return stdout + stderr;
  }
  const kubectl = async (...args: string[]) => (await controlPlane.kubectl(args)).stdout;
  const install = (...args: string[]) =>
    helm("install", "quorate", chart, IMAGE, "--namespace", NAMESPACE, "--create-namespace", ...args);
  const uninstall = () => helm("uninstall", "quorate", "--namespace", NAMESPACE);
  const template = async (...args: string[]) =>
    loadAll(await helm("template", "quorate", chart, IMAGE, "--namespace", NAMESPACE, ...args)) as Manifest[];

  it("passes helm's own checks", async () => {
    assert.match(await helm("lint", "--strict", chart), /0 chart\(s\) failed/);
  });

  it("refuses values that are wrong, and says which and why", async () => {
    const refused = async (setting: string, why: RegExp) =>
      assert.rejects(helm("template", chart, `--set=${setting}`), why);
    await refused("controllers.replicas=0", /at '\/controllers\/replicas': minimum: got 0, want 1/);
    await refused("controlers.replicas=2", /additional properties 'controlers' not allowed/);
    await refused("logLevel=loud", /at '\/logLevel': value must be one of 'trace', 'debug'/);
    await refused("agent.enabled=perhaps", /at '\/agent\/enabled': got string, want boolean/);
    await refused("image.digest=latest", /at '\/image\/digest': 'latest' does not match pattern/);
  });

  it("is accepted by the API server without unknown fields, with all options on and off", async () => {
    const off = [
      "--set=agent.enabled=false,networkPolicy.enabled=false,controllers.podDisruptionBudget=false,controllers.hostNetwork=true",
    ];
    await kubectl("create", "namespace", "dry-run");
    await kubectl("create", "serviceaccount", "default", "--namespace=dry-run");
    for (const options of [EVERYTHING, off]) {
      const manifests = await helm("template", "quorate", chart, IMAGE, "--namespace", "dry-run", ...options);
      await controlPlane.kubectl(["apply", "--dry-run=server", "--validate=strict", "-f", "-"], { input: manifests });
    }
  });

  it("makes kinds of the Prometheus operator only when asked", async () => {
    const kinds = async (...args: string[]) => new Set((await template(...args)).map(({ kind }) => kind));
    assert.equal((await kinds()).has("ServiceMonitor"), false);
    const asked = await kinds("--set=serviceMonitor.enabled=true,prometheusRule.enabled=true");
    assert.ok(asked.has("ServiceMonitor") && asked.has("PrometheusRule"));
  });

  it("installs, shows its kinds to kubectl, and keeps kinds and objects when it is uninstalled", async () => {
    assert.match(await install(...EVERYTHING), /Quorate 0\.1\.0 is installed in namespace quorate-system/);
    await kubectl(
      "wait",
      "--for=condition=Established",
      "crd",
      "--selector=app.kubernetes.io/name=quorate",
      "--timeout=30s",
    );
    await controlPlane.kubectl(["apply", "-f", "-"], { input: EXAMPLE });
    assert.match(await kubectl("get", "quorate", "--namespace=default"), /cluster\.quorate\.dev\/lab/);
    await uninstall();
    assert.equal(
      await kubectl(
        "get",
        "daemonsets,deployments,clusterroles",
        "--all-namespaces",
        "--selector=app.kubernetes.io/name=quorate",
        "-o",
        "name",
      ),
      "",
    );
    assert.match(await kubectl("get", "quorate", "--namespace=default"), /cluster\.quorate\.dev\/lab/);
  });

  it("takes up what it kept when it is installed again, and deletes it when crds.keep is off", async () => {
    await install("--set=crds.keep=false");
    assert.match(await kubectl("get", "clusters", "--namespace=default"), /lab/);
    await uninstall();
    await kubectl("wait", "--for=delete", "crd", "--selector=app.kubernetes.io/name=quorate", "--timeout=30s");
  });

  it("upgrades the kinds of an older release", async () => {
    const older = join(folder, "older");
    cpSync(chart, older, { recursive: true });
    const file = join(older, "files/crds/cluster.yaml");
    const definition = load(readFileSync(file, "utf8")) as Definition;
    for (const version of definition.spec.versions) version.additionalPrinterColumns = [];
    writeFileSync(file, dump(definition));
    const columns = () =>
      kubectl(
        "get",
        "crd",
        "clusters.quorate.dev",
        "-o",
        "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}",
      );
    await helm("install", "quorate", older, IMAGE, "--namespace", NAMESPACE, "--create-namespace");
    assert.doesNotMatch(await columns(), /Quorate/);
    await helm("upgrade", "quorate", chart, IMAGE, "--namespace", NAMESPACE);
    assert.match(await columns(), /Quorate/);
  });

  it("runs controllers that satisfy the restricted pod security standard", async () => {
    const deployment = (await template()).find(({ kind }) => kind === "Deployment");
    await kubectl("create", "namespace", "restricted");
    await kubectl("label", "namespace", "restricted", "pod-security.kubernetes.io/enforce=restricted");
    await kubectl("create", "serviceaccount", "quorate-controllers", "--namespace=restricted");
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      ...deployment?.spec?.template,
      metadata: { name: "controllers", namespace: "restricted" },
    };
    await controlPlane.kubectl(["create", "--dry-run=server", "-f", "-"], { input: JSON.stringify(pod) });
    const agent = (await template()).find(({ kind }) => kind === "DaemonSet");
    const privileged = { ...pod, ...agent?.spec?.template, metadata: pod.metadata };
    privileged.spec = { ...privileged.spec, serviceAccountName: "quorate-controllers" };
    await assert.rejects(
      controlPlane.kubectl(["create", "--dry-run=server", "-f", "-"], { input: JSON.stringify(privileged) }),
      /violates PodSecurity "restricted/,
    );
  });

  for (const [who, rights] of Object.entries(RIGHTS)) {
    for (const [verb, may, what] of rights) {
      it(`lets ${who} ${may === "yes" ? "" : "not "}${verb} ${what}`, async () => {
        const user = `system:serviceaccount:${NAMESPACE}:${who}`;
        assert.equal(await isAllowed(user, verb, what), may === "yes");
      });
    }
  }

  /** @param what group/resource[/subresource][=name], the group of core being "core" */
  async function isAllowed(user: string, verb: string, what: string): Promise<boolean> {
    const [path = "", name] = what.split("=");
    const [group = "", resource = "", subresource] = path.split("/");
    const resourceAttributes = {
      namespace: "default",
      verb,
      group: group === "core" ? "" : group,
      resource,
      subresource,
      name,
    };
    const review = {
      apiVersion: "authorization.k8s.io/v1",
      kind: "SubjectAccessReview",
      spec: { user, resourceAttributes },
    };
    const { stdout } = await controlPlane.kubectl(["create", "-f", "-", "-o", "jsonpath={.status.allowed}"], {
      input: JSON.stringify(review),
    });
    return stdout === "true";
  }

  it("binds agents to their own node by admission policies for its own service account", async () => {
    const lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "quorate-agent-n1", namespace: "default" },
    };
    const said = (args: string[]) =>
      controlPlane.kubectl(args, { input: JSON.stringify(lease) }).then(
        () => "accepted",
        (error: Error) => error.message,
      );
    const as = (account: string) => `--as=system:serviceaccount:${NAMESPACE}:${account}`;
    const create = (...claims: string[]) =>
      said(["create", "-f", "-", "--dry-run=server", as("quorate-agent"), ...claims]);
    const boundTo = (node: string) => `--as-user-extra=authentication.kubernetes.io/node-name=${node}`;
    // The API server takes a moment to see a new policy.
    const deadline = Date.now() + 20_000;
    while (!(await create()).includes("denied") && Date.now() < deadline) await delay(200);
    assert.match(await create(), /not bound to a node/);
    assert.match(await create(boundTo("n2")), /the agent of node "n2" may .* Lease "quorate-agent-n2" only/);
    assert.equal(await create(boundTo("n1")), "accepted");
    assert.equal(await said(["create", "-f", "-"]), "accepted");
    const remove = ["delete", "lease", lease.metadata.name, "--namespace=default"];
    assert.match(await said(remove), /delete ClusterNode "n1"/);
    assert.equal(await said([...remove, as("quorate-controllers")]), "accepted");
  });

  it("shows clusters to who may view a namespace, and lets only who is bound to quorate-admin change them", async () => {
    await kubectl("create", "rolebinding", "editor", "--clusterrole=edit", "--user=ed", "--namespace=default");
    await kubectl(
      "create",
      "rolebinding",
      "operator",
      "--clusterrole=quorate-admin",
      "--user=ada",
      "--namespace=default",
    );
    // The aggregation into "view" is the controller-manager's work, which does not run here: its label is what we check.
    assert.match(
      await kubectl("get", "clusterrole", "quorate-view", "-o", "jsonpath={.metadata.labels}"),
      /"rbac\.authorization\.k8s\.io\/aggregate-to-view":"true"/,
    );
    assert.equal(await isAllowed("ed", "create", "quorate.dev/clusternodes"), false);
    assert.equal(await isAllowed("ada", "create", "quorate.dev/clusternodes"), true);
  });
});

interface Manifest {
  kind: string;
  metadata: { name: string };
  spec?: { template?: { spec?: Record<string, unknown> } };
}

interface Definition {
  spec: { versions: { additionalPrinterColumns: unknown[] }[] };
}

const EXAMPLE = `
apiVersion: quorate.dev/v1alpha1
kind: Cluster
metadata: {name: lab, namespace: default}
spec:
  links: [{network: 10.6.0.0/24}]
`;
