import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { execa } from "execa";
import { systemClock } from "../../clock.ts";
import type { Installed } from "../installed/index.ts";
import { type Lab, type LabHost, labUp, waitFor, whyNoLab } from "../lab/index.ts";
import { hostOf, installSharedGuest, processOf, SHARED } from "./shared-guest.ts";
import { Timeline, untilRecovered } from "./timeline.ts";
import { ProcessWatch, witnessOf } from "./twice.ts";

/**
 * A host that is no Kubernetes node, prepared as docs/install.md says ("A host that is no Kubernetes node"): the same
 * agent as a systemd unit, in the same cluster as hosts whose agents are pods.
 */
const LAB = "systemd-host";
const NODE = "n3";

describe("an agent as a systemd unit", { skip: whyNoLab() ?? false }, () => {
  let lab: Lab;
  let installed: Installed;
  let watch: ProcessWatch;
  let host: LabHost;

  before(async () => {
    lab = await labUp({ hosts: 3, name: LAB, onReset: { reboot: false, delaySeconds: 0 } });
    installed = await installSharedGuest(lab);
    watch = new ProcessWatch(LAB);
    host = lab.host(NODE);
  });

  after(async () => {
    watch?.stop();
    await lab?.down();
  });

  it("runs on a host that is taken out of Kubernetes, and reports as such", async () => {
    await host.run("systemctl", ["disable", "--now", "kubelet.service"]);
    await lab.kubectl(["delete", "node", NODE]);
    for (const part of ["agent", "controllers"]) await host.kill(`/quorate.mjs ${part}/`).catch(() => undefined);
    await host.run("systemctl", ["disable", "--now", "containerd.service"]);
    await host.run("mkdir", ["-p", "/etc/quorate", "/usr/local/lib", "/tmp/image"]);
    await host.run("tee", ["/etc/quorate/kubeconfig"], {
      input: await agentKubeconfig(lab),
      shownAs: "the kubeconfig",
    });
    await host.run("chmod", ["0600", "/etc/quorate/kubeconfig"]);
    await host.run("tar", ["-x", "-C", "/tmp/image"], { inputFile: installed.image, timeoutMs: 60_000 });
    const layers = "/tmp/image/blobs/sha256";
    for (const layer of (await host.output("ls", [layers])).split("\n")) {
      const unpack = ["-xzf", `${layers}/${layer}`, "-C", "/usr/local/lib", "--strip-components=1", "opt/quorate"];
      await host.run("tar", unpack, { exitCodes: [0, 1, 2], timeoutMs: 60_000 });
    }
    await host.run("tee", ["/etc/systemd/system/quorate-agent.service"], { input: unitOfDocs() });
    await host.run("systemctl", ["daemon-reload"]);
    await host.run("systemctl", ["enable", "--now", "quorate-agent.service"]);
    await waitFor(
      async () => {
        const { status } = await installed.node(NODE);
        return (
          status?.agent?.mode === "SystemdUnit" &&
          status.conditions?.some((each) => each.type === "AgentReady" && each.status === "True")
        );
      },
      60_000,
      `${NODE} to report an agent of mode SystemdUnit`,
    );
  });

  it("runs a guest that is moved there; it runs on when the agent is stopped and started", async () => {
    await installed.kubectl(["apply", "-f", "-"], {
      input: JSON.stringify({
        apiVersion: "quorate.dev/v1alpha1",
        kind: "Migration",
        metadata: { name: "to-systemd" },
        spec: { guest: "web1", target: NODE },
      }),
    });
    await waitFor(async () => (await hostOf(installed)).name === NODE, 60_000, `web1 to be moved to ${NODE}`);
    await installed.untilRunning("web1", 60_000, NODE);
    const pid = await processOf(host);
    await host.run("systemctl", ["stop", "quorate-agent.service"]);
    // Longer than the watchdog's time-out: corosync and the keeper are not the agent's.
    await systemClock.sleep(20_000);
    assert.equal(host.isOn(), true);
    await host.run("systemctl", ["start", "quorate-agent.service"]);
    await systemClock.sleep(5_000);
    assert.equal(await processOf(host), pid, "the guest was started anew");
    assert.equal((await host.watchdog()).armed, true);
  });

  it("is fenced and its guest recovered as that of any host", async () => {
    const timeline = new Timeline("systemd host cut");
    await host.cut();
    await waitFor(() => !host.isOn(), 40_000, `${NODE} to be reset by its watchdog`);
    timeline.mark(`${NODE} reset`);
    await untilRecovered(installed, host, timeline);
    timeline.record();
  });

  it("never ran the guest twice", () => {
    assert.equal(watch.most, 1);
    assert.equal(witnessOf(lab, SHARED).twice, undefined);
  });
});

/** The unit that docs/install.md shows, for the node of its example. */
function unitOfDocs(): string {
  const page = readFileSync(join(import.meta.dirname, "../../docs/install.md"), "utf8");
  const unit = /quorate-agent\.service <<'EOF'\n([\s\S]*?)\nEOF/.exec(page)?.[1];
  if (unit === undefined) throw new Error("docs/install.md shows no unit");
  return `${unit.replace("--node-name n4", `--node-name ${NODE}`)}\n`;
}

/** What docs/install.md does on the workstation of an administrator, with the lab's addresses. */
async function agentKubeconfig(lab: Lab): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-agent-"));
  try {
    const file = (name: string) => join(folder, name);
    const subject = `/O=quorate:agents/CN=quorate:agent:lab:${NODE}`;
    const curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    await execa("openssl", ["genpkey", ...curve, "-out", file("key")]);
    await execa("openssl", ["req", "-new", "-key", file("key"), "-subj", subject, "-out", file("csr")]);
    const name = `quorate-agent-lab-${NODE}`;
    const request = {
      apiVersion: "certificates.k8s.io/v1",
      kind: "CertificateSigningRequest",
      metadata: { name },
      spec: {
        request: readFileSync(file("csr")).toString("base64"),
        signerName: "kubernetes.io/kube-apiserver-client",
        usages: ["client auth"],
      },
    };
    await lab.kubectl(["apply", "-f", "-"], { input: JSON.stringify(request) });
    await lab.kubectl(["certificate", "approve", name]);
    const certificate = await waitFor(
      () => lab.kubectl(["get", "csr", name, "-o", "jsonpath={.status.certificate}"]),
      30_000,
      "the certificate to be signed",
    );
    // As seen from the hosts: the administrator's own kubeconfig leads through this machine's loopback.
    const admin = readFileSync(lab.controlPlane.kubeconfig, "utf8");
    const [server, authority] = [
      /server: (\S+)/.exec(admin)?.[1],
      /certificate-authority-data: (\S+)/.exec(admin)?.[1],
    ];
    return JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "quorate",
      clusters: [{ name: "quorate", cluster: { server, "certificate-authority-data": authority } }],
      users: [
        {
          name: "agent",
          user: {
            "client-certificate-data": certificate,
            "client-key-data": readFileSync(file("key")).toString("base64"),
          },
        },
      ],
      contexts: [{ name: "quorate", context: { cluster: "quorate", user: "agent", namespace: "lab" } }],
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
