/**
 * `quorate simulate` in a process of its own, which says in the end what it took.
 *
 * usage: node bench/simulate-child.ts RESULT.json ARGUMENT-OF-SIMULATE ...
 */
import { writeFileSync } from "node:fs";
import { main } from "../simulator/simulate.ts";

export interface ChildResult {
  readonly maxRssBytes: number;
  readonly cpuSeconds: number;
}

const [resultFile, ...args] = process.argv.slice(2);
if (resultFile === undefined) throw new Error("usage: simulate-child.ts RESULT.json ARGUMENT ...");
await main(args);
process.once("exit", () => {
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  const result: ChildResult = { maxRssBytes: maxRSS * 1024, cpuSeconds: (userCPUTime + systemCPUTime) / 1e6 };
  writeFileSync(resultFile, JSON.stringify(result));
});
