/** From `kubectl apply` to a running guest, and what the idle parts take, on the hosts of a lab that is made for it. */
import { execa } from "execa";
import { Installed, NAMESPACE } from "../e2e/installed/index.ts";
import { type Lab, labProcesses, labUp, waitFor } from "../e2e/lab/index.ts";
import { measureParts } from "./processes.ts";
import { median, quantile, sum } from "./statistics.ts";
import { machine, megabytes, number, printTable } from "./table.ts";

const LAB = "bench";
const QUORATE_WITHIN_MS = 180_000;
const RUNNING_WITHIN_MS = 240_000;
const IDLE_SECONDS = 30;
const PLAIN_STARTS = 10;
/** The bench brings guests of its own. */
const LEFT_OUT = ["Guest", "HAGroup", "HAResource", "ReplicationJob"];

export async function startLatency(options: { resources: number }): Promise<void> {
  const progress = (line: string) => process.stderr.write(`    ${line}\n`);
  const lab = await labUp({ hosts: 3, name: LAB, onReset: { reboot: false, delaySeconds: 0 }, progress });
  try {
    const installed = await Installed.install(lab, { progress });
    await installed.applyExamples((object) => (LEFT_OUT.includes(object.kind) ? undefined : object));
    await installed.untilQuorate(QUORATE_WITHIN_MS);
    for (const host of lab.hosts) {
      const write = ["-c", "cat > /etc/systemd/system/bench@.service && systemctl daemon-reload"];
      await host.run("sh", write, { input: "[Service]\nExecStart=/bin/sleep infinity\n" });
    }
    const plain = await plainStarts(lab);
    const measured = await applyAndWatch(lab, installed, options.resources);
    const row = (what: string, values: readonly number[]) => [
      what,
      String(values.length),
      number(median(values), 0),
      number(quantile(values, 0.99), 0),
      `${number(median(values) / median(plain), 1)} x`,
    ];
    printTable(
      `start-latency: ${options.resources} HAResources of services on 3 hosts, applied at once after one to warm up; ${machine()}`,
      ["milliseconds", "count", "p50", "p99", "p50/systemctl"],
      [
        row("systemctl start of such a unit on a host", plain),
        row("the whole kubectl apply", [measured.applied]),
        row("kubectl apply begun -> Guest Running", measured.fromApply),
        row("HAResource seen in a watch -> Guest Running", measured.fromSeen),
      ],
    );
    await printIdle(lab);
  } finally {
    await lab.down();
  }
}

/** What one would have without Kubernetes and without HA. */
async function plainStarts(lab: Lab): Promise<number[]> {
  const host = lab.host("n1");
  const times: number[] = [];
  for (let i = 0; i < PLAIN_STARTS; i += 1) {
    const unit = `bench@plain${i}.service`;
    const from = performance.now();
    await host.run("systemctl", ["start", unit]);
    times.push(performance.now() - from);
    await host.run("systemctl", ["stop", unit]);
  }
  return times;
}

interface Measured {
  readonly applied: number;
  readonly fromApply: number[];
  readonly fromSeen: number[];
}

async function applyAndWatch(lab: Lab, installed: Installed, count: number): Promise<Measured> {
  const seen = new Map<string, number>();
  const running = new Map<string, number>();
  const first = (times: Map<string, number>, name: string) => times.has(name) || times.set(name, performance.now());
  const watches = [
    watch(lab, "haresource", (name) => first(seen, name)),
    watch(lab, "guest", (name, state) => state === "Running" && first(running, name)),
  ];
  const apply = (names: readonly string[]) =>
    installed.kubectl(["apply", "-f", "-"], { input: manifests(lab, names), timeoutMs: RUNNING_WITHIN_MS });
  const untilRunning = (names: readonly string[]) =>
    waitFor(
      () => names.every((name) => running.has(name) && seen.has(name)),
      RUNNING_WITHIN_MS,
      `${names.length} guests to run`,
    );
  try {
    // The first guest wakes the agents' HA and shows that both watches are on.
    await apply(["bench-0"]);
    await untilRunning(["bench-0"]);
    const names = Array.from({ length: count }, (_, i) => `bench-${i + 1}`);
    const from = performance.now();
    await apply(names);
    const applied = performance.now() - from;
    await untilRunning(names);
    const times = names.map((name) => ({ seenAt: seen.get(name) ?? Number.NaN, at: running.get(name) ?? Number.NaN }));
    return {
      applied,
      fromApply: times.map(({ at }) => at - from),
      // Both come by watches of their own: one that was told late would make a start look shorter than none.
      fromSeen: times.map(({ seenAt, at }) => Math.max(0, at - seenAt)),
    };
  } finally {
    for (const stop of watches) await stop();
  }
}

/** @returns what ends the watch. */
function watch(lab: Lab, kind: string, onObject: (name: string, state: string) => unknown): () => Promise<void> {
  const { kubectl = "kubectl" } = lab.record;
  const template = 'jsonpath={.metadata.name} {.status.state}{"\\n"}';
  const child = execa(
    kubectl,
    [`--kubeconfig=${lab.kubeconfig}`, "--namespace", NAMESPACE, "get", kind, "--watch", "-o", template],
    { reject: false, buffer: false },
  );
  const reading = (async () => {
    for await (const line of child.iterable()) {
      const [name = "", state = ""] = String(line).split(" ");
      onObject(name, state);
    }
  })().catch(() => undefined); // Ended by us.
  return async () => {
    child.kill("SIGKILL");
    await child;
    await reading;
  };
}

/** Guests on the hosts in turn; the number at the end of a name is the instance of its unit. */
function manifests(lab: Lab, names: readonly string[]): string {
  const objects = names.map((name, i) => {
    const nodeName = lab.hosts[i % lab.hosts.length]?.name;
    const apiVersion = "quorate.dev/v1alpha1";
    const metadata = { name, namespace: NAMESPACE };
    const service = { unit: `bench@${name.slice("bench-".length)}.service` };
    return [
      { apiVersion, kind: "Guest", metadata, spec: { nodeName, resources: { memory: "16Mi" }, service } },
      { apiVersion, kind: "HAResource", metadata, spec: { state: "Started" } },
    ];
  });
  return objects
    .flat()
    .map((object) => JSON.stringify(object))
    .join("\n---\n");
}

async function printIdle(lab: Lab): Promise<void> {
  const uses = await measureParts(labProcesses(lab.name), IDLE_SECONDS);
  const rows = ["controllers", "agent", "keeper"].map((part) => {
    const own = uses.filter((use) => use.part === part);
    const cpu = own.map((use) => use.cpuPercent);
    const rss = own.map((use) => use.rssBytes);
    return [
      part,
      String(own.length),
      number(median(cpu), 2),
      number(sum(cpu), 2),
      megabytes(median(rss)),
      megabytes(sum(rss)),
    ];
  });
  printTable(
    `idle for ${IDLE_SECONDS} s with those guests running; ${machine()}`,
    ["part", "processes", "CPU % p50", "CPU % all", "RSS MB p50", "RSS MB all"],
    rows,
  );
}
