import type {
  ClusterNode,
  ClusterNodeStatus,
  Failover,
  FenceRecord,
  Guest,
  HAResource,
  HAResourceStatus,
} from "../../crds/index.ts";
import { conditionsOf } from "../conditions.ts";
import type { Milliseconds, NodeRecord, NodeState, ServiceRecord, ServiceState } from "../ha/index.ts";

const SERVICE_STATES: ReadonlySet<string> = new Set<ServiceState>([
  "RequestStart",
  "RequestStartBalance",
  "Started",
  "RequestStop",
  "Stopped",
  "Fence",
  "Recovery",
  "Freeze",
  "Migrate",
  "Relocate",
  "Error",
]);

/**
 * What HAResource.status says of a service, for a CRM that begins; undefined when nothing was decided of it yet, or when it was
 * ignored: then it is adopted anew, unguarded. Times of others are not used: `since` begins again now.
 */
export function serviceRecordOf(
  resource: HAResource,
  guest: Guest | undefined,
  now: Milliseconds,
): ServiceRecord | undefined {
  const status = resource.status;
  if (status?.state === undefined || status.node === undefined || status.command === undefined) return undefined;
  if (!SERVICE_STATES.has(status.state)) return undefined;
  const action = status.command.action;
  return {
    state: status.state as ServiceState,
    node: status.node,
    ...(status.target === undefined ? {} : { target: status.target }),
    since: now,
    command: {
      uid: status.command.uid,
      action: action === "Freeze" || action === "Error" ? "None" : action,
      ...(status.command.target === undefined ? {} : { target: status.command.target }),
      ...(status.command.timeoutSeconds === undefined ? {} : { stopTimeoutSeconds: status.command.timeoutSeconds }),
    },
    triedNodes: status.attempts?.triedNodes ?? [],
    relocations: status.attempts?.relocations ?? 0,
    ...(status.home === undefined ? {} : { home: status.home }),
    ...(status.guarded === undefined ? {} : { guarded: status.guarded }),
    ...(resource.metadata.uid === undefined ? {} : { uid: resource.metadata.uid }),
    ...(guest?.metadata.uid === undefined ? {} : { guestUid: guest.metadata.uid }),
    ...(isTakenIn(status) ? { processed: `${status.command.uid}/Ok` } : {}),
  };
}

/** Everything that an answer changes is on record already: without this, each leader would write all services once for nothing. */
function isTakenIn({ state, command, result, guarded, attempts, lastFailover, message }: HAResourceStatus): boolean {
  return (
    state === "Started" &&
    result?.uid === command?.uid &&
    result?.outcome === "Ok" &&
    guarded === true &&
    (attempts?.triedNodes ?? []).length === 0 &&
    (attempts?.relocations ?? 0) === 0 &&
    message === undefined &&
    (lastFailover === undefined || lastFailover.startedAt !== undefined)
  );
}

/** What ClusterNode.status says of a node, for a CRM that begins; undefined for a node that was never seen. */
export function nodeStateOf(node: ClusterNode): NodeState | undefined {
  return node.status?.state;
}

/**
 * The part of ClusterNode.status that the CRM owns, whole. `fence` is left out while there is nothing in it: where an earlier apply
 * had something in it, the API server makes null of an empty map, and refuses the write for that.
 * @param fence the fence of this leadership; the one on record goes on without it.
 */
export function nodeStatus(
  node: ClusterNode,
  record: NodeRecord,
  wall: string,
  fence: FenceRecord | undefined,
): ClusterNodeStatus {
  const { state, stateSince } = node.status ?? {};
  const lastFence = fence ?? node.status?.fence?.lastFence;
  return {
    state: record.state,
    stateSince: state === record.state && stateSince !== undefined ? stateSince : wall,
    ...(lastFence === undefined ? {} : { fence: { lastFence } }),
  };
}

/** What the shell knows of a failover beside the record: wall times and data age, for people. */
export interface FailoverNotes {
  readonly reason?: string;
  readonly cutAt?: string;
  readonly fencedAt?: string;
  readonly ageOfDataSeconds?: number;
}

/**
 * The part of HAResource.status that the CRM owns, whole: what is left out is removed by server-side apply.
 * @param owner the node to which its Guest is bound, if there is one
 */
export function serviceStatus(
  resource: HAResource,
  record: ServiceRecord,
  wall: string,
  notes: FailoverNotes | undefined,
  owner: string | undefined,
): HAResourceStatus {
  const before = resource.status;
  const moved = before?.state !== record.state || before.node !== record.node;
  const message = describe(resource, record);
  const failover = lastFailover(before?.lastFailover, record, notes, wall, before);
  const wanted = resource.spec.state;
  const ready =
    record.state === "Started"
      ? wanted === "Started"
      : record.state === "Stopped"
        ? wanted !== "Started"
        : record.state === "Ignored";
  const error = record.state === "Error";
  return {
    observedGeneration: resource.metadata.generation ?? 0,
    state: record.state,
    node: record.node,
    ...(record.target === undefined ? {} : { target: record.target }),
    ...(record.home === undefined ? {} : { home: record.home }),
    ...(record.guarded === undefined ? {} : { guarded: record.guarded }),
    since: moved || before?.since === undefined ? wall : before.since,
    ...(message === "" ? {} : { message }),
    command: {
      uid: record.command.uid,
      action: record.command.action,
      ...(record.command.target === undefined ? {} : { target: record.command.target }),
      ...(record.command.stopTimeoutSeconds === undefined ? {} : { timeoutSeconds: record.command.stopTimeoutSeconds }),
    },
    attempts: { relocations: record.relocations, triedNodes: [...record.triedNodes] },
    ...(failover === undefined ? {} : { lastFailover: failover }),
    conditions: conditionsOf(
      [
        {
          type: "Ready",
          status: ready ? "True" : "False",
          reason: record.state,
          message: message === "" ? `${record.state} on ${record.node}` : message,
        },
        {
          type: "Error",
          status: error ? "True" : "False",
          ...(error ? givenUp(resource, record, owner) : { reason: "NoError", message: "nothing has failed for good" }),
        },
      ],
      before?.conditions,
      resource.metadata.generation,
      wall,
    ),
  };
}

/** What failed, and the one way out, which is the user's. */
function givenUp(
  { metadata, status }: HAResource,
  { triedNodes, node }: ServiceRecord,
  owner: string | undefined,
): { reason: string; message: string } {
  const { name, namespace = "" } = metadata;
  const what =
    triedNodes.length > 0
      ? `"${name}" did not start on ${[...new Set(triedNodes)].join(", ")}`
      : `a command for "${name}" failed on ${node}`;
  const { result } = status ?? {};
  const last =
    result?.outcome === "Ok" || result?.message === undefined ? "" : ` (${result.message.trim().slice(-500)})`;
  const patch = (state: string) =>
    `kubectl patch haresource ${name} -n ${namespace} --type=merge -p '{"spec":{"state":"${state}"}}'`;
  const out = `${patch("Disabled")}; wait for status.state Stopped; ${patch("Started")}`;
  if (owner !== undefined && owner !== node) {
    const back = `kubectl patch guest ${name} -n ${namespace} --type=merge --field-manager=quorate-by-hand -p '{"spec":{"nodeName":"${node}"}}'`;
    return {
      reason: "BoundElsewhere",
      message: `Guest "${name}" is bound to ${owner}, but it belongs to ${node} and may run there, so it is started on neither. Set it back: ${back}. Then, which stops it in between: ${out}. Only if you moved it to ${owner} yourself, and it does not run on ${node}: delete the HAResource and apply it again`,
    };
  }
  return {
    reason: triedNodes.length > 0 ? "StartFailed" : "Failed",
    message: `${what}${last}, and is left alone. Repair the cause. Then: ${out}`,
  };
}

function lastFailover(
  before: Failover | undefined,
  record: ServiceRecord,
  notes: FailoverNotes | undefined,
  wall: string,
  status: HAResourceStatus | undefined,
): Failover | undefined {
  if (record.failover !== undefined && record.state !== "Fence" && record.node !== record.failover.from) {
    const same = before?.from === record.failover.from && before.fencedAt === notes?.fencedAt;
    if (same && before !== undefined) return withStart(before, record, status, wall);
    return { from: record.failover.from, to: record.node, ...(notes ?? {}) };
  }
  return before === undefined ? undefined : withStart(before, record, status, wall);
}

/** The failover is over when the new owner has reported the guest started. */
function withStart(
  failover: Failover,
  record: ServiceRecord,
  status: HAResourceStatus | undefined,
  wall: string,
): Failover {
  if (failover.startedAt !== undefined || failover.to !== record.node || record.state !== "Started") return failover;
  if (status?.result?.outcome !== "Ok" || status.result.uid !== record.command.uid) return failover;
  return { ...failover, startedAt: wall };
}

function describe(resource: HAResource, record: ServiceRecord): string {
  switch (record.state) {
    case "Fence":
      return `node ${record.node} is lost; the guest starts elsewhere once that node is proven off: see status.fence of ClusterNode ${record.node}`;
    case "Recovery":
      return `node ${record.node} is fenced; no other node can take the guest now: kubectl quorate why ${resource.metadata.name} says why not`;
    case "Migrate":
    case "Relocate":
      return `moving from ${record.node} to ${record.target ?? "?"}`;
    case "Error":
      return "given up; the condition Error says what failed and the way out";
    case "Freeze":
      return "left as it is while its node restarts or the cluster is disarmed";
    default:
      return resource.status?.result?.outcome === "Failed" ? (resource.status.result.message ?? "") : "";
  }
}
