import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { QuorateError } from "../../errors.ts";
import { jobScheduleProblem, nextRun } from "./calendar.ts";
import { parseSchedule, type Schedule } from "./calendar-grammar.ts";

const ZONES = [
  "UTC",
  "Europe/Vienna",
  "America/New_York",
  "America/Sao_Paulo",
  "Australia/Lord_Howe",
  "Asia/Kolkata",
  "Pacific/Apia",
];

describe("conformance data", () => {
  const folder = fileURLToPath(new URL("../../../shared/conformance/", import.meta.url));
  const file = `${folder}calendar.json`;
  const absent = !existsSync(file);
  test("every case of calendar.json", { skip: absent && `SKIPPED: no conformance data at ${folder}` }, (t) => {
    interface Case {
      id: number;
      schedule: string;
      tz: string;
      valid?: boolean;
      next?: { after: number; expect: number | null }[];
    }
    const { cases }: { cases: Case[] } = JSON.parse(readFileSync(file, "utf8"));
    let compared = 0;
    for (const { id, schedule, tz, valid, next = [] } of cases) {
      const name = `case ${id}: ${JSON.stringify(schedule)} in ${tz}`;
      if (!valid) assert.throws(() => parseSchedule(schedule), { reason: "InvalidSchedule" }, `${name} is refused`);
      else {
        const parsed = parseSchedule(schedule);
        for (const { after, expect } of next)
          assert.equal(nextRun(parsed, after, tz) ?? null, expect, `${name} after ${after}`);
      }
      compared += 1;
    }
    t.diagnostic(`${compared} cases compared`);
    assert.ok(compared > 50);
  });
});

describe("the examples of the grammar", () => {
  /** Monday 2026-11-16 00:00 UTC. */
  const monday = 1_794_787_200;
  const times = (text: string, count: number, after = monday - 1, zone = "UTC") => {
    const schedule = parseSchedule(text);
    const found: string[] = [];
    for (let last = after; found.length < count; ) {
      const next = nextRun(schedule, last, zone);
      if (next === undefined) break;
      found.push(new Date(next * 1000).toISOString().slice(8, 16));
      last = next;
    }
    return found;
  };
  const examples: [string, string[]][] = [
    ["mon..fri", ["16T00:00", "17T00:00", "18T00:00", "19T00:00", "20T00:00", "23T00:00"]],
    ["mon,wed,fri", ["16T00:00", "18T00:00", "20T00:00", "23T00:00"]],
    ["12:05", ["16T12:05", "17T12:05"]],
    ["*/5", ["16T00:00", "16T00:05", "16T00:10"]],
    ["0/5", ["16T00:00", "16T00:05", "16T00:10"]],
    ["/5", ["16T00:00", "16T00:05", "16T00:10"]],
    ["*", ["16T00:00", "16T00:01"]],
    ["*/1", ["16T00:00", "16T00:01"]],
    ["mon..wed 30/10", ["16T00:30", "16T00:40", "16T00:50", "16T01:30"]],
    ["8:00/15", ["16T08:00", "16T08:15", "16T08:30", "16T08:45", "17T08:00"]],
    ["fri 12..13:5/20", ["20T12:05", "20T12:25", "20T12:45", "20T13:05", "20T13:25", "20T13:45", "27T12:05"]],
    ["fri 12,13:5/20", ["20T12:05", "20T12:25", "20T12:45", "20T13:05", "20T13:25", "20T13:45", "27T12:05"]],
    ["mon..fri 22", ["16T00:22", "16T01:22"]],
    ["mon..fri 22:0", ["16T22:00", "17T22:00"]],
    ["12..22:5/2", ["16T12:05", "16T12:07", "16T12:09"]],
    ["12/2:5", ["16T12:05", "16T14:05", "16T16:05", "16T18:05", "16T20:05", "16T22:05", "17T12:05"]],
    ["mon..fri 8..17,22:0/15", ["16T08:00", "16T08:15"]],
    ["*/00", ["16T00:00", "16T01:00"]],
    ["*/60", ["16T00:00", "16T01:00"]],
    ["minutely", ["16T00:00", "16T00:01"]],
    ["hourly", ["16T00:00", "16T01:00"]],
    ["daily", ["16T00:00", "17T00:00"]],
    ["weekly", ["16T00:00", "23T00:00"]],
    ["monthly UTC", ["01T00:00", "01T00:00"]],
    ["fri..mon", ["16T00:00", "20T00:00", "21T00:00", "22T00:00", "23T00:00"]],
    ["wednesday 1", ["18T00:01", "18T01:01"]],
    ["*-*-1..7 6:30", ["01T06:30", "02T06:30"]],
  ];
  for (const [text, expected] of examples) test(text, () => assert.deepEqual(times(text, expected.length), expected));

  test("*/00 is accepted as hourly with a warning, */5 has none", () => {
    assert.match(parseSchedule("*/00").warnings.join(), /repeats nothing.*write "0"/);
    assert.deepEqual(parseSchedule("*/5").warnings, []);
  });
});

describe("a refused schedule says what is wrong, where, and what to write instead", () => {
  const refused: [string, RegExp][] = [
    ["", /it is empty; write for example "\*\/15"/],
    ["   ", /it is empty/],
    ["mon 0 0", /at position 7: "0" is left over; .*"8:30"/],
    ["*/61", /at position 3: repetition 61 is out of range; write 1 to 60/],
    ["*/120", /write 1 to 60 or "\*\/2:00" for every 2 hours/],
    ["*/25:0", /repetition 25 is out of range; write 1 to 24/],
    ["0..80", /at position 4: minute 80 is out of range; write a minute from 0 to 59/],
    ["800", /minute 800 is out of range; .* hours are written "8:00"/],
    ["24:00", /at position 1: hour 24 is out of range/],
    ["mon 8:60", /at position 7: minute 60 is out of range/],
    ["22..6:0", /the range 22\.\.6 runs backwards; write "22\.\.23,0\.\.6"/],
    ["mo 8:00", /at position 1: "mo" is no day; write one of sun mon/],
    ["mon..", /at position 6: a day is missing here/],
    ["mon,,tue", /at position 5: a day is missing/],
    ["mon..wed..fri", /is no range of days/],
    ["Europe/Vienna", /looks like a time zone; set it as the job's timeZone/],
    ["10pm", /24-hour times/],
    ["8:", /at position 3: a minute is missing here/],
    ["8:00:00:00", /too many parts/],
    ["5/5/5", /repeats twice/],
    ["*/x", /"x" is no repetition/],
    ["1.5", /"1.5" is no minute/],
    ["13-01", /month 13 is out of range/],
    ["1-2-3-4", /is no date/],
    ["20-01-01", /year 20 is out of range/],
    ["02-~", /last day of a month/],
    ["daily 8:00", /"daily" stands alone; it means "00:00"/],
    [`${"0,".repeat(150)}0`, /at most 200/],
  ];
  for (const [text, message] of refused)
    test(JSON.stringify(text.slice(0, 20)), () =>
      assert.throws(
        () => parseSchedule(text),
        (error) => {
          assert.ok(error instanceof QuorateError);
          assert.equal(error.class, "user");
          assert.match(error.message, message);
          return true;
        },
      ),
    );

  test("an unknown time zone", () =>
    assert.throws(() => nextRun(parseSchedule("*"), 0, "Mars/Olympus"), { reason: "InvalidTimeZone" }));
});

describe("when clocks change", () => {
  const at = (iso: string) => Date.parse(iso) / 1000;
  const next = (text: string, zone: string, after: string) => {
    const found = nextRun(parseSchedule(text), at(after), zone);
    return found === undefined ? undefined : new Date(found * 1000).toISOString().replace(":00.000", "");
  };
  // Vienna: 2026-03-29 02:00 -> 03:00 (01:00 UTC), 2026-10-25 03:00 -> 02:00 (01:00 UTC).
  test("a time left out fires at the change, and not again", () => {
    assert.equal(next("2:30", "Europe/Vienna", "2026-03-28T02:00:00Z"), "2026-03-29T01:00Z");
    assert.equal(next("2:30", "Europe/Vienna", "2026-03-29T01:00:00Z"), "2026-03-30T00:30Z");
    assert.equal(next("sun 2:0/15", "Europe/Vienna", "2026-03-28T02:00:00Z"), "2026-03-29T01:00Z");
    assert.equal(next("sun 2:0/15", "Europe/Vienna", "2026-03-29T01:00:00Z"), "2026-04-05T00:00Z");
  });
  test("a time that comes twice fires the first time only", () => {
    assert.equal(next("2:30", "Europe/Vienna", "2026-10-24T12:00:00Z"), "2026-10-25T00:30Z");
    assert.equal(next("2:30", "Europe/Vienna", "2026-10-25T00:30:00Z"), "2026-10-26T01:30Z");
    assert.equal(next("2:30", "Europe/Vienna", "2026-10-25T01:10:00Z"), "2026-10-26T01:30Z");
  });
  test("a schedule of every hour keeps its distance through both changes", () => {
    assert.equal(next("*:30", "Europe/Vienna", "2026-03-29T00:30:00Z"), "2026-03-29T01:30Z");
    assert.equal(next("*:30", "Europe/Vienna", "2026-10-25T00:30:00Z"), "2026-10-25T01:30Z");
    assert.equal(next("*/15", "Europe/Vienna", "2026-10-25T00:45:00Z"), "2026-10-25T01:00Z");
  });
  test("a midnight that does not exist, and a whole day that does not", () => {
    assert.equal(next("daily", "America/Sao_Paulo", "2018-11-03T12:00:00Z"), "2018-11-04T03:00Z");
    assert.equal(next("12:00", "Pacific/Apia", "2011-12-29T23:00:00Z"), "2011-12-30T10:00Z");
    assert.equal(next("12:00", "Pacific/Apia", "2011-12-30T10:00:00Z"), "2011-12-30T22:00Z");
  });
  test("a schedule that ends in UTC knows no changes", () => {
    assert.equal(next("2:30 UTC", "Europe/Vienna", "2026-03-28T03:00:00Z"), "2026-03-29T02:30Z");
  });
});

describe("properties", () => {
  const field = (min: number, max: number) => {
    const value = fc.integer({ min, max });
    const ranged = fc.tuple(value, value).map(([a, b]) => `${Math.min(a, b)}..${Math.max(a, b)}`);
    const base = fc.oneof(fc.constant("*"), value.map(String), ranged);
    const item = fc
      .tuple(base, fc.option(fc.integer({ min: 1, max: max - min })))
      .map(([b, n]) => (n === null ? b : `${b}/${n}`));
    return fc.array(item, { minLength: 1, maxLength: 3 }).map((items) => items.join(","));
  };
  const days = fc
    .subarray(["sun", "mon", "tue", "wed", "thu", "fri", "sat"], { minLength: 1 })
    .map((names) => names.join(","));
  const text = fc
    .tuple(
      fc.option(days),
      fc.option(fc.tuple(field(1, 12), field(1, 28)).map((parts) => parts.join("-"))),
      fc.oneof(
        field(0, 59),
        fc.tuple(field(0, 23), field(0, 59)).map((parts) => parts.join(":")),
      ),
    )
    .map((parts) => parts.filter((part) => part !== null).join(" "));
  const anyTime = fc.integer({ min: 0, max: 4_102_444_800 });

  test("the next run is later, its wall-clock time is one of the schedule, and nothing lies between", () => {
    fc.assert(
      fc.property(text, anyTime, fc.constantFrom(...ZONES), fc.nat(), (source, after, zone, between) => {
        const schedule = parseSchedule(source);
        const found = nextRun(schedule, after, zone);
        if (found === undefined) return assert.fail(`${source} has a day in each year, yet never fires`);
        assert.ok(found > after);
        assert.ok(
          named(schedule, found, zone) || clockSetForward(found, zone),
          `${source} in ${zone} does not name ${found}`,
        );
        assert.equal(nextRun(schedule, after + (between % (found - after)), zone), found);
      }),
      { numRuns: 400 },
    );
  });

  test("near a clock change it is what walking minute by minute finds", () => {
    const changes: [string, number][] = [
      ["Europe/Vienna", Date.parse("2026-03-29T01:00:00Z")],
      ["Europe/Vienna", Date.parse("2026-10-25T01:00:00Z")],
      ["America/New_York", Date.parse("2026-11-01T06:00:00Z")],
      ["Australia/Lord_Howe", Date.parse("2026-04-04T15:00:00Z")],
      ["America/Sao_Paulo", Date.parse("2018-11-04T03:00:00Z")],
    ];
    const hours = fc.tuple(field(0, 4), field(0, 59)).map((parts) => parts.join(":"));
    fc.assert(
      fc.property(
        fc.oneof(hours, field(0, 59)),
        fc.constantFrom(...changes),
        fc.integer({ min: -90, max: 90 }),
        (source, [zone, change], minutes) => {
          const schedule = parseSchedule(source);
          const after = change / 1000 + minutes * 60;
          assert.equal(
            nextRun(schedule, after, zone),
            walk(schedule, after, zone),
            `${source} in ${zone} after ${after}`,
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  test("no text breaks the parser: it is read or refused", () => {
    const noise = fc.oneof(fc.string({ maxLength: 30 }), fc.stringMatching(/^[a-z0-9*.,:/ -]{0,20}$/));
    fc.assert(
      fc.property(noise, (source) => {
        try {
          nextRun(parseSchedule(source), 1_700_000_000, "Europe/Vienna");
        } catch (error) {
          assert.ok(error instanceof QuorateError && error.reason === "InvalidSchedule", String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a job's schedule", () => {
  const now = Date.parse("2026-11-21T00:00:00Z") / 1000;
  const problem = (text: string) => jobScheduleProblem(parseSchedule(text), now, "Europe/Vienna");
  test("that fires between once a minute and once a week is fine", () => {
    for (const text of ["*", "*/15", "daily", "weekly", "sun 2:30", "*-*-1/5 3:00"])
      assert.equal(problem(text), undefined, text);
  });
  test("that never fires, fires too often or too rarely is refused", () => {
    assert.match(problem("02-30") ?? "", /never fires; write a date/);
    assert.match(problem("2020-*-* 8:00") ?? "", /never fires/);
    assert.match(problem("*:*:0/10") ?? "", /more often than once a minute/);
    assert.match(problem("monthly") ?? "", /more than a week between two runs/);
    assert.match(problem("2026-*-*") ?? "", /more than a week/);
    assert.match(problem("*-*-1,8,15 0:00") ?? "", /more than a week/);
  });
});

interface WallClock {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

const wallFormats = new Map<string, Intl.DateTimeFormat>();
const wallClocks = new Map<string, WallClock>();

/** The clock on the wall, by another way than the code under test. */
function wallClock(second: number, zone: string): WallClock {
  const key = `${zone} ${second}`;
  const known = wallClocks.get(key);
  if (known) return known;
  const format =
    wallFormats.get(zone) ??
    new Intl.DateTimeFormat("en-GB", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
  wallFormats.set(zone, format);
  const parts = new Map(format.formatToParts(second * 1000).map((part) => [part.type, Number(part.value)]));
  const read = (type: Intl.DateTimeFormatPartTypes) => parts.get(type) ?? Number.NaN;
  const wall = {
    year: read("year"),
    month: read("month"),
    day: read("day"),
    hour: read("hour"),
    minute: read("minute"),
    second: read("second"),
  };
  wallClocks.set(key, wall);
  return wall;
}

function named(schedule: Schedule, second: number, zone: string): boolean {
  const wall = wallClock(second, zone);
  return (
    (schedule.years?.includes(wall.year) ?? true) &&
    schedule.months.includes(wall.month) &&
    schedule.days.includes(wall.day) &&
    schedule.weekdays.includes(new Date(Date.UTC(wall.year, wall.month - 1, wall.day)).getUTCDay()) &&
    schedule.hours.includes(wall.hour) &&
    schedule.minutes.includes(wall.minute) &&
    schedule.seconds.includes(wall.second)
  );
}

const asSeconds = (wall: WallClock) =>
  Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour, wall.minute, wall.second) / 1000;

function clockSetForward(second: number, zone: string): boolean {
  return asSeconds(wallClock(second, zone)) - asSeconds(wallClock(second - 1, zone)) > 1;
}

/** The definition, minute by minute from a day before: which wall-clock times were shown, which were left out. */
function walk(schedule: Schedule, after: number, zone: string): number | undefined {
  const everyHour = schedule.hours.length === 24;
  const shown = new Set<number>();
  let previous: number | undefined;
  for (let t = after - (after % 60) - 86_400; t < after + 2 * 86_400; t += 60) {
    const wall = asSeconds(wallClock(t, zone));
    let fires = named(schedule, t, zone) && (everyHour || !shown.has(wall));
    if (!everyHour && previous !== undefined)
      for (let left = previous + 60; left < wall; left += 60) fires ||= named(schedule, left, "UTC");
    shown.add(wall);
    previous = wall;
    if (fires && t > after) return t;
  }
  return undefined;
}
