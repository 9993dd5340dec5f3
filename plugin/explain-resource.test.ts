import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Event } from "../kube/index.ts";
import type { ClusterView } from "./cluster-view.ts";
import { explainResource } from "./explain-resource.ts";
import { palette } from "./palette.ts";
import { changed, condition, labView } from "./testing/lab.ts";

const NOW = Date.parse("2026-11-21T00:10:00Z");

function why(view: ClusterView, warnings: readonly Event[] = []): string {
  const resource = view.resources.find(({ metadata }) => metadata.name === "web1");
  if (resource === undefined) throw new Error("the lab has lost web1");
  return explainResource(view, resource, warnings, { colours: palette(false) });
}

/** The view with web1's HAResource changed. */
function webWith(status: object, spec: object = {}): ClusterView {
  return labView(NOW, (drafts) =>
    changed(drafts, "HAResource", "web1", (draft) => ({
      spec: { ...draft.spec, ...spec },
      status: { ...draft.status, ...status },
    })),
  );
}

describe("kubectl quorate why", () => {
  it("says of a guest that is as asked for that it is, and where else it could be", () => {
    assert.equal(
      why(labView(NOW)),
      `resource  web1 in namespace lab
wanted    Started
is        Started on n1 for 3m5s
guest     Running, bound to n1
command   Start (a.4)
result    Ok

WHY
- it is as asked for, and no rule wants it elsewhere

CONDITIONS
Ready=True Started: Started on n1
Error=False NoError: nothing has failed for good

NODES
NAME   STATE    PRIORITY   DATA      VERDICT
n1     Online   2          here      it is here
n2     Online   1          41s old   possible when no node of priority 2 can take it
n3     Online   -          none      only when no node of group first-two can take it; without a copy of its data it cannot start there
`,
    );
  });

  it("repeats why a lost node is not proven off yet", () => {
    const view = labView(NOW, (drafts) => {
      const lost = changed(drafts, "ClusterNode", "n1", ({ status }) => ({
        status: { ...status, state: "Fence", fence: { proofReasons: ["n3 still reports n1 as a member"] } },
      }));
      return changed(lost, "HAResource", "web1", ({ status }) => ({ status: { ...status, state: "Fence" } }));
    });
    const text = why(view);
    assert.match(text, /^- its node n1 is lost, and it starts elsewhere only when that is proven off$/m);
    assert.match(text, /^- not proven off yet: n3 still reports n1 as a member$/m);
    assert.match(text, /^n1 +Fence +2 +here +it is here, but n1 is Fence$/m);
    assert.match(text, /^n2 +Online +1 +41s old +possible$/m);
  });

  it("says of a node that has just gone what must happen before the guest is started elsewhere", () => {
    const view = labView(NOW, (drafts) => {
      const timed = changed(drafts, "Cluster", "lab", ({ status }) => ({
        status: { ...status, timings: { fenceDelay: { milliseconds: 19_820, derivation: "" } } },
      }));
      return changed(timed, "ClusterNode", "n1", ({ status }) => ({ status: { ...status, state: "Unknown" } }));
    });
    assert.match(
      why(view),
      /^- its node n1 is Unknown: .* reported it gone for 20s without interruption, the guest is/m,
    );
  });

  it("gives the way out of the state Error", () => {
    const message = 'set spec.state to Disabled, then to "Started"';
    const text = why(webWith({ state: "Error", conditions: [condition("Error", "True", "Failed", message)] }));
    assert.match(text, /^- set spec\.state to Disabled, then to "Started"$/m);
    assert.match(text, /^Error=True Failed: set spec\.state/m);
  });

  it("names the nodes on which it did not start, and what the agent said", () => {
    const text = why(
      webWith({
        command: { uid: "a.9", action: "Start" },
        result: { uid: "a.9", outcome: "Failed", message: "VolumeMissing: no dataset tank/guests/vm-100-root" },
        attempts: { relocations: 1, triedNodes: ["n2"] },
        conditions: [condition("Ready", "False", "RequestStart")],
      }),
    );
    assert.match(text, /^- it did not start on n2$/m);
    assert.match(text, /^- its last command, Start, ended with Failed: VolumeMissing: no dataset/m);
    assert.match(text, /^n2 .* it did not start here$/m);
  });

  it("takes a result for what it answers, not for the command after it", () => {
    assert.match(why(webWith({ command: { uid: "a.5", action: "Stop" } })), /^result +none yet for this command$/m);
  });

  it("says that it stays where it is only because failback is off", () => {
    assert.match(
      why(webWith({ node: "n2" }, { failback: false })),
      /^- group first-two prefers n1; it stays because spec\.failback of the HAResource is false$/m,
    );
    assert.match(why(webWith({ node: "n2" })), /^- group first-two prefers n1$/m);
  });

  it("shows the rules that name it and why one is not in force", () => {
    const view = labView(NOW, (drafts) => [
      ...drafts,
      {
        kind: "HARule",
        metadata: { name: "apart" },
        spec: { resourceAffinity: { resources: ["web1", "web2"], affinity: "Apart" } },
        status: { conditions: [condition("Ready", "True", "InForce")] },
      },
      {
        kind: "HARule",
        metadata: { name: "near" },
        spec: { nodeAffinity: { resources: ["web1"], nodes: [{ name: "n3" }], strict: true } },
        status: { conditions: [condition("Ready", "False", "ServiceInTwoNodeRules", "web1 is in rule far too")] },
      },
      { kind: "HAResource", metadata: { name: "web2" }, spec: {}, status: { state: "Started", node: "n2" } },
    ]);
    const text = why(view);
    assert.match(text, /^apart +apart from web2 +yes +-$/m);
    assert.match(text, /^near +only on n3 +no +ServiceInTwoNodeRules: web1 is in rule far too$/m);
    assert.match(text, /^- rule near is not in force: web1 is in rule far too$/m);
    assert.match(text, /^n2 .* rule apart keeps it apart from web2$/m);
    assert.match(text, /^n3 +Online +- +none +only when no node of group first-two can take it; without a copy/m);
  });

  it("lets a strict rule in force go before the group", () => {
    const view = labView(NOW, (drafts) => [
      ...drafts,
      {
        kind: "HARule",
        metadata: { name: "near" },
        spec: { nodeAffinity: { resources: ["web1"], nodes: [{ name: "n1" }, { name: "n3" }], strict: true } },
        status: { conditions: [condition("Ready", "True", "InForce")] },
      },
    ]);
    const text = why(view);
    assert.match(text, /^n2 +Online +- +41s old +rule near allows its own nodes only$/m);
    assert.match(text, /^n3 +Online +0 +none +possible; without a copy of its data it cannot start there$/m);
  });

  it("explains what holds the whole cluster", () => {
    const view = labView(NOW, (drafts) =>
      changed(drafts, "Cluster", "lab", ({ spec }) => ({
        spec: { ...spec, ha: { disarm: "Freeze" } },
        status: {
          conditions: [
            condition("Quorate", "False", "NotQuorate", "1 of 3 votes"),
            condition("Armed", "False", "Disarmed", "no node is guarded"),
            condition("QuorumOverridden", "True", "Overridden", "until 18:00: disk swap"),
          ],
        },
      })),
    );
    const text = why(view);
    assert.match(text, /^- the cluster is not quorate, so nothing is started or moved: 1 of 3 votes$/m);
    assert.match(text, /^- a quorum override is active, .*: until 18:00: disk swap$/m);
    assert.match(
      text,
      /^- HA is to be disarmed, Freeze \(Disarmed: no node is guarded\); to guard again: kubectl quorate arm -n lab$/m,
    );
  });

  it("warns of a guest whose data is nowhere else", () => {
    const view = labView(NOW, (drafts) => drafts.filter(({ kind }) => kind !== "ReplicationJob"));
    assert.match(why(view), /^- its data is on n1 alone, so it could not start elsewhere/m);
  });

  it("tells of a move that failed, although the guest runs again, with the newest of its warnings", () => {
    const warning = (secondsAgo: number, note: string): Event => ({
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: note, namespace: "lab" },
      eventTime: new Date(NOW - secondsAgo * 1000).toISOString(),
      reportingController: "quorate.dev/agent",
      reportingInstance: "n1",
      action: "Act",
      reason: "MoveFailed",
      regarding: { kind: "HAResource", name: "web1" },
      note,
      type: "Warning",
    });
    const warnings = [90, 80, 70, 60, 50, 44].map((ago) => warning(ago, `NoSpace ${ago}`));
    const text = why(labView(NOW), warnings);
    assert.match(text, /LATEST WARNINGS\nAGE +REASON +MESSAGE\n80s +MoveFailed +NoSpace 80\n/);
    assert.match(text, /^44s +MoveFailed +NoSpace 44$/m);
  });

  it("names what is missing: the guest, its node, its group", () => {
    const without = labView(NOW, (drafts) =>
      drafts.filter(({ kind, metadata }) => kind !== "HAGroup" && !(kind === "Guest" && metadata.name === "web1")),
    );
    assert.match(why(without), /^- there is no Guest "web1"; apply it, or delete this HAResource$/m);
    assert.match(why(without), /^- there is no HAGroup "first-two"; apply it, or remove spec\.group$/m);
  });
});
