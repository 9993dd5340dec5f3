/** `make bench`: measurements as tables. Nothing passes or fails here by how long it took. */
import { parseArgs } from "node:util";
import { whyNoLab } from "../e2e/lab/index.ts";
import { classify, QuorateError } from "../errors.ts";
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
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "3" },
    worlds: { type: "string", default: "200" },
    seed: { type: "string", default: "20260101" },
    resources: { type: "string", default: "20" },
    help: { type: "boolean", short: "h" },
  },
});

function count(option: "runs" | "worlds" | "seed" | "resources"): number {
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
