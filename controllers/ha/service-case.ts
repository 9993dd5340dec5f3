/** One service as its state's handler sees it, and what several handlers do. */
import type { Round } from "./round.ts";
import type { ServiceRecord, ServiceResult, ServiceView } from "./types.ts";

export interface Case {
  readonly round: Round;
  readonly id: string;
  readonly record: ServiceRecord;
  readonly view: ServiceView;
}

/** Something failed that a person must look at. */
export function fail(service: Case, what: string, data: Readonly<Record<string, unknown>>): void {
  service.round.event("service.failed", "service", service.id, { what, ...data });
  service.round.setState(service.id, "Error");
}

/** @returns true when the node is lost: the service is in `Fence` now, or left where it is because nothing proves that it does not run. */
export function fenceIfLost({ round, id, record }: Case): boolean {
  if (!round.isLost(record.node)) return false;
  if (!round.isGuarded(id)) {
    if (round.newRound) round.event("service.unguarded", "service", id, { node: record.node });
    return true; // left where it is: nothing proves that it does not run there
  }
  // A live move may have ended without anybody hearing of it.
  const arriving = !round.reference && record.state === "Migrate" && record.target !== undefined;
  round.setState(id, "Fence", arriving ? { target: record.target } : {});
  return true;
}

/** The outcome for the current command, once. */
export function takeResult({ round, id, record, view }: Case): ServiceResult["outcome"] | undefined {
  const { result } = view;
  if (!result || result.uid !== record.command.uid) return undefined;
  const mark = `${result.uid}/${result.outcome}`;
  if (record.processed === mark) return undefined;
  const final = result.outcome === "Ok" || result.outcome === "Failed";
  if (result.outcome !== "TryAgain" && result.outcome !== "Locked") {
    round.amend(id, { processed: mark, ...(final ? { guarded: true } : {}) });
  }
  return result.outcome;
}
