import type { TestEvent } from "node:test/reporters";

/**
 * A node:test reporter that writes one JSON line for each finished test (not suite): its name, file and outcome.
 * The runner adds them up over all tiers, so that the closing line counts what was really run.
 */
export default async function* countsReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== "test:pass" && event.type !== "test:fail") continue;
    const data = event.data;
    if (data.details.type === "suite") continue;
    // A file that could not be loaded is reported as a failed test named after the file: it counts as one failure.
    const outcome =
      data.skip !== undefined || data.todo !== undefined ? "skipped" : event.type === "test:pass" ? "passed" : "failed";
    const reason = typeof data.skip === "string" ? data.skip : undefined;
    yield `${JSON.stringify({ name: data.name, file: data.file, outcome, reason })}\n`;
  }
}
