import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ForbiddenError } from "../kube/index.ts";
import { collectBundle } from "./support-bundle.ts";
import { stepping } from "./testing/steps.ts";

const pod = {
  metadata: { name: "quorate-agent-x", namespace: "quorate-system" },
  status: { containerStatuses: [{ name: "agent", ready: true, restartCount: 1, image: "quorate" }] },
};

/** Holds one pod that was started again; Kubernetes' own nodes may not be read, nor the log of the run before. */
const api = {
  get: async () => undefined,
  list: async (type: { plural: string }) => {
    if (type.plural === "nodes") throw new ForbiddenError("environment", "Forbidden", 403, "nodes is forbidden");
    const items =
      { pods: [pod], clusters: [{ metadata: { name: "lab", namespace: "lab" }, spec: {} }] }[type.plural] ?? [];
    return { items: items as never[], resourceVersion: "1" };
  },
  readText: async (path: string) => {
    if (path === "/version") return "{}";
    if (path.includes("previous=true")) throw new Error("no log of the run before is kept");
    assert.match(
      path,
      /^\/api\/v1\/namespaces\/quorate-system\/pods\/quorate-agent-x\/log\?container=agent&tailLines=/,
    );
    return "renewed the lease\npassword=hunter2\n";
  },
};

describe("a support bundle", () => {
  it("has the logs of the pods, without secrets, and goes on past what cannot be read", async () => {
    const files = await collectBundle(api, { namespace: "lab", systemNamespace: undefined }, stepping());
    const text = (path: string) => files.find((file) => file.path === path)?.text;
    assert.equal(text("logs/quorate-system/quorate-agent-x/agent.log"), "renewed the lease\npassword=REMOVED\n");
    assert.match(text("release/quorate-system/pods.yaml") ?? "", /name: quorate-agent-x/);
    const problems = text("problems.txt") ?? "";
    assert.match(problems, /^nodes: nodes is forbidden$/m);
    assert.match(
      problems,
      /^quorate-system\/quorate-agent-x\/agent, the run before: no log of the run before is kept$/m,
    );
    assert.match(text("cluster/clusters.yaml") ?? "", /name: lab/);
  });

  it("never asks for Secrets", async () => {
    const asked: string[] = [];
    const watched = {
      ...api,
      list: async (type: { plural: string }) => {
        asked.push(type.plural);
        return api.list(type);
      },
    };
    await collectBundle(watched, { namespace: "lab", systemNamespace: "quorate-system" }, stepping());
    assert.equal(asked.includes("secrets"), false);
    assert.equal(asked.includes("leases"), true);
  });
});
