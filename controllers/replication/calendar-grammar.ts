/**
 * The grammar of schedules: `[day(s)] [[year-]month-day] [[hours:]minutes[:seconds]] [UTC]`, a subset of systemd's
 * calendar events. Each number field is a list of values, ranges `a..b` and repetitions `a/n`, `a..b/n`, `*` any.
 * A bare number is minutes.
 */
import { QuorateError } from "../../errors.ts";

/** What a schedule means: the wall-clock times whose every field is in its set. All lists ascend without repeats. */
export interface Schedule {
  readonly text: string;
  /** 0 is Sunday. */
  readonly weekdays: readonly number[];
  /** Undefined: every year. */
  readonly years: readonly number[] | undefined;
  readonly months: readonly number[];
  readonly days: readonly number[];
  readonly hours: readonly number[];
  readonly minutes: readonly number[];
  readonly seconds: readonly number[];
  /** The text ends in `UTC`: evaluated in UTC whatever the time zone of the job. */
  readonly utc: boolean;
  /** Accepted, but probably not what was meant; one sentence each. */
  readonly warnings: readonly string[];
}

/** @throws QuorateError `InvalidSchedule`: what is wrong, where, and what to write instead. */
export function parseSchedule(text: string): Schedule {
  const warnings: string[] = [];
  const refuse: Refuse = (position, problem, instead) => {
    const where = position === undefined ? "" : ` at position ${position + 1}`;
    throw new QuorateError(
      "user",
      "InvalidSchedule",
      `schedule ${JSON.stringify(text)}${where}: ${problem}; ${instead}`,
    );
  };
  if (text.length > 200) refuse(undefined, `${text.length} characters are too many`, "write at most 200");
  const words = [...text.matchAll(/\S+/g)].map((match) => ({ text: match[0], at: match.index }));
  const utc = words.length > 1 && /^utc$/i.test(words.at(-1)?.text ?? "");
  if (utc) words.pop();
  const first = words[0];
  if (first === undefined) return refuse(undefined, "it is empty", 'write for example "*/15" (every 15 minutes)');

  const shorthand = SHORTHANDS.get(first.text.toLowerCase());
  if (shorthand !== undefined) {
    const extra = words[1];
    if (extra)
      refuse(
        extra.at,
        `"${extra.text}" after "${first.text}"`,
        `"${first.text}" stands alone; it means "${shorthand}"`,
      );
    return { ...parseSchedule(shorthand), text, utc };
  }

  let weekdays = range(0, 6);
  let date: DateFields = { years: undefined, months: range(1, 12), days: range(1, 31) };
  let time: TimeFields | undefined;
  if (/^[a-z]/i.test(first.text)) weekdays = parseWeekdays(takeFirst(words), refuse);
  if (words[0]?.text.includes("-")) date = parseDate(takeFirst(words), refuse, warnings);
  if (words[0] !== undefined) time = parseTime(takeFirst(words), refuse, warnings);
  const left = words[0];
  if (left)
    refuse(
      left.at,
      `"${left.text}" is left over`,
      'write days, date, time and UTC in this order, hours and minutes as "8:30"',
    );
  time ??= { hours: [0], minutes: [0], seconds: [0] };
  return { text, weekdays, ...date, ...time, utc, warnings };
}

type Refuse = (position: number | undefined, problem: string, instead: string) => never;
type Word = { text: string; at: number };
type DateFields = Pick<Schedule, "years" | "months" | "days">;
type TimeFields = Pick<Schedule, "hours" | "minutes" | "seconds">;

const SHORTHANDS = new Map([
  ["minutely", "*:*"],
  ["hourly", "*:00"],
  ["daily", "00:00"],
  ["weekly", "mon 00:00"],
  ["monthly", "*-01 00:00"],
  ["quarterly", "01,04,07,10-01 00:00"],
  ["semiannually", "01,07-01 00:00"],
  ["semi-annually", "01,07-01 00:00"],
  ["yearly", "01-01 00:00"],
  ["annually", "01-01 00:00"],
]);

const DAY_NAMES = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

function takeFirst(words: Word[]): Word {
  const word = words.shift();
  if (word === undefined) throw new QuorateError("bug", "InternalError", "no word left in a schedule");
  return word;
}

function parseWeekdays(word: Word, refuse: Refuse): number[] {
  const chosen = new Set<number>();
  for (const item of split(word, ",")) {
    const [from, to, more] = split(item, "..");
    if (from === undefined || more)
      return refuse(item.at, `"${item.text}" is no range of days`, 'write for example "mon..fri"');
    const start = parseWeekday(from, word, refuse);
    const end = to === undefined ? start : parseWeekday(to, word, refuse);
    // A week has no beginning: `fri..mon` is four days.
    for (let day = start; ; day = (day + 1) % 7) {
      chosen.add(day);
      if (day === end) break;
    }
  }
  return [...chosen].sort((a, b) => a - b);
}

function parseWeekday(item: Word, word: Word, refuse: Refuse): number {
  const name = item.text.toLowerCase();
  const day = name.length < 3 ? -1 : DAY_NAMES.findIndex((full) => full.startsWith(name));
  if (day >= 0) return day;
  const days = "sun mon tue wed thu fri sat";
  if (item.text === "") return refuse(item.at, "a day is missing here", `write one of ${days}`);
  if (/^[a-z]+\/[a-z_/]+$/i.test(word.text))
    return refuse(word.at, `"${word.text}" looks like a time zone`, "set it as the job's timeZone");
  return refuse(
    item.at,
    `"${item.text}" is no day`,
    `write one of ${days}, or one of ${[...SHORTHANDS.keys()].join(" ")}`,
  );
}

function parseDate(word: Word, refuse: Refuse, warnings: string[]): DateFields {
  const parts = split(word, "-");
  const [first, second, third] = parts;
  if (first === undefined || second === undefined || parts.length > 3)
    return refuse(
      word.at,
      `"${word.text}" is no date`,
      'write year-month-day or month-day, for example "*-*-1" or "12-24"',
    );
  const [year, month, day] = third === undefined ? [undefined, first, second] : [first, second, third];
  return {
    years: year === undefined || year.text === "*" ? undefined : parseField(year, YEAR, refuse, warnings),
    months: parseField(month, MONTH, refuse, warnings),
    days: parseField(day, DAY_OF_MONTH, refuse, warnings),
  };
}

function parseTime(word: Word, refuse: Refuse, warnings: string[]): TimeFields {
  const parts = split(word, ":");
  const [first, second, third] = parts;
  if (first === undefined || parts.length > 3)
    return refuse(word.at, `"${word.text}" has too many parts`, 'write hours:minutes, for example "8:30"');
  if (second === undefined)
    return { hours: range(0, 23), minutes: parseField(first, MINUTE, refuse, warnings), seconds: [0] };
  return {
    hours: parseField(first, HOUR, refuse, warnings),
    minutes: parseField(second, MINUTE, refuse, warnings),
    seconds: third === undefined ? [0] : parseField(third, SECOND, refuse, warnings),
  };
}

/** One number field. `largestStep` is the whole cycle: such a repetition fires once in it. */
interface FieldRange {
  name: string;
  min: number;
  max: number;
  largestStep: number;
}
const YEAR: FieldRange = { name: "year", min: 1970, max: 2199, largestStep: 200 };
const MONTH: FieldRange = { name: "month", min: 1, max: 12, largestStep: 12 };
const DAY_OF_MONTH: FieldRange = { name: "day of the month", min: 1, max: 31, largestStep: 31 };
const HOUR: FieldRange = { name: "hour", min: 0, max: 23, largestStep: 24 };
const MINUTE: FieldRange = { name: "minute", min: 0, max: 59, largestStep: 60 };
const SECOND: FieldRange = { name: "second", min: 0, max: 59, largestStep: 60 };

function parseField(field: Word, limits: FieldRange, refuse: Refuse, warnings: string[]): number[] {
  const chosen = new Set<number>();
  for (const item of split(field, ",")) {
    const parts = split(item, "/");
    const [base, repetition] = parts;
    if (base === undefined || parts.length > 2)
      return refuse(item.at, `"${item.text}" repeats twice`, `write one repetition, for example "*/5"`);
    const [from, to] = parseBase(base, repetition !== undefined, limits, refuse);
    const step = repetition === undefined ? 1 : parseStep(repetition, from, limits, refuse, warnings);
    for (let value = from; value <= to; value += step) chosen.add(value);
  }
  return [...chosen].sort((a, b) => a - b);
}

/** The first and last value of `*`, `a`, `a..b`; `a` and nothing that repeat reach to the end of the field. */
function parseBase(base: Word, repeats: boolean, limits: FieldRange, refuse: Refuse): [number, number] {
  if (base.text === "*" || (base.text === "" && repeats)) return [limits.min, limits.max];
  const parts = split(base, "..");
  const [from, to] = parts;
  if (from === undefined || parts.length > 2)
    return refuse(base.at, `"${base.text}" is no range`, `write for example "${limits.min}..${limits.max}"`);
  const start = parseNumber(from, limits, refuse);
  if (to === undefined) return [start, repeats ? limits.max : start];
  const end = parseNumber(to, limits, refuse);
  if (start > end)
    return refuse(
      base.at,
      `the range ${base.text} runs backwards`,
      `write "${start}..${limits.max},${limits.min}..${end}" if you mean round the end`,
    );
  return [start, end];
}

function parseNumber(word: Word, limits: FieldRange, refuse: Refuse): number {
  const between = `write a ${limits.name} from ${limits.min} to ${limits.max}`;
  if (word.text === "") return refuse(word.at, `a ${limits.name} is missing here`, between);
  if (/^\d+(am|pm)$/i.test(word.text))
    return refuse(word.at, `"${word.text}" is no ${limits.name}`, 'write 24-hour times, for example "22:00"');
  if (word.text === "~" || word.text === "last")
    return refuse(
      word.at,
      "the last day of a month cannot be named",
      'write "*-*-1 00:00" for the midnight that ends it',
    );
  if (!/^\d+$/.test(word.text)) return refuse(word.at, `"${word.text}" is no ${limits.name}`, `${between}, or "*"`);
  const value = Number(word.text);
  if (value >= limits.min && value <= limits.max) return value;
  const hint =
    limits === MINUTE && value <= 1439 && value >= 60 ? `; a bare number is minutes, hours are written "8:00"` : "";
  return refuse(word.at, `${limits.name} ${word.text} is out of range`, `${between}${hint}`);
}

function parseStep(word: Word, from: number, limits: FieldRange, refuse: Refuse, warnings: string[]): number {
  if (!/^\d+$/.test(word.text))
    return refuse(word.at, `"${word.text}" is no repetition`, 'write a number, for example "*/5"');
  const step = Number(word.text);
  if (step > limits.largestStep) {
    const hours =
      limits === MINUTE && step % 60 === 0 && step <= 1440
        ? ` or "*/${step / 60}:00" for every ${step / 60} hours`
        : "";
    return refuse(
      word.at,
      `repetition ${word.text} is out of range`,
      `write 1 to ${limits.largestStep}${hours}; a repetition starts again with each ${parentOf(limits)}`,
    );
  }
  if (step !== 0 && step !== limits.largestStep) return step;
  warnings.push(`"/${word.text}" repeats nothing: only ${limits.name} ${from} is meant; write "${from}"`);
  return limits.largestStep;
}

function parentOf(limits: FieldRange): string {
  if (limits === SECOND) return "minute";
  if (limits === MINUTE) return "hour";
  if (limits === HOUR) return "day";
  return limits === DAY_OF_MONTH ? "month" : "year";
}

/** The parts of a word between separators, each with its position in the whole text. */
function split(word: Word, separator: string): Word[] {
  let at = word.at;
  return word.text.split(separator).map((text) => {
    const part = { text, at };
    at += text.length + separator.length;
    return part;
  });
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}
