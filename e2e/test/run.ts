/**
 * Runs the tests tier by tier, cheapest first, and closes with `N passed, N failed, N skipped` over all of them.
 *
 * usage: node e2e/test/run.ts [unit] [api] [host] [lab]      (default: all)
 *
 * A tier is a file-name suffix: `x.test.ts` unit, `x.api.test.ts` real kube-apiserver, `x.host.test.ts` root and real
 * host parts, `x.lab.test.ts` whole hosts. Exit status 1 when a test failed, a tier ran no test, or a tier crashed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureHostPackages } from "../lab/packages.ts";

type Tier = { name: string; pattern: string; exclude: RegExp | undefined; concurrency: number; timeoutMinutes: number };

const tiers: Tier[] = [
  { name: "unit", pattern: "**/*.test.ts", exclude: /\.(api|host|lab)\.test\.ts$/, concurrency: 2, timeoutMinutes: 5 },
  { name: "api", pattern: "**/*.api.test.ts", exclude: undefined, concurrency: 2, timeoutMinutes: 15 },
  { name: "host", pattern: "**/*.host.test.ts", exclude: undefined, concurrency: 1, timeoutMinutes: 15 },
  { name: "lab", pattern: "**/*.lab.test.ts", exclude: undefined, concurrency: 1, timeoutMinutes: 45 },
];

type Counts = { passed: number; failed: number; skipped: number };
type Row = { name: string; file?: string; outcome: keyof Counts; reason?: string };

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

async function runTier(tier: Tier, results: string): Promise<{ counts: Counts; skips: Row[] }> {
  const files = globSync(tier.pattern, {
    cwd: root,
    exclude: (f) => f.startsWith("node_modules") || f.startsWith("build"),
  })
    .filter((f) => tier.exclude === undefined || !tier.exclude.test(f))
    .sort();
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  if (files.length === 0) return { counts: { ...counts, failed: 1 }, skips: [] };
  const out = join(results, `${tier.name}.jsonl`);
  rmSync(out, { force: true });
  const child = spawn(
    process.execPath,
    [
      "--test",
      "--disable-warning=ExperimentalWarning",
      `--test-concurrency=${tier.concurrency}`,
      `--test-timeout=${tier.timeoutMinutes * 60_000}`,
      "--test-reporter=spec",
      "--test-reporter-destination=stdout",
      `--test-reporter=${join(root, "e2e/test/counts-reporter.ts")}`,
      `--test-reporter-destination=${out}`,
      ...files,
    ],
    { cwd: root, stdio: ["ignore", "inherit", "inherit"] },
  );
  const [status] = (await once(child, "exit")) as [number | null];
  const rows = existsSync(out)
    ? readFileSync(out, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Row)
    : [];
  for (const row of rows) counts[row.outcome] += 1;
  // The runner's own word counts too: a crash after the last test, or a tier that ran nothing, is a failure.
  if ((status !== 0 || rows.length === 0) && counts.failed === 0) counts.failed = 1;
  return { counts, skips: rows.filter((row) => row.outcome === "skipped") };
}

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !tiers.some((tier) => tier.name === name));
if (unknown.length > 0) {
  console.error(`run.ts: no tier "${unknown.join(", ")}"; there are ${tiers.map((t) => t.name).join(", ")}`);
  process.exit(64);
}
const results = join(root, "build/tests");
mkdirSync(results, { recursive: true });
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const skipped: Row[] = [];
const summary: string[] = [];
for (const tier of tiers.filter((t) => asked.length === 0 || asked.includes(t.name))) {
  console.log(`\n=== ${tier.name} tests`);
  if (tier.name === "host" || tier.name === "lab") await ensureHostPackages();
  const started = Date.now();
  const { counts, skips } = await runTier(tier, results);
  for (const key of ["passed", "failed", "skipped"] as const) total[key] += counts[key];
  skipped.push(...skips);
  const seconds = Math.round((Date.now() - started) / 1000);
  summary.push(
    `${tier.name.padEnd(5)} ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped in ${seconds} s`,
  );
}
console.log(`\n${summary.join("\n")}`);
for (const row of skipped) console.log(`SKIPPED ${row.name}${row.reason === undefined ? "" : `: ${row.reason}`}`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);
