import { MIGRATIONS, type Migration, type MigrationStatus } from "../../crds/index.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { CrmState, HaEvent, ServiceRequest } from "../ha/index.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";
import { condition } from "./records.ts";

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
      .filter((migration) => !this.#given.has(uid(migration)))
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
      if (!this.#given.has(uid(migration)) && migration.status?.state !== "Running") continue;
      const status = verdict(migration, state, events);
      if (status === undefined || status.state === migration.status?.state) continue;
      const ended = status.state === "Succeeded" || status.state === "Failed";
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
            ...status,
            startedAt: migration.status?.startedAt ?? wall,
            ...(ended ? { finishedAt: wall } : {}),
            conditions: [
              condition(
                migration,
                "Ready",
                status.state === "Succeeded",
                status.reason ?? status.state ?? "Running",
                message,
                wall,
              ),
            ],
          },
        },
        { fieldManager: FIELD_MANAGER, force: true, signal },
      );
    }
  }
}

function verdict(migration: Migration, state: CrmState, events: readonly HaEvent[]): MigrationStatus | undefined {
  const { guest, target } = migration.spec;
  const refused = events.find(
    (event) => event.subject === guest && (event.kind === "command.rejected" || event.kind === "command.ignored"),
  );
  const source = migration.status?.source ?? state.services[guest]?.node;
  const from = source === undefined ? {} : { source };
  if (refused !== undefined && migration.status?.state !== "Running")
    return { ...from, state: "Failed", reason: "Refused", message: refused.message };
  const record = state.services[guest];
  if (record === undefined)
    return {
      ...from,
      state: "Failed",
      reason: "NotUnderHA",
      message: `no HAResource "${guest}" decides where this guest is; apply one first`,
    };
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

function uid(migration: Migration): string {
  return migration.metadata.uid ?? migration.metadata.name;
}
