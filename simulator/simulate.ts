/** `quorate simulate FILE`: a scenario in virtual time, one JSON event a line on standard output. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { classify, QuorateError } from "../errors.ts";
import { simulateDefault } from "./default-world.ts";
import type { SimEvent } from "./recorder.ts";
import { simulateReference } from "./reference-world.ts";
import { readScenario } from "./scenario.ts";
import { timeline } from "./timeline.ts";

/** Events written at once. */
const BATCH = 5000;

const USAGE = `usage: quorate simulate FILE [--timings file|quorate] [--timeline OUT.svg]

  --timings file     rounds and delays of the scenario's reference system (default, unless the file says otherwise)
  --timings quorate  the same world with this project's own default timings, event-driven
  --timeline OUT.svg writes a picture of the run too

Exit: 0, 2 for a scenario that cannot be used, 3 when something happened that must not (events of class "violation").
`;

export async function main(args: string[]): Promise<void> {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        timings: { type: "string" },
        timeline: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    const [file, ...more] = positionals;
    if (values.help === true || file === undefined || more.length > 0) {
      (values.help === true ? process.stdout : process.stderr).write(USAGE);
      process.exitCode = values.help === true ? 0 : 64;
      return;
    }
    const scenario = readScenario(file);
    const timings = values.timings ?? scenario.timings;
    if (timings !== "file" && timings !== "quorate")
      throw new QuorateError("user", "UnknownTimings", `--timings ${timings} is neither file nor quorate`);
    const events: SimEvent[] = timings === "quorate" ? simulateDefault(scenario) : simulateReference(scenario);
    for (let i = 0; i < events.length; i += BATCH) {
      process.stdout.write(
        events
          .slice(i, i + BATCH)
          .map((event) => `${JSON.stringify(event)}\n`)
          .join(""),
      );
    }
    if (values.timeline !== undefined)
      writeFileSync(values.timeline, timeline(`${scenario.name}: ${scenario.description}`, events));
    const violations = events.filter((event) => event.class === "violation").length;
    if (violations > 0) {
      process.stderr.write(
        `quorate simulate: what must not happen did, ${violations} times; look for "class":"violation"\n`,
      );
      process.exitCode = 3;
    }
  } catch (thrown) {
    const error = classify(thrown);
    process.stderr.write(`quorate simulate: ${error.message}\n`);
    process.exitCode = error.class === "user" ? 2 : 1;
  }
}
