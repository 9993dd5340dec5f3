/** `quorate schedule`: when a schedule fires, for trying one out before it is applied. */
import { parseArgs } from "node:util";
import { classify, QuorateError } from "../../errors.ts";
import { nextRun } from "./calendar.ts";
import { parseSchedule } from "./calendar-grammar.ts";

const USAGE = `usage: quorate schedule [--tz ZONE] [--after EPOCH] [-n COUNT] SCHEDULE

Prints the next run times of SCHEDULE as seconds since the epoch, one a line; "never" where there is none.
A schedule that is refused: a message, and exit status 2.

  --tz ZONE      time zone, an IANA name [UTC]
  --after EPOCH  seconds since the epoch: only runs after it [now]
  -n COUNT       how many run times [1]

SCHEDULE is [day(s)] [[year-]month-day] [[hours:]minutes]: "*/15", "mon..fri 8..17:0/30", "sat 2:00", "hourly".
`;

/** Sets the exit status of the process: 0, or 2 for a schedule or an argument that is refused. */
export async function main(args: string[]): Promise<void> {
  try {
    process.stdout.write(run(args));
  } catch (error) {
    const problem = classify(error);
    if (problem.class !== "user") throw error;
    process.stderr.write(`quorate schedule: ${problem.message}\n`);
    process.exitCode = 2;
  }
}

function run(args: string[]): string {
  const { values, positionals } = readArguments(args);
  if (values.help) return USAGE;
  const [text, ...more] = positionals;
  if (text === undefined || more.length > 0)
    throw new QuorateError("user", "Usage", `give one SCHEDULE, in quotes\n\n${USAGE.trimEnd()}`);
  const count = readInteger("-n", values.count, 1, 100_000);
  let after = readInteger("--after", values.after, 0, 1e12);
  const schedule = parseSchedule(text);
  for (const warning of schedule.warnings) process.stderr.write(`quorate schedule: warning: ${warning}\n`);
  const lines: string[] = [];
  while (lines.length < count) {
    const next = nextRun(schedule, after, values.tz);
    lines.push(String(next ?? "never"));
    if (next === undefined) break;
    after = next;
  }
  return `${lines.join("\n")}\n`;
}

function readArguments(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        tz: { type: "string", default: "UTC" },
        after: { type: "string", default: String(Math.floor(Date.now() / 1000)) },
        count: { type: "string", short: "n", default: "1" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new QuorateError("user", "Usage", `${message}\n\n${USAGE.trimEnd()}`, { cause });
  }
}

function readInteger(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new QuorateError("user", "Usage", `${name} ${JSON.stringify(text)} is no whole number from ${min} to ${max}`);
}
