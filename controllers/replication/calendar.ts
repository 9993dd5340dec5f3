/**
 * When a schedule fires. Pure: the time zone rules come from the runtime (Intl), the time from the caller.
 *
 * Clock changes: a schedule for every hour follows the instants, so it goes on through a change at its usual distance.
 * A schedule for given hours fires once for each wall-clock time it names: of a time that comes twice the first counts,
 * and a time that a change leaves out fires at the change itself, so that a weekly run on that night is not lost.
 */
import { QuorateError } from "../../errors.ts";
import type { Schedule } from "./calendar-grammar.ts";

const DAY = 86_400;
const WEEK = 7 * DAY;
/** 29 February falls on a given weekday every 28 years, 40 where a century without leap day is between. */
const YEARS_TO_LOOK = 41;
/** The last second a JavaScript date can hold, with room for the search. */
const LAST_SECOND = 8_640_000_000_000 - 45 * 366 * DAY;

/**
 * The first time the schedule fires strictly after `after`, in seconds since the epoch; undefined when it never does again.
 * @param timeZone an IANA name; ignored when the schedule itself ends in UTC.
 * @throws QuorateError `InvalidTimeZone`
 */
export function nextRun(schedule: Schedule, after: number, timeZone: string): number | undefined {
  if (!Number.isFinite(after) || after < 0 || after > LAST_SECOND)
    throw new QuorateError(
      "user",
      "InvalidTime",
      `time ${after} is not between 0 and ${LAST_SECOND} seconds since the epoch`,
    );
  const offsetAt = zoneOffset(schedule.utc ? "UTC" : timeZone);
  const oncePerWallTime = schedule.hours.length < 24;
  let t = Math.floor(after) + 1;
  for (;;) {
    const offset = offsetAt(t);
    const before = offsetAt(t - 1);
    if (oncePerWallTime && offset > before) {
      const leftOut = nextWallTime(schedule, t + before);
      if (leftOut !== undefined && leftOut < t + offset) return t;
    }
    const unseen = oncePerWallTime ? Math.max(t + offset, wallTimeReached(t, offsetAt)) : t + offset;
    const wall = nextWallTime(schedule, unseen);
    const end = nextChange(t, t + DAY, offsetAt);
    if (wall !== undefined && wall - offset < end) return wall - offset;
    // A change sets the clock back by at most a day, so what lies further ahead is not brought nearer by one.
    const ahead = nextWallTime(schedule, end + offset - DAY);
    if (ahead === undefined) return undefined;
    t = Math.max(end, ahead - offset - 2 * DAY);
  }
}

/**
 * Why a replication job cannot use the schedule, or undefined when it can: a job runs at least once a week and at most
 * once a minute.
 */
export function jobScheduleProblem(schedule: Schedule, after: number, timeZone: string): string | undefined {
  const named = `schedule ${JSON.stringify(schedule.text)}`;
  if (schedule.seconds.length > 1) return `${named} fires more often than once a minute; leave the seconds out`;
  const everyDate = schedule.years === undefined && schedule.months.length === 12 && schedule.days.length === 31;
  const first = nextRun(schedule, after, timeZone);
  if (first !== undefined && everyDate) return undefined;
  let last = after;
  for (let runs = 0; last < after + 2 * 366 * DAY && runs < 1000; runs += 1) {
    const next = nextRun(schedule, last, timeZone);
    if (next === undefined && runs === 0)
      return `${named} never fires; write a date that is still to come, or leave the date out`;
    // An hour more: a week in which the clock is set back is longer.
    if (next === undefined || next - last > WEEK + 3600)
      return `${named} leaves more than a week between two runs; write a schedule that fires at least weekly, for example "sun 02:00"`;
    last = Math.max(next, last + DAY);
  }
  return undefined;
}

/** The first wall-clock time at or after `from` that the schedule names, both in seconds as if the clock showed UTC. */
function nextWallTime(schedule: Schedule, from: number): number | undefined {
  let day = Math.floor(from / DAY);
  if (dateMatches(schedule, day)) {
    const time = nextTimeOfDay(schedule, from - day * DAY);
    if (time !== undefined) return day * DAY + time;
  }
  const lastYear = Math.min(yearOf(day) + YEARS_TO_LOOK, schedule.years?.at(-1) ?? Number.POSITIVE_INFINITY);
  for (day += 1; ; day += 1) {
    const date = new Date(day * DAY * 1000);
    const [year, month] = [date.getUTCFullYear(), date.getUTCMonth() + 1];
    if (year > lastYear) return undefined;
    if (schedule.years && !schedule.years.includes(year)) day = Date.UTC(year + 1, 0, 1) / 1000 / DAY - 1;
    else if (!schedule.months.includes(month)) day = Date.UTC(year, month, 1) / 1000 / DAY - 1;
    else if (dateMatches(schedule, day)) return day * DAY + (nextTimeOfDay(schedule, 0) ?? 0);
  }
}

function yearOf(day: number): number {
  return new Date(day * DAY * 1000).getUTCFullYear();
}

function dateMatches(schedule: Schedule, day: number): boolean {
  const date = new Date(day * DAY * 1000);
  return (
    (schedule.years?.includes(date.getUTCFullYear()) ?? true) &&
    schedule.months.includes(date.getUTCMonth() + 1) &&
    schedule.days.includes(date.getUTCDate()) &&
    schedule.weekdays.includes(date.getUTCDay())
  );
}

function nextTimeOfDay(schedule: Schedule, from: number): number | undefined {
  for (const hour of schedule.hours) {
    if (hour * 3600 + 3599 < from) continue;
    for (const minute of schedule.minutes) {
      if (hour * 3600 + minute * 60 + 59 < from) continue;
      for (const second of schedule.seconds) {
        const time = hour * 3600 + minute * 60 + second;
        if (time >= from) return time;
      }
    }
  }
  return undefined;
}

type OffsetAt = (second: number) => number;

/** The first second after `from` with another offset, or `to`. Two changes within a day do not happen. */
function nextChange(from: number, to: number, offsetAt: OffsetAt): number {
  const offset = offsetAt(from);
  if (offsetAt(to) === offset) return to;
  let [same, other] = [from, to];
  while (other - same > 1) {
    const middle = Math.floor((same + other) / 2);
    if (offsetAt(middle) === offset) same = middle;
    else other = middle;
  }
  return other;
}

/** The wall-clock time before which everything has been shown already, when a clock was set back within the last day. */
function wallTimeReached(t: number, offsetAt: OffsetAt): number {
  const dayBefore = offsetAt(t - DAY);
  if (dayBefore <= offsetAt(t)) return Number.NEGATIVE_INFINITY;
  return nextChange(t - DAY, t, offsetAt) + dayBefore;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** The offset of a zone from UTC in seconds, at a second since the epoch. */
function zoneOffset(timeZone: string): OffsetAt {
  if (timeZone === "UTC") return () => 0;
  let format = formats.get(timeZone);
  if (format === undefined) {
    try {
      format = new Intl.DateTimeFormat("en-US", { timeZone, timeZoneName: "longOffset" });
    } catch (cause) {
      throw new QuorateError(
        "user",
        "InvalidTimeZone",
        `time zone ${JSON.stringify(timeZone)} is unknown; write a name such as "Europe/Vienna", or "UTC"`,
        { cause },
      );
    }
    formats.set(timeZone, format);
  }
  const { format: write } = format;
  return (second) => {
    const match = /GMT(?:([+-])(\d{2}):(\d{2})(?::(\d{2}))?)?$/.exec(write(second * 1000));
    if (!match) throw new QuorateError("bug", "InternalError", `no offset of time zone ${timeZone} at ${second}`);
    const [, sign, hours = "0", minutes = "0", seconds = "0"] = match;
    return (sign === "-" ? -1 : 1) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds));
  };
}
