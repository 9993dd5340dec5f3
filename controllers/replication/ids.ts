/** Numbers for guests and jobs that have none. Pure; the caller makes sure that what it is given is all there is. */
import type { Guest, ReplicationJob } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { byAge } from "../membership/index.ts";

/** Annotation of the Cluster: every vmid that a guest of it ever had. */
export const USED_VMIDS = "quorate.dev/used-vmids";

/**
 * A vmid for each guest that has none: the lowest that no guest of the cluster ever had. Volumes and copies are named after it, and
 * stay when their guest is deleted. Guests for which none is left are not in the answer.
 * @param range lower belongs to it, upper does not
 * @param used those that were in use at some time, as the answer of the last time says: `100-104,200`
 * @throws QuorateError UsedVmidsUnreadable
 */
export function allocateVmids(
  guests: readonly Guest[],
  range: { lower: number; upper: number },
  used = "",
): { vmids: Map<string, number>; used: string } {
  const vmids = new Map<string, number>();
  let taken = joined([
    ...parseIntervals(used),
    ...guests.flatMap(({ spec: { vmid } }) => (vmid === undefined ? [] : [single(vmid)])),
  ]);
  for (const { metadata, spec } of [...guests].sort(byAge)) {
    if (spec.vmid !== undefined || metadata.deletionTimestamp !== undefined) continue;
    const next = lowestOutside(taken, range.lower);
    if (next >= range.upper) break;
    vmids.set(metadata.name, next);
    taken = joined([...taken, single(next)]);
  }
  return { vmids, used: taken.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(",") };
}

/** A number for each job that has none: the lowest that no other job of its guest has. */
export function allocateNumbers(jobs: readonly ReplicationJob[]): Map<string, number> {
  const taken = new Map<string, Set<number>>();
  const takenOf = (guest: string) => {
    const numbers = taken.get(guest) ?? new Set();
    taken.set(guest, numbers);
    return numbers;
  };
  for (const { spec } of jobs) if (spec.number !== undefined) takenOf(spec.guest).add(spec.number);
  const allocated = new Map<string, number>();
  for (const { metadata, spec } of [...jobs].sort(byAge)) {
    if (spec.number !== undefined || metadata.deletionTimestamp !== undefined) continue;
    const numbers = takenOf(spec.guest);
    let next = 0;
    while (numbers.has(next)) next += 1;
    numbers.add(next);
    allocated.set(metadata.name, next);
  }
  return allocated;
}

/** Whole numbers, both ends among them. */
interface Interval {
  readonly first: number;
  readonly last: number;
}

function single(number: number): Interval {
  return { first: number, last: number };
}

function parseIntervals(text: string): Interval[] {
  if (text === "") return [];
  return text.split(",").map((part) => {
    const [, first, last = first] = /^([0-9]{1,10})(?:-([0-9]{1,10}))?$/.exec(part) ?? [];
    if (first !== undefined && Number(first) <= Number(last)) return { first: Number(first), last: Number(last) };
    throw new QuorateError(
      "user",
      "UsedVmidsUnreadable",
      `${JSON.stringify(part)} is no range of vmids such as 100-104, so no new guest gets one; correct the annotation ${USED_VMIDS} of the Cluster`,
    );
  });
}

/** The same numbers, ascending, with as few intervals as they take. */
function joined(intervals: readonly Interval[]): Interval[] {
  const result: Interval[] = [];
  for (const next of intervals.toSorted((a, b) => a.first - b.first)) {
    const before = result.at(-1);
    if (before === undefined || next.first > before.last + 1) result.push(next);
    else result[result.length - 1] = { first: before.first, last: Math.max(before.last, next.last) };
  }
  return result;
}

function lowestOutside(intervals: readonly Interval[], from: number): number {
  let lowest = from;
  for (const { first, last } of intervals) if (first <= lowest && lowest <= last) lowest = last + 1;
  return lowest;
}
