/** `make bench`: measurements as tables. Nothing passes or fails here by how long it took. */
import { parseArgs } from "node:util";
import { whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { whyNoLab } from "../e2e/lab/index.ts";
import { classify, QuorateError } from "../errors.ts";
import { manyClusters } from "./many-clusters.ts";
import { simulateFaults } from "./simulate-faults.ts";
import { simulateLarge } from "./simulate-large.ts";
import { startLatency } from "./start-latency.ts";

const USAGE = `usage: node bench/run.ts [BENCH ...]     (default: all)

  simulate-large   29 nodes x 5000 services with a node cut, beside the field's reference simulator
      --runs N         medians of so many runs [3]
  simulate-faults  random worlds of faults a second (make search looks at a million)
      --worlds N       how many [200]
      --seed N         which [20260101]
  start-latency    kubectl apply to a running guest, and the idle parts, in a lab (root; minutes)
      --resources N    how many guests [20]; the documented run has 100
  many-clusters    one controllers process and many clusters on a real kube-apiserver, with agents that are played
      --clusters N     how many [20]; the documented run has 200
      --nodes N        in each [16]
      --services N     in each [100]
      --minutes N      of steady state [1]; the documented run has 30
      --renewal N      seconds between the renewals of a Lease [10]
      --running        the services run already when the controllers begin, as an earlier leader left them
      --lost N         in how many clusters a node is lost at the end [all]
      --profile DIR    writes a CPU profile of the controllers there
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "3" },
    worlds: { type: "string", default: "200" },
    seed: { type: "string", default: "20260101" },
    resources: { type: "string", default: "20" },
    clusters: { type: "string", default: "20" },
    nodes: { type: "string", default: "16" },
    services: { type: "string", default: "100" },
    minutes: { type: "string", default: "1" },
    renewal: { type: "string", default: "10" },
    running: { type: "boolean", default: false },
    lost: { type: "string" },
    profile: { type: "string" },
    help: { type: "boolean", short: "h" },
  },
});

type Count = Exclude<keyof typeof values, "help" | "profile" | "running">;

function count(option: Count): number {
  const value = Number(values[option]);
  if (Number.isInteger(value) && value > 0) return value;
  throw new QuorateError("user", "InvalidOption", `--${option} ${values[option]}: give a whole number above 0`);
}

const benches: Readonly<Record<string, () => Promise<void> | void>> = {
  "simulate-large": () => simulateLarge({ runs: count("runs") }),
  "simulate-faults": () => simulateFaults({ worlds: count("worlds"), seed: count("seed") }),
  "start-latency": () => {
    const why = whyNoLab();
    if (why === undefined) return startLatency({ resources: count("resources") });
    console.log(`\nstart-latency: not run: ${why}`);
  },
  "many-clusters": () => {
    const why = whyNoControlPlane();
    if (why !== undefined) return console.log(`\nmany-clusters: not run: ${why}`);
    return manyClusters({
      clusters: count("clusters"),
      nodes: count("nodes"),
      services: count("services"),
      minutes: count("minutes"),
      renewalSeconds: count("renewal"),
      running: values.running,
      lost: values.lost === undefined ? count("clusters") : count("lost"),
      ...(values.profile === undefined ? {} : { profile: values.profile }),
    });
  },
};

async function main(): Promise<void> {
  if (values.help === true) return console.log(USAGE);
  const unknown = positionals.find((name) => !Object.hasOwn(benches, name));
  if (unknown !== undefined) throw new QuorateError("user", "UnknownBench", `no bench "${unknown}"\n\n${USAGE}`);
  for (const [name, bench] of Object.entries(benches)) {
    if (positionals.length === 0 || positionals.includes(name)) await bench();
  }
}

try {
  await main();
} catch (thrown) {
  const error = classify(thrown);
  console.error(`bench: ${error.message}`);
  process.exitCode = error.class === "user" ? 64 : 1;
}
