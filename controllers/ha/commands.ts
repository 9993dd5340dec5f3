/** Requests of operators: checked when they arrive, queued at the service, obeyed by its state. */
import { placesOf } from "./placement.ts";
import type { Round } from "./round.ts";
import type { ServiceRequest } from "./types.ts";

export function takeRequests(round: Round, requests: readonly ServiceRequest[]): void {
  for (const request of requests) {
    const { service } = request;
    if (!round.services.has(service)) {
      round.event("command.ignored", "service", service, { op: request.op, reason: "not-under-ha" });
    } else if (request.op === "stop") {
      round.event("command.accepted", "service", service, { op: "stop", timeout: request.timeout });
      round.amend(service, { queued: request });
    } else {
      takeMove(round, request);
    }
  }
}

/** A move is refused where a service it must be apart from is or arrives; it takes the whole keep-together set along. */
export function takeMove(round: Round, request: Extract<ServiceRequest, { op: "move" }>): void {
  const { service, target, mode } = request;
  const shown = { op: "move", mode, target };
  if (!round.isOnline(target)) {
    round.event("command.rejected", "service", service, { ...shown, reason: "target-not-online" });
    return;
  }
  const set = [service, ...(round.rules.together.get(service) ?? [])];
  const moved = new Set(set);
  const blocker = set
    .flatMap((id) => round.rules.apart.get(id) ?? [])
    .find((partner) => !moved.has(partner) && blocks(round, partner, target));
  if (blocker !== undefined) {
    round.event("command.rejected", "service", service, { ...shown, reason: "must-stay-apart", because: blocker });
    return;
  }
  round.event("command.accepted", "service", service, shown);
  round.amend(service, { queued: request });
  for (const partner of round.rules.together.get(service) ?? []) {
    const record = round.services.get(partner);
    if (!record || (record.node === target && record.target === undefined)) continue;
    round.event("command.extended", "service", partner, { ...shown, because: service });
    round.amend(partner, { queued: { ...request, service: partner } });
  }
}

/** By default a partner that is on its way to the target counts too; the reference looks only at where it is. */
function blocks(round: Round, partner: string, target: string): boolean {
  if (round.reference) return placesOf(round, partner)[0] === target;
  const queued = round.services.get(partner)?.queued;
  return placesOf(round, partner).includes(target) || (queued?.op === "move" && queued.target === target);
}
