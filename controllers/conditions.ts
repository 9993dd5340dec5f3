/** Conditions and status as one of several writers: its own part, and only when it changed. Pure. */
import { isDeepStrictEqual } from "node:util";
import type { Condition } from "../crds/index.ts";

/** A condition as it is found, without what the object around it adds. */
export interface Finding {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  /** CamelCase. */
  readonly reason: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

const MESSAGE_LIMIT = 4096;

/** @param now for the conditions whose status changed, RFC 3339 */
export function conditionsOf(
  findings: readonly Finding[],
  existing: readonly Condition[] | undefined,
  generation: number | undefined,
  now: string,
): Condition[] {
  return findings.map(({ type, status, reason, message }) => {
    const before = existing?.find((one) => one.type === type);
    return {
      type,
      status,
      reason,
      message: message.slice(0, MESSAGE_LIMIT),
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
  });
}

/**
 * Whether the part of a status that one writer owns differs from what it wants there. What it does not want any more
 * counts as a difference: server-side apply removes it.
 * @param keys the fields that it owns as a whole, without `conditions`
 * @param types the conditions that it owns
 */
export function ownStatusDiffers<S extends { conditions?: Condition[] }>(
  existing: S | undefined,
  wanted: S,
  keys: readonly (keyof S)[],
  types: readonly string[],
): boolean {
  if (keys.some((key) => !isDeepStrictEqual(existing?.[key], wanted[key]))) return true;
  return types.some((type) => {
    const find = ({ conditions }: S) => conditions?.find((one) => one.type === type);
    return !isDeepStrictEqual(existing && find(existing), find(wanted));
  });
}
