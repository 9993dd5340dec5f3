import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { startControlPlane, whyNoControlPlane } from "./index.ts";

const skip = (process.getuid?.() === 0 ? undefined : "network namespaces need root") ?? whyNoControlPlane() ?? false;

describe("a control plane inside a network namespace", { skip }, () => {
  const namespace = `quorate-cp-${process.pid}`;
  const ip = (...args: string[]) => execFileSync("ip", args);
  before(() => {
    ip("netns", "add", namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
    ip("-n", namespace, "link", "add", "br0", "type", "bridge");
    ip("-n", namespace, "addr", "add", "10.6.0.254/24", "dev", "br0");
    ip("-n", namespace, "link", "set", "br0", "up");
  });
  after(() => ip("netns", "del", namespace));

  it("is reached there by the advertised address and its extra names, and not from outside", async () => {
    await using controlPlane = await startControlPlane({
      useExisting: false,
      network: {
        commandPrefix: ["ip", "netns", "exec", namespace],
        bindAddress: "0.0.0.0",
        advertiseAddress: "10.6.0.254",
        subjectAltNames: ["api.lab"],
      },
    });
    assert.equal(controlPlane.url, "https://10.6.0.254:6443");
    const { stdout } = await controlPlane.kubectl([
      "get",
      "endpointslices",
      "kubernetes",
      "-o",
      "jsonpath={.endpoints[*].addresses[*]}",
    ]);
    assert.equal(stdout, "10.6.0.254", "pods reach it by the Service kubernetes");
    await controlPlane.kubectl(["get", "namespaces", "--tls-server-name=api.lab"]);
    const outside = () =>
      execFileSync(controlPlane.binaries.kubectl ?? "", ["get", "namespaces", "--request-timeout=2s"], {
        env: { KUBECONFIG: controlPlane.kubeconfig },
        stdio: "pipe",
      });
    assert.throws(outside);
  });
});
