/** `quorate simulate FILE`: a scenario in virtual time, one JSON event a line on standard output. */
import { parseArgs } from "node:util";
import { classify, QuorateError } from "../errors.ts";
import type { SimEvent } from "./recorder.ts";
import { simulateDefault } from "./default-world.ts";
import { simulateReference } from "./reference-world.ts";
import { readScenario } from "./scenario.ts";

const USAGE = `usage: quorate simulate FILE [--timings file|quorate]

  --timings file     rounds and delays of the scenario's reference system (default)
  --timings quorate  the same world with this project's own default timings, event-driven
`;

export async function main(args: string[]): Promise<void> {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { timings: { type: "string", default: "file" }, timeline: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    const [file, ...more] = positionals;
    if (values.help === true || file === undefined || more.length > 0) {
      (values.help === true ? process.stdout : process.stderr).write(USAGE);
      process.exitCode = values.help === true ? 0 : 64;
      return;
    }
    if (values.timings !== "file" && values.timings !== "quorate") {
      throw new QuorateError("user", "UnknownTimings", `--timings ${values.timings} is neither file nor quorate`);
    }
    const scenario = readScenario(file);
    const events: SimEvent[] = values.timings === "quorate" ? simulateDefault(scenario) : simulateReference(scenario);
    process.stdout.write(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
  } catch (thrown) {
    const error = classify(thrown);
    process.stderr.write(`quorate simulate: ${error.message}\n`);
    process.exitCode = error.class === "user" ? 2 : 1;
  }
}
