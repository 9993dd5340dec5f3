import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { registry } from "../../kube/index.ts";
import {
  type CrmState,
  type CrmView,
  crmStep,
  DEFAULT_CRM_PARAMETERS,
  initialCrmState,
  type NodeView,
  type ServiceRequest,
} from "../ha/index.ts";
import { CrmMetrics } from "./metrics.ts";

beforeEach(() => registry.resetMetrics());

const online: NodeView = {
  member: true,
  agentAlive: true,
  agentMode: "Active",
  maintenance: false,
  lease: "agent",
  fence: { proven: false, reasons: [] },
  hardwareFencing: false,
  capacity: { cpu: 8, memory: 64e9 },
};
const cut: NodeView = { ...online, member: false, agentAlive: false };

/** One cluster with the service "web", whose agent obeys at once unless told otherwise. */
class Cluster {
  readonly metrics = new CrmMetrics("lab");
  state: CrmState = initialCrmState({}, {}, 0);
  nodes: Record<string, NodeView> = { n1: online, n2: online, n3: online };
  owner = "n1";
  answer: "Ok" | "Failed" | undefined = "Ok";
  apart: string[] = [];
  services: Record<string, Partial<CrmView["services"][string]>> = { web: {} };

  step(now: number, requests: ServiceRequest[] = []): void {
    const services = Object.fromEntries(
      Object.entries(this.services).map(([id, more]) => {
        const record = this.state.services[id];
        const result = record && this.answer && { uid: record.command.uid, outcome: this.answer };
        return [
          id,
          {
            requested: "Started" as const,
            owner: record?.node ?? this.owner,
            maxRestart: 1,
            maxRelocate: 1,
            failback: true,
            running: true,
            canMoveLive: false,
            defined: { cpu: 1, memory: 1e9 },
            ...(result ? { result } : {}),
            ...more,
          },
        ];
      }),
    );
    const view: CrmView = {
      incarnation: "t",
      quorate: true,
      sameRound: false,
      nodes: this.nodes,
      services,
      groups: {},
      rules: this.apart.length === 0 ? [] : [{ id: "apart", kind: "keep-apart", services: this.apart }],
      policy: { scheduler: "basic", rebalanceOnStart: false },
      requests,
    };
    const result = crmStep(this.state, view, now, DEFAULT_CRM_PARAMETERS);
    this.metrics.step(result, view, now, () => 1_000);
    this.state = result.state;
  }
}

/** The samples of these names, `name{labels} value`, without the namespace, of which there is one. */
async function samples(...names: string[]): Promise<string[]> {
  const text = await registry.metrics();
  return text
    .split("\n")
    .filter((line) => names.some((name) => line.startsWith(`${name}{`)))
    .map((line) => line.replace('namespace="lab"', "").replace("{,", "{").replace(",}", "}"))
    .filter((line) => !line.includes("_bucket"))
    .sort();
}

test("a failover counts as a fence, a recovery, and its time from the cut to the answer of the new node", async () => {
  const cluster = new Cluster();
  cluster.step(0);
  cluster.step(1_000);
  assert.deepEqual(await samples("quorate_ha_fences_total"), [
    'quorate_ha_fences_total{outcome="Cancelled"} 0',
    'quorate_ha_fences_total{outcome="Fenced"} 0',
  ]);
  cluster.nodes = { ...cluster.nodes, n1: { ...cut, fence: { proven: true, reasons: ["gone"] } } };
  cluster.step(29_000);
  assert.deepEqual(await samples("quorate_ha_services", "quorate_ha_node_state"), [
    'quorate_ha_node_state{node="n1",state="Fence"} 1',
    'quorate_ha_node_state{node="n2",state="Online"} 1',
    'quorate_ha_node_state{node="n3",state="Online"} 1',
    'quorate_ha_services{state="Fence"} 1',
  ]);
  cluster.nodes = { ...cluster.nodes, n1: { ...cut, lease: "crm" } };
  cluster.answer = undefined;
  cluster.step(29_500);
  cluster.step(30_000);
  assert.deepEqual(await samples("quorate_ha_recovery_seconds_count"), []);
  cluster.answer = "Ok";
  cluster.step(31_000);
  cluster.step(32_000);
  assert.deepEqual(
    await samples(
      "quorate_ha_fences_total",
      "quorate_ha_recoveries_total",
      "quorate_ha_recovery_seconds_sum",
      "quorate_ha_quorate",
    ),
    [
      'quorate_ha_fences_total{outcome="Cancelled"} 0',
      'quorate_ha_fences_total{outcome="Fenced"} 1',
      "quorate_ha_quorate{} 1",
      "quorate_ha_recoveries_total{} 1",
      "quorate_ha_recovery_seconds_sum{} 30",
    ],
  );
  assert.deepEqual(await samples("quorate_ha_service_state_changes_total"), [
    'quorate_ha_service_state_changes_total{from="Fence",to="Recovery"} 1',
    'quorate_ha_service_state_changes_total{from="Recovery",to="Started"} 1',
    'quorate_ha_service_state_changes_total{from="RequestStart",to="Started"} 1',
    'quorate_ha_service_state_changes_total{from="Started",to="Fence"} 1',
  ]);
});

test("a recovery without a node is refused once, however often it is tried", async () => {
  const cluster = new Cluster();
  cluster.step(0);
  cluster.step(1_000);
  cluster.nodes = { n1: { ...cut, lease: "crm" }, n2: { ...online, agentAlive: false } };
  for (const now of [30_000, 31_000, 32_000]) cluster.step(now);
  assert.deepEqual(await samples("quorate_ha_placements_refused_total", "quorate_ha_services"), [
    'quorate_ha_placements_refused_total{reason="NoRecoveryNode"} 1',
    'quorate_ha_services{state="Recovery"} 1',
  ]);
});

test("moves count as begun and arrived or failed, and a refused one as refused", async () => {
  const cluster = new Cluster();
  cluster.services = { web: {}, db: { owner: "n2" } };
  cluster.apart = ["db", "web"];
  cluster.step(0);
  cluster.step(1_000);
  const move = (target: string): ServiceRequest => ({ op: "move", service: "web", target, mode: "restart" });
  cluster.step(2_000, [move("n2")]);
  assert.deepEqual(await samples("quorate_ha_placements_refused_total"), [
    'quorate_ha_placements_refused_total{reason="MustStayApart"} 1',
  ]);
  cluster.step(3_000, [move("n3")]);
  cluster.step(4_000);
  cluster.step(5_000, [move("n1")]);
  cluster.answer = "Failed";
  cluster.step(6_000);
  assert.deepEqual(await samples("quorate_ha_moves_total"), [
    'quorate_ha_moves_total{mode="Restart",outcome="Arrived"} 1',
    'quorate_ha_moves_total{mode="Restart",outcome="Begun"} 2',
    'quorate_ha_moves_total{mode="Restart",outcome="Failed"} 1',
  ]);
});

test("a replica that leads no more shows no states", async () => {
  const cluster = new Cluster();
  cluster.step(0);
  cluster.metrics.forget();
  assert.deepEqual(await samples("quorate_ha_services", "quorate_ha_node_state", "quorate_ha_quorate"), []);
});
