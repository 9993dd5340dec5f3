import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { palette } from "./palette.ts";
import { showNodes } from "./show-nodes.ts";
import { showStatus } from "./show-status.ts";
import { changed, condition, labView } from "./testing/lab.ts";

const NOW = Date.parse("2026-11-21T00:10:00Z");
const plain = { colours: palette(false) };

describe("kubectl quorate status", () => {
  it("shows a healthy cluster on one screen", () => {
    assert.equal(
      showStatus(labView(NOW), plain),
      `cluster   lab in namespace lab
quorum    quorate, 3 of 3 votes, 2 needed
ha        Armed, led by quorate-controllers-7d9f-abcde
config    version 7, everywhere
recovery  begins at most 25s after a host is cut off
ring      1.6b

NODES
NAME   ID   VOTES   STATE    MEMBER   LINKS   AGENT    HEARTBEAT   WATCHDOG
n1     1    1       Online   yes      2/2     Active   1s          10s armed
n2     2    1       Online   yes      2/2     Idle     1s          not armed
n3     3    1       Online   yes      2/2     Idle     1s          not armed

GUESTS
NAME   VMID   KIND      STATE     NODE   WANTED    HA             SINCE   MESSAGE
web1   100    Machine   Running   n1     Started   Started        3m5s    -
db1    101    Service   Running   n2     -         not under HA   -       -

REPLICATION
NAME      JOB     GUEST   FROM   TO   SCHEDULE   AGE   NEXT    STATE   MESSAGE
web1-n2   100-0   web1    n1     n2   */5        41s   in 4m   Idle    -
`,
    );
  });

  it("says what is wrong after a host was lost, in the words of its conditions", () => {
    const view = labView(NOW, (drafts) => {
      const lost = changed(drafts, "ClusterNode", "n1", ({ status }) => ({
        status: {
          ...status,
          state: "Fence",
          linksUp: "0/2",
          conditions: [
            condition("Ready", "False", "NotAMember", "not in the membership"),
            condition("Member", "False", "NotAMember", "n1 is not in the quorate membership"),
            condition("AgentReady", "False", "Silent", "no word for 12 s"),
          ],
        },
      }));
      return changed(lost, "HAResource", "web1", ({ status }) => ({
        status: { ...status, state: "Fence", message: "node n1 is lost" },
      }));
    });
    const screen = showStatus(view, plain);
    assert.match(screen, /^n1 +1 +1 +Fence +no +0\/2 +Silent +1s +10s armed$/m);
    assert.match(screen, /^web1 +100 +Machine +Running +n1 +Started +Fence +3m5s +node n1 is lost$/m);
    assert.match(
      screen,
      /NEEDS A LOOK\nClusterNode n1 {2}Member=False NotAMember: n1 is not .*\nClusterNode n1 {2}AgentReady=False Silent: no word for 12 s\n$/,
    );
  });

  it("says loudly that there is no quorum, and what no node has reported", () => {
    const lost = labView(NOW, (drafts) =>
      changed(drafts, "Cluster", "lab", ({ status }) => ({
        status: { ...status, quorum: { quorate: false, totalVotes: 1, expectedVotes: 3, neededVotes: 2 } },
      })),
    );
    assert.match(showStatus(lost, plain), /^quorum {4}NOT QUORATE, 1 of 3 votes, 2 needed$/m);
    const fresh = labView(NOW, (drafts) => changed(drafts, "Cluster", "lab", () => ({ status: {} })));
    assert.match(showStatus(fresh, plain), /^quorum {4}no node has reported$/m);
  });

  it("shows where a guest goes, a guest that HA knows but nobody made, and a job that fails", () => {
    const view = labView(NOW, (drafts) => {
      const moving = changed(drafts, "HAResource", "web1", ({ status }) => ({
        status: { ...status, state: "Relocate", target: "n2", message: "moving from n1 to n2" },
      }));
      const failing = changed(moving, "ReplicationJob", "web1-n2", ({ status }) => ({
        status: {
          ...status,
          state: "Failed",
          failCount: 2,
          lastRun: { outcome: "Failed", reason: "NoSpace", message: "tank on n2 is full" },
        },
      }));
      return [...failing, { kind: "HAResource", metadata: { name: "ghost" }, spec: {} }];
    });
    const screen = showStatus(view, plain);
    assert.match(screen, /^web1 .* n1 → n2 +Started +Relocate +3m5s +moving from n1 to n2$/m);
    assert.match(screen, /^ghost +- +- +no Guest +- +Started +Queued/m);
    assert.match(screen, /Failed +2x NoSpace: tank on n2 is full$/m);
  });

  it("says once what two conditions say, and shows no heartbeat of a Lease that was taken", () => {
    const message = "the target was written to";
    const view = labView(NOW, (drafts) =>
      changed(drafts, "ReplicationJob", "web1-n2", ({ status }) => ({
        status: {
          ...status,
          conditions: [
            condition("Failed", "True", "TargetModified", message),
            condition("Fresh", "False", "TargetModified", message),
          ],
        },
      })),
    );
    const taken = (view.leases ?? []).map((lease) =>
      lease.metadata.name === "quorate-agent-n1"
        ? { ...lease, spec: { ...lease.spec, holderIdentity: "quorate-crm" } }
        : lease,
    );
    const screen = showStatus({ ...view, leases: taken }, plain);
    assert.match(
      screen,
      /^ReplicationJob web1-n2 {2}Failed=True, Fresh=False TargetModified: the target was written to$/m,
    );
    assert.match(screen, /^n1 .* Active +- +10s armed$/m);
    assert.match(screen, /^n2 .* Idle +1s +not armed$/m);
  });

  it("shows no heartbeat to who may not read Leases", () => {
    const screen = showStatus({ ...labView(NOW), leases: undefined }, plain);
    assert.match(screen, /^n1 .* Active +- +10s armed$/m);
  });

  it("cuts the last column to the terminal and nothing else", () => {
    const view = labView(NOW, (drafts) =>
      changed(drafts, "HAResource", "web1", ({ status }) => ({ status: { ...status, message: "x".repeat(300) } })),
    );
    const line = showStatus(view, { ...plain, width: 100 })
      .split("\n")
      .find((text) => text.startsWith("web1 "));
    assert.equal(line?.length, 100);
    assert.match(line ?? "", /x…$/);
  });

  it("uses colour only when asked", () => {
    const esc = String.fromCharCode(27);
    assert.equal(showStatus(labView(NOW), plain).includes(esc), false);
    const coloured = showStatus(labView(NOW), { colours: palette(true) });
    assert.equal(coloured.includes(`${esc}[32mOnline${esc}[39m`), true);
    assert.equal(coloured.replaceAll(new RegExp(`${esc}\\[\\d+m`, "g"), ""), showStatus(labView(NOW), plain));
  });
});

describe("kubectl quorate nodes", () => {
  it("shows each host's addresses and versions", () => {
    assert.match(
      showNodes(labView(NOW), plain),
      /^n1 +1 +1 +Online +1 +10\.6\.0\.1,10\.6\.1\.1 +2\/2 +3\.1\.7 +7 +0\.1\.0 DaemonSet +1s +10s armed$/m,
    );
  });

  it("lists below what is wrong with each: checks, configuration, watchdog", () => {
    const view = labView(NOW, (drafts) =>
      changed(drafts, "ClusterNode", "n3", ({ status }) => ({
        status: {
          ...status,
          prechecks: [{ name: "Ports", passed: false, message: "UDP 5405 does not reach n1" }],
          corosync: { lastLoad: { configVersion: 8, outcome: "Refused", message: "ConfigNotQuorate" }, running: false },
          watchdog: { armed: false, summary: "no keeper", message: "the keeper of this host does not answer" },
        },
      })),
    );
    const text = showNodes(view, plain);
    for (const line of [
      "n3: check Ports failed: UDP 5405 does not reach n1",
      "n3: configuration 8 refused: ConfigNotQuorate",
      "n3: watchdog: the keeper of this host does not answer",
    ]) {
      assert.equal(text.split("\n").includes(line), true, `no "${line}" in\n${text}`);
    }
    assert.match(text, /^n3 .* stopped /m);
  });
});
