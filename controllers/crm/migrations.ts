import { MIGRATIONS, type Migration, type MigrationStatus } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import { conditionsOf } from "../conditions.ts";
import type { CrmState, HaEvent, ServiceRequest } from "../ha/index.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";
import { camelCase } from "./reason.ts";

/** A Migration that has not ended, in the order in which they were made. */
function open(objects: ClusterObjects): Migration[] {
  return objects.migrations
    .filter((migration) => migration.status?.state !== "Succeeded" && migration.status?.state !== "Failed")
    .sort(
      (a, b) =>
        (a.metadata.creationTimestamp ?? "").localeCompare(b.metadata.creationTimestamp ?? "") ||
        a.metadata.name.localeCompare(b.metadata.name),
    );
}

/**
 * The moves that people asked for, on their way into the step and out of it. Each is given to the step once; what became of
 * it is told by the step's verdict and by where the service ends.
 */
export class MigrationRequests {
  readonly #given = new Set<string>();

  /** Requests that were not given to the step yet. */
  next(objects: ClusterObjects): ServiceRequest[] {
    return open(objects)
      .filter((migration) => migration.status?.state === undefined || migration.status.state === "Pending")
      .filter((migration) => !this.#given.has(uid(migration)) && migration.spec.force === undefined)
      .map((migration) => {
        this.#given.add(uid(migration));
        return {
          op: "move",
          service: migration.spec.guest,
          target: migration.spec.target,
          mode: migration.spec.mode === "Relocate" ? "restart" : "live",
        };
      });
  }

  /** Writes what became of each: refused at once, running, arrived, or given up. */
  async settle(
    client: KubeClient,
    objects: ClusterObjects,
    state: CrmState,
    events: readonly HaEvent[],
    wall: string,
    signal: AbortSignal,
  ): Promise<void> {
    for (const migration of open(objects)) {
      const forced = migration.spec.force !== undefined;
      if (!forced && !this.#given.has(uid(migration)) && migration.status?.state !== "Running") continue;
      const status = forced ? FORCE_REFUSED : verdict(migration, state, events);
      if (status === undefined || status.state === migration.status?.state) continue;
      const ended = status.state === "Succeeded" || status.state === "Failed";
      const startedAt = migration.status?.startedAt ?? (status.state === "Running" ? wall : undefined);
      const message = status.message ?? `${migration.spec.guest} moves to ${migration.spec.target}`;
      await client.applyStatus(
        MIGRATIONS,
        {
          metadata: {
            name: migration.metadata.name,
            ...(migration.metadata.namespace === undefined ? {} : { namespace: migration.metadata.namespace }),
            uid: uid(migration),
          },
          status: {
            observedGeneration: migration.metadata.generation ?? 0,
            ...status,
            ...(startedAt === undefined ? {} : { startedAt }),
            ...(ended ? { finishedAt: wall } : {}),
            conditions: conditionsOf(
              [
                {
                  type: "Ready",
                  status: status.state === "Succeeded" ? "True" : "False",
                  reason: status.reason ?? status.state ?? "Running",
                  message,
                },
                {
                  type: "Failed",
                  status: status.state === "Failed" ? "True" : "False",
                  reason: status.state === "Failed" ? (status.reason ?? "Failed") : "NotFailed",
                  message: status.state === "Failed" ? message : "nothing has failed",
                },
              ],
              migration.status?.conditions,
              migration.metadata.generation,
              wall,
            ),
          },
        },
        { fieldManager: FIELD_MANAGER, force: true, signal },
      );
    }
  }
}

/** To take a guest from a node needs a proof that it is off; a consent to the age of the data is none. */
const FORCE_REFUSED: MigrationStatus = {
  state: "Failed",
  reason: "ForceNotAvailable",
  message:
    "spec.force is not available in this version, and nothing was done. A guest under HA is recovered by itself once its node is proven off: " +
    "kubectl quorate why GUEST says what is missing. Another guest stays with its node until that is back",
};

/** Those that ended so long ago that they are to go. */
export function expired(objects: ClusterObjects, wallMs: number): Migration[] {
  return objects.migrations.filter(({ metadata, spec, status }) => {
    if (status?.finishedAt === undefined || metadata.deletionTimestamp !== undefined) return false;
    return wallMs - Date.parse(status.finishedAt) >= spec.ttlSecondsAfterFinished * 1000;
  });
}

function verdict(migration: Migration, state: CrmState, events: readonly HaEvent[]): MigrationStatus | undefined {
  const { guest, target } = migration.spec;
  const refused = events.find(
    (event) => event.subject === guest && (event.kind === "command.rejected" || event.kind === "command.ignored"),
  );
  const source = migration.status?.source ?? state.services[guest]?.node;
  const from = source === undefined ? {} : { source };
  const record = state.services[guest];
  if (record === undefined)
    return {
      ...from,
      state: "Failed",
      reason: "NotUnderHA",
      message: `no HAResource "${guest}" decides where this guest is; apply one first`,
    };
  if (refused !== undefined && migration.status?.state !== "Running" && record.node !== target) {
    const why = String(refused.data.reason ?? "refused");
    return { ...from, state: "Failed", reason: camelCase(why), message: refusal(migration, why, refused.data.because) };
  }
  if (record.state === "Migrate" || record.state === "Relocate")
    return { ...from, state: "Running", mode: record.state === "Migrate" ? "Live" : "Relocate" };
  if (record.queued !== undefined) return { ...from, state: "Pending" };
  if (record.node === target)
    return { ...from, state: "Succeeded", reason: "Arrived", message: `${guest} is on ${target}` };
  if (migration.status?.state === "Running")
    return {
      ...from,
      state: "Failed",
      reason: "MoveFailed",
      message: `${guest} stayed on ${record.node}; see the events and status.result of HAResource "${guest}"`,
    };
  return {
    ...from,
    state: "Failed",
    reason: "NotMoved",
    message: `${guest} is in state ${record.state} on ${record.node} and was not moved; try again when it is Started or Stopped`,
  };
}

function refusal({ spec: { guest, target } }: Migration, why: string, because: unknown): string {
  switch (why) {
    case "target-not-online":
      return `"${target}" takes no guests now: it is not online, in maintenance, or its agent is away; see kubectl describe clusternode ${target}, then migrate again`;
    case "must-stay-apart":
      return `"${guest}" must stay apart from "${because}", which is on "${target}" or on its way there: move that first, or disable the HARule; kubectl quorate why ${guest} names it`;
    default:
      return `the move of "${guest}" to "${target}" was refused: ${why}`;
  }
}

function uid(migration: Migration): string {
  return migration.metadata.uid ?? migration.metadata.name;
}
