/** `quorate search`: looks for a history of faults in which something happens that must not, and writes it down. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../clock.ts";
import { classify, QuorateError } from "../errors.ts";
import { DEFECTS, defectNamed } from "./defects.ts";
import { type Found, type Progress, type SearchResult, search } from "./search.ts";

const USAGE = `usage: quorate search [--faults N] [--seed S] [--break RULE] [--out DIR]

Plays random histories of faults and commands on the real decisions, in virtual time, and looks after each step whether what must hold
does: no guest runs twice or starts without its node's lease, every wanted guest runs again in the end, no start is tried more often than
allowed, and nobody is fenced because API server, agents or controllers failed.

  --faults N    how many faults [10000]
  --seed S      which random numbers, a whole number; the same seed gives the same worlds [1]
  --break RULE  plants a known defect, which the search has to find; "list" shows all
  --out DIR     where a violation is written as a scenario for quorate simulate [.]

Exit: 0 nothing found, 1 a violation, 64 wrong use.
`;

/** Milliseconds. */
const PROGRESS_EVERY = 5000;

interface Wish {
  readonly faults: number;
  readonly seed: number;
  readonly defect: string | undefined;
  readonly out: string;
}

export async function main(args: string[]): Promise<void> {
  try {
    const wish = parse(args);
    if (wish === undefined) return;
    const from = systemClock.elapsedMs();
    const result = search({
      seed: wish.seed,
      faults: wish.faults,
      ...(wish.defect === undefined ? {} : { defect: wish.defect }),
      onProgress: printer(from),
    });
    if (result.found) process.stdout.write(report(result.found, wish));
    process.stdout.write(closing(result, wish, systemClock.elapsedMs() - from));
    process.exitCode = result.found ? 1 : 0;
  } catch (thrown) {
    const error = classify(thrown);
    const wrongUse = error.class === "user" || isParseError(thrown);
    process.stderr.write(`quorate search: ${error.message}\n${wrongUse ? `\n${USAGE}` : ""}`);
    process.exitCode = wrongUse ? 64 : 1;
  }
}

/** @returns undefined when only something about the command was asked. */
function parse(args: string[]): Wish | undefined {
  const { values } = parseArgs({
    args,
    options: {
      faults: { type: "string", default: "10000" },
      seed: { type: "string", default: "1" },
      break: { type: "string" },
      out: { type: "string", default: "." },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help === true || values.break === "list") {
    const rows = Object.entries(DEFECTS).map(([name, { summary }]) => `  ${name.padEnd(28)}${summary}`);
    process.stdout.write(`${values.help === true ? `${USAGE}\nRULE is one of\n\n` : ""}${rows.join("\n")}\n`);
    return undefined;
  }
  if (values.break !== undefined) defectNamed(values.break);
  return {
    faults: whole("faults", values.faults, 1),
    seed: whole("seed", values.seed, 0),
    defect: values.break,
    out: values.out,
  };
}

function whole(option: string, text: string, least: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
  throw new QuorateError("user", "InvalidOption", `--${option} ${text}: give a whole number from ${least} on`);
}

function isParseError(thrown: unknown): boolean {
  return thrown instanceof TypeError && "code" in thrown && String(thrown.code).startsWith("ERR_PARSE_ARGS");
}

function printer(from: number): (progress: Progress) => void {
  let next = from + PROGRESS_EVERY;
  return ({ faults, worlds }) => {
    const now = systemClock.elapsedMs();
    if (now < next) return;
    next = now + PROGRESS_EVERY;
    process.stdout.write(`${faults} faults in ${worlds} worlds, ${rate(faults, now - from)}\n`);
  };
}

function report({ violation, scenario }: Found, { out }: Wish): string {
  mkdirSync(out, { recursive: true });
  const file = join(out, `${String(scenario.name)}-${violation.kind.replaceAll(".", "-")}.json`);
  writeFileSync(file, `${JSON.stringify(scenario, undefined, 2)}\n`);
  return `violation at ${violation.t} virtual s: ${violation.text}\nwritten as ${file}; look at it with: quorate simulate ${file} --timeline out.svg\n`;
}

function closing({ faults, worlds, found }: SearchResult, { seed, defect }: Wish, milliseconds: number): string {
  const planted = defect === undefined ? "" : ` with defect ${defect}`;
  const end = found ? `${found.violation.kind} in world ${found.index}` : "no violation";
  return `search: ${faults} faults in ${worlds} worlds of seed ${seed}${planted} in ${(milliseconds / 1000).toFixed(1)} s, ${rate(faults, milliseconds)}: ${end}\n`;
}

function rate(faults: number, milliseconds: number): string {
  return `${Math.round((faults * 1000) / Math.max(1, milliseconds))} faults/s`;
}
