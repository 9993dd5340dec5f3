/**
 * For the tests of this folder: a cluster of three hosts with statuses as the controllers and agents write them, checked
 * against the schemas.
 */
import type {
  Cluster,
  ClusterNode,
  Condition,
  Guest,
  HAGroup,
  HAResource,
  HARule,
  ReplicationJob,
} from "../../crds/index.ts";
import { withDefaults } from "../../crds/index.ts";
import type { Lease } from "../../kube/index.ts";
import type { ClusterView } from "../cluster-view.ts";

export const NAMESPACE = "lab";

/** An object as a user and the controllers write it together, before defaults are filled in. */
interface Draft {
  readonly kind: string;
  readonly metadata: { name: string; namespace?: string; generation?: number; annotations?: Record<string, string> };
  readonly spec: object;
  readonly status?: object;
}

/** Seconds before the moment the view is of. */
export type Ago = (seconds: number) => string;

export function agoOf(nowMs: number): Ago {
  return (seconds) => new Date(nowMs - seconds * 1000).toISOString().replace(/\.\d+/, "");
}

export function condition(
  type: string,
  status: Condition["status"],
  reason: string,
  message = "",
  at = "2026-11-21T00:00:00Z",
): Condition {
  return { type, status, reason, message, lastTransitionTime: at, observedGeneration: 1 };
}

/** The view of the lab at `nowMs`, with some objects changed or added. */
export function labView(
  nowMs: number,
  change: (drafts: Draft[], ago: Ago) => Draft[] = (drafts) => drafts,
): ClusterView {
  const ago = agoOf(nowMs);
  const objects = change(labDrafts(ago), ago).map(complete);
  const of = <T>(kind: string): T[] => objects.filter((object) => object.kind === kind) as T[];
  const [cluster] = of<Cluster>("Cluster");
  if (cluster === undefined) throw new Error("the lab has lost its Cluster");
  return {
    namespace: NAMESPACE,
    cluster,
    nodes: of<ClusterNode>("ClusterNode"),
    guests: of<Guest>("Guest"),
    resources: of<HAResource>("HAResource"),
    groups: of<HAGroup>("HAGroup"),
    rules: of<HARule>("HARule"),
    jobs: of<ReplicationJob>("ReplicationJob"),
    migrations: [],
    leases: ["n1", "n2", "n3"].map((node) => lease(node, ago)),
    nowMs,
  };
}

/** `drafts` with one of them replaced by what `change` makes of it. */
export function changed(
  drafts: readonly Draft[],
  kind: string,
  name: string,
  change: (draft: Draft) => Partial<Draft>,
): Draft[] {
  const found = drafts.some((draft) => draft.kind === kind && draft.metadata.name === name);
  if (!found) throw new Error(`the lab has no ${kind} ${name}`);
  return drafts.map((draft) =>
    draft.kind === kind && draft.metadata.name === name ? { ...draft, ...change(draft) } : draft,
  );
}

export function lease(node: string, ago: Ago): Lease {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: `quorate-agent-${node}`, namespace: NAMESPACE },
    spec: { holderIdentity: `${node}/boot-${node}`, leaseTransitions: 1, renewTime: ago(1).replace("Z", ".000000Z") },
  };
}

function complete(draft: Draft): { kind: string } {
  return withDefaults(draft.kind, {
    apiVersion: "quorate.dev/v1alpha1",
    ...draft,
    metadata: { namespace: NAMESPACE, generation: 1, ...draft.metadata },
  });
}

/** Three hosts, web1 under HA on n1 and replicated, db1 without HA on n2. */
export function labDrafts(ago: Ago): Draft[] {
  return [
    {
      kind: "Cluster",
      metadata: { name: "lab" },
      spec: {
        links: [{ network: "10.6.0.0/24" }, { network: "10.6.1.0/24" }],
        storages: [{ name: "tank", type: "ZFS", dataset: "tank/guests" }],
      },
      status: {
        observedGeneration: 1,
        quorum: {
          quorate: true,
          expectedVotes: 3,
          totalVotes: 3,
          neededVotes: 2,
          ringId: "1.6b",
          flags: ["Quorate"],
          summary: "3/3 (2)",
        },
        config: { version: 7, transport: "knet", cipher: "aes256", hash: "sha256", tokenMilliseconds: 3000 },
        nodes: { total: 3, online: 3, summary: "3/3" },
        leader: "quorate-controllers-7d9f-abcde",
        timings: { recoveryBound: { milliseconds: 24_500, derivation: "" } },
        conditions: [
          condition("Ready", "True", "AllGood"),
          condition("Quorate", "True", "Majority", "3 of 3 votes"),
          condition("ConfigInSync", "True", "EveryMember"),
          condition("Armed", "True", "Armed"),
        ],
      },
    },
    ...["n1", "n2", "n3"].map((name, index) => node(name, index + 1)),
    {
      kind: "Guest",
      metadata: { name: "web1" },
      spec: {
        vmid: 100,
        nodeName: "n1",
        resources: { cpu: 2, memory: "2Gi" },
        machine: { image: "debian-12" },
        volumes: [{ name: "root", storage: "tank", size: "8Gi" }],
      },
      status: { kind: "Machine", state: "Running", node: "n1", conditions: [condition("Ready", "True", "Running")] },
    },
    {
      kind: "Guest",
      metadata: { name: "db1" },
      spec: { vmid: 101, nodeName: "n2", service: { unit: "postgres-lab.service" } },
      status: { kind: "Service", state: "Running", node: "n2", conditions: [condition("Ready", "True", "Running")] },
    },
    {
      kind: "HAResource",
      metadata: { name: "web1" },
      spec: { state: "Started", group: "first-two" },
      status: {
        state: "Started",
        node: "n1",
        since: ago(185),
        command: { uid: "a.4", action: "Start" },
        result: { uid: "a.4", outcome: "Ok" },
        conditions: [
          condition("Ready", "True", "Started", "Started on n1"),
          condition("Error", "False", "NoError", "nothing has failed for good"),
        ],
      },
    },
    {
      kind: "HAGroup",
      metadata: { name: "first-two" },
      spec: {
        nodes: [
          { name: "n1", priority: 2 },
          { name: "n2", priority: 1 },
        ],
      },
      status: { resources: 1, conditions: [condition("Ready", "True", "NodesExist")] },
    },
    {
      kind: "ReplicationJob",
      metadata: { name: "web1-n2" },
      spec: { guest: "web1", target: "n2", schedule: "*/5" },
      status: {
        jobId: "100-0",
        source: "n1",
        target: "n2",
        state: "Idle",
        lastSync: ago(41),
        copies: [{ node: "n2", snapshot: "quorate-100-0-20261121T000000Z", time: ago(41) }],
        nextSync: ago(-240),
        durationSeconds: 3,
        lastRun: {
          startedAt: ago(41),
          finishedAt: ago(38),
          outcome: "Succeeded",
          bytes: 5_242_880,
          full: false,
        },
        log: [`${ago(41)} snapshot quorate-100-0-20261121T000000Z`, `${ago(38)} done`],
        conditions: [condition("Ready", "True", "Replicated"), condition("Fresh", "True", "Fresh")],
      },
    },
  ];
}

function node(name: string, id: number): Draft {
  return {
    kind: "ClusterNode",
    metadata: { name },
    spec: { nodeId: id },
    status: {
      state: "Online",
      nodeId: id,
      votes: 1,
      links: [
        { number: 0, address: `10.6.0.${id}` },
        { number: 1, address: `10.6.1.${id}` },
      ],
      linksUp: "2/2",
      corosync: { version: "3.1.7", running: true, configVersion: 7, quorate: true, members: [1, 2, 3] },
      agent: { version: "0.1.0", mode: "DaemonSet", bootId: `boot-${name}` },
      lrm: { mode: name === "n1" ? "Active" : "Idle", activeGuests: name === "n1" ? 1 : 0 },
      watchdog: { device: "/dev/watchdog0", armed: name === "n1", summary: name === "n1" ? "10s armed" : "not armed" },
      conditions: [
        condition("Ready", "True", "AllGood"),
        condition("Member", "True", "InQuorateMembership"),
        condition("AgentReady", "True", "Reporting"),
        condition("LinksHealthy", "True", "AllPeersUp"),
        condition("WatchdogArmed", name === "n1" ? "True" : "False", name === "n1" ? "Armed" : "NotArmed"),
      ],
    },
  };
}
