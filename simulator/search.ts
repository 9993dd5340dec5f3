/**
 * The fault search: random worlds one after the other until so many faults have happened or something went wrong that must not. What is
 * found is made small. World `i` of a seed is always the same.
 */
import { simulateDefault } from "./default-world.ts";
import { Random } from "./random.ts";
import { isFault, randomWorld, scenarioFile, scenarioOf, type World } from "./random-world.ts";
import type { SimEvent } from "./recorder.ts";
import { parseScenario } from "./scenario.ts";
import { shrink } from "./shrink.ts";

export interface SearchOptions {
  readonly seed: number;
  /** The search ends with the world in which so many faults are reached. */
  readonly faults: number;
  /** A name of DEFECTS. */
  readonly defect?: string;
  /** After each world. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface Progress {
  readonly faults: number;
  readonly worlds: number;
}

export interface SearchResult extends Progress {
  readonly found?: Found;
}

/** What went wrong first. */
export interface Violation {
  readonly kind: string;
  readonly subject: string;
  /** Virtual seconds. */
  readonly t: number;
  readonly text: string;
}

export interface Found {
  /** Of the world. */
  readonly index: number;
  readonly violation: Violation;
  /** A scenario file in which the same happens, as small as was found. */
  readonly scenario: Record<string, unknown>;
}

export function search({ seed, faults: wanted, defect, onProgress }: SearchOptions): SearchResult {
  let faults = 0;
  for (let index = 0; ; index += 1) {
    const world = worldOf(seed, index, defect);
    const violation = firstViolation(world);
    faults += countFaults(world);
    const progress = { faults, worlds: index + 1 };
    if (violation) return { ...progress, found: { index, ...smallest(world, violation, `search-${seed}-${index}`) } };
    onProgress?.(progress);
    if (faults >= wanted) return progress;
  }
}

export function worldOf(seed: number, index: number, defect?: string): World {
  return randomWorld(new Random(seed, index), defect);
}

export function countFaults(world: World): number {
  return world.history.filter(({ op }) => isFault(op)).length;
}

/** An exception is one too. */
export function firstViolation(world: World): Violation | undefined {
  return violationIn(() => simulateDefault(scenarioOf(world)));
}

function violationIn(run: () => readonly SimEvent[]): Violation | undefined {
  try {
    const event = run().find((each) => each.class === "violation" && each.because === undefined);
    if (event === undefined) return undefined;
    const { i: _i, t, actor: _actor, class: _class, kind, subject = "", ...shown } = event;
    return { kind, subject, t, text: `${kind} ${subject} ${JSON.stringify(shown)}` };
  } catch (thrown) {
    const text = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    return { kind: "exception", subject: "", t: 0, text };
  }
}

function smallest(world: World, first: Violation, name: string): { violation: Violation; scenario: Found["scenario"] } {
  const small = shrink(world, (candidate) => firstViolation(candidate)?.kind === first.kind);
  const violation = firstViolation(small) ?? first;
  const description = `found by the fault search: ${violation.kind} of ${violation.subject || "a run"}`;
  const whole = scenarioFile(small, name, description);
  const upToThen = scenarioFile(small, name, description, Math.ceil(violation.t) + 1);
  const enough = violationIn(() => simulateDefault(parseScenario(upToThen)))?.kind === first.kind;
  return { violation, scenario: enough ? upToThen : whole };
}
