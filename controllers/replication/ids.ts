/** Numbers for guests and jobs that have none. Pure; the caller makes sure that what it is given is all there is. */
import type { Guest, ReplicationJob } from "../../crds/index.ts";
import { byAge } from "../membership/index.ts";

/**
 * A vmid for each guest that has none: the lowest that is free. Guests for which none is left are not in the answer.
 * @param range lower belongs to it, upper does not
 */
export function allocateVmids(guests: readonly Guest[], range: { lower: number; upper: number }): Map<string, number> {
  const taken = new Set(guests.map(({ spec }) => spec.vmid));
  const allocated = new Map<string, number>();
  let next = range.lower;
  for (const { metadata, spec } of [...guests].sort(byAge)) {
    if (spec.vmid !== undefined || metadata.deletionTimestamp !== undefined) continue;
    while (taken.has(next)) next += 1;
    if (next >= range.upper) break;
    allocated.set(metadata.name, next);
    next += 1;
  }
  return allocated;
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
