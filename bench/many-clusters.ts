/** One controllers process and very many clusters, on a real kube-apiserver; the agents are played by another process. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import { CLUSTERS } from "../crds/index.ts";
import { type ControlPlane, startControlPlane } from "../e2e/controlplane/index.ts";
import { QuorateError } from "../errors.ts";
import { KubeClient } from "../kube/index.ts";
import { BenchChild } from "./child.ts";
import type { AgentsProgress, Losses } from "./many-clusters-agents.ts";
import type { OwnUse } from "./many-clusters-controllers.ts";
import type { WorldSize } from "./many-clusters-objects.ts";
import { growth, growthBy, parseScrape, quantileBetween, type Scrape } from "./metrics-text.ts";
import { median, quantile, sum } from "./statistics.ts";
import { machine, megabytes, number, printTable } from "./table.ts";

export interface ManyClustersOptions extends WorldSize {
  readonly minutes: number;
  /** In how many clusters a node is lost at the end. */
  readonly lost: number;
  /** Writes a CPU profile of the controllers into this folder. */
  readonly profile?: string;
}

interface Sample extends OwnUse {
  readonly atMs: number;
  readonly scrape: Scrape;
  readonly agents: AgentsProgress;
  readonly load: string;
  readonly apiCpuSeconds: number;
}

const SETTLE_MS = 1_800_000;
/** Until caches, pools and compiled code are what they stay. */
const WARM_UP_MS = 30_000;
const SAMPLES = 10;

export async function manyClusters(options: ManyClustersOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "quorate-bench-"));
  const controlPlane = await startControlPlane();
  const children: BenchChild[] = [];
  try {
    await installApi(controlPlane);
    const agents = new BenchChild(
      new URL("./many-clusters-agents.ts", import.meta.url),
      [JSON.stringify(options), controlPlane.kubeconfig],
      { log: join(folder, "agents.log") },
    );
    children.push(agents);
    const populated = await agents.ask<number>("populate");
    progress(`populated in ${seconds(populated)} s; logs in ${folder}`);

    const from = performance.now();
    const profile = options.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${options.profile}`];
    const controllers = new BenchChild(
      new URL("./many-clusters-controllers.ts", import.meta.url),
      [String(options.renewalSeconds), "--kubeconfig", controlPlane.kubeconfig, "--metrics-port", "0"],
      { log: join(folder, "controllers.log"), nodeOptions: ["--expose-gc", ...profile] },
    );
    children.unshift(controllers);
    const client = KubeClient.fromKubeconfig(controlPlane.kubeconfig, { timeoutMs: 60_000 });
    const sample = async (): Promise<Sample> => ({
      atMs: performance.now(),
      agents: await agents.ask<AgentsProgress>("progress"),
      scrape: parseScrape(await controllers.ask<string>("metrics")),
      ...(await controllers.ask<OwnUse>("use")),
      load: machine(),
      apiCpuSeconds: parseScrape(await client.readText("/metrics")).get("process_cpu_seconds_total") ?? Number.NaN,
    });
    const start = await sample();
    await untilSettled(options, agents, client);
    const settled = await sample();
    progress(`steady after ${seconds(settled.atMs - from)} s`);
    printBeginning(options, start, settled, populated, settled.atMs - from);
    await systemClock.sleep(WARM_UP_MS);

    const samples = [await sample()];
    for (let i = 1; i <= SAMPLES; i += 1) {
      await systemClock.sleep((options.minutes * 60_000) / SAMPLES);
      samples.push(await sample());
      progress(
        `RSS ${megabytes(samples.at(-1)?.rssBytes ?? 0)} MB, heap ${megabytes(samples.at(-1)?.heapBytes ?? 0)} MB`,
      );
    }
    printSteady(samples);
    const proofMs = await fenceDelay(client);
    const before = samples.at(-1);
    const losses = await agents.ask<Losses>("lose", { clusters: options.lost, proofMs });
    printLosses(options, losses, proofMs, before, await sample());
  } finally {
    for (const child of children) await child.stop();
    await controlPlane.stop();
  }
}

async function installApi(controlPlane: ControlPlane): Promise<void> {
  const manifests = new URL("../crds", import.meta.url).pathname;
  await controlPlane.kubectl(["apply", "--server-side", "-f", manifests]);
  await controlPlane.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]);
  await controlPlane.kubectl(["create", "namespace", "quorate-system"]);
}

/** Every guest has an id, runs and is answered for, and every Cluster is Ready. @throws QuorateError what is missing */
async function untilSettled(options: ManyClustersOptions, agents: BenchChild, client: KubeClient): Promise<void> {
  const limit = performance.now() + SETTLE_MS;
  const wanted = options.clusters * options.services;
  for (let told = 0; ; ) {
    const { settled } = await agents.ask<AgentsProgress>("progress");
    let isReady = "";
    if (settled === wanted) {
      const { items } = await client.list(CLUSTERS);
      const ready = items.filter(({ status }) =>
        status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
      );
      if (ready.length === options.clusters) return;
      isReady = `, ${ready.length} of ${options.clusters} clusters Ready`;
    }
    if (performance.now() > limit)
      throw new QuorateError(
        "environment",
        "NotSteady",
        `${settled} of ${wanted} services after ${SETTLE_MS / 60_000} min`,
      );
    if (performance.now() - told > 10_000) {
      told = performance.now();
      progress(`${settled} of ${wanted} services${isReady}`);
    }
    await systemClock.sleep(1_000);
  }
}

async function fenceDelay(client: KubeClient): Promise<number> {
  const { items } = await client.list(CLUSTERS);
  return items[0]?.status?.timings?.fenceDelay?.milliseconds ?? Number.NaN;
}

function printBeginning(
  options: ManyClustersOptions,
  start: Sample,
  settled: Sample,
  populated: number,
  took: number,
): void {
  const { clusters, nodes, services, renewalSeconds } = options;
  const span = (settled.atMs - start.atMs) / 1000;
  printTable(
    `many-clusters: ${clusters} clusters x ${nodes} nodes x ${services} services in one process; each agent renews every ${renewalSeconds} s ` +
      `(real ones every 2 s), Lease timings likewise; ${machine()}`,
    [options.running ? "until all is known and Ready; services ran before" : "until all services run", ""],
    [
      ["objects made by the bench, s", seconds(populated)],
      ["start of the controllers -> steady, s", seconds(took)],
      ["requests of the controllers", number(growth(start.scrape, settled.scrape, "quorate_kube_requests_total"), 0)],
      ["CPU of the controllers, % of one", number(((settled.cpuSeconds - start.cpuSeconds) / span) * 100, 0)],
      ["CPU of kube-apiserver, % of one", number(((settled.apiCpuSeconds - start.apiCpuSeconds) / span) * 100, 0)],
    ],
  );
}

function printSteady(samples: readonly Sample[]): void {
  const [first] = samples;
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return;
  const span = (last.atMs - first.atMs) / 1000;
  const perSecond = (name: string) => number(growth(first.scrape, last.scrape, name) / span);
  const verbs = [...growthBy(first.scrape, last.scrape, "quorate_kube_requests_total", "method")];
  const round = (share: number) =>
    number(quantileBetween(first.scrape, last.scrape, "quorate_crm_round_seconds", share) * 1000, 0);
  const lags = samples.slice(1).map(({ scrape }) => scrape.get("nodejs_eventloop_lag_p99_seconds") ?? Number.NaN);
  const later = samples.slice(1);
  printTable(
    `steady for ${number(span / 60)} min; ${last.load}`,
    ["steady", ""],
    [
      ["renewals of Leases a second", number(sum(later.map(({ agents }) => agents.renewalsPerSecond)) / later.length)],
      [
        "gap between renewals p99, s (worst sample)",
        seconds(Math.max(...later.map(({ agents }) => agents.renewalGapP99))),
      ],
      ["HA rounds a second", perSecond("quorate_crm_round_seconds_count")],
      ["HA round p50, ms (at most)", round(0.5)],
      ["HA round p99, ms (at most)", round(0.99)],
      ["event loop late p99, ms (median sample)", number(median(lags) * 1000, 0)],
      ["event loop late p99, ms (worst sample)", number(Math.max(...lags) * 1000, 0)],
      ...verbs.map(([verb, count]) => [`requests a second: ${verb}`, number(count / span, 2)]),
      ["CPU of the controllers, % of one", number(((last.cpuSeconds - first.cpuSeconds) / span) * 100)],
      ["CPU of kube-apiserver, % of one", number(((last.apiCpuSeconds - first.apiCpuSeconds) / span) * 100)],
      ["RSS, MB", `${megabytes(first.rssBytes)} .. ${megabytes(last.rssBytes)}`],
      ["heap after collection, MB", `${megabytes(first.heapBytes)} .. ${megabytes(last.heapBytes)}`],
      [
        "heap, MB a minute",
        number(slopeAMinute(samples.map(({ atMs, heapBytes }) => [atMs, heapBytes])) / 1024 ** 2, 2),
      ],
      ["failures of the agents", String(last.agents.failures - first.agents.failures)],
    ],
  );
}

function printLosses(
  options: ManyClustersOptions,
  losses: Losses,
  proofMs: number,
  before: Sample | undefined,
  after: Sample,
): void {
  const row = (what: string, values: readonly number[]) => [
    what,
    String(values.length),
    seconds(median(values)),
    seconds(quantile(values, 0.99)),
    seconds(Math.max(...values)),
  ];
  printTable(
    `one node of each of ${options.lost} clusters lost at once, ${losses.services} services recovered; the proof takes ${seconds(proofMs)} s; ${machine()}`,
    ["seconds", "clusters", "p50", "p99", "max"],
    [
      row("proof possible -> first recovery written", losses.firstRecovery),
      row("proof possible -> last recovery written", losses.lastRecovery),
      ["first proof possible -> last recovery of all", "", "", "", seconds(losses.all)],
    ],
  );
  if (before === undefined) return;
  const round = quantileBetween(before.scrape, after.scrape, "quorate_crm_round_seconds", 0.99);
  console.log(`HA rounds during it: p99 at most ${number(round * 1000, 0)} ms`);
}

/** Of a straight line through all points, by least squares; the first of each is milliseconds. */
export function slopeAMinute(points: readonly (readonly [number, number])[]): number {
  const meanX = sum(points.map(([x]) => x)) / points.length;
  const meanY = sum(points.map(([, y]) => y)) / points.length;
  const above = sum(points.map(([x, y]) => (x - meanX) * (y - meanY)));
  const below = sum(points.map(([x]) => (x - meanX) ** 2));
  return (above / below) * 60_000;
}

function seconds(ms: number): string {
  return number(ms / 1000);
}

function progress(line: string): void {
  process.stderr.write(`    ${line}\n`);
}
