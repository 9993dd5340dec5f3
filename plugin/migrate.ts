import { randomBytes } from "node:crypto";
import type { Clock } from "../clock.ts";
import { CLUSTER_NODES, GUESTS, MIGRATIONS, type Migration } from "../crds/index.ts";
import { QuorateError } from "../errors.ts";
import type { KubeApi } from "../kube/index.ts";
import { duration } from "./age.ts";
import { notFound } from "./failures.ts";
import type { Printer } from "./printer.ts";
import { progressText } from "./show-replication.ts";

export interface MigrateRequest {
  readonly namespace: string;
  readonly guest: string;
  readonly target: string;
  /** Stop, move, start, also where the guest could move live. */
  readonly relocate: boolean;
}

type Api = Pick<KubeApi, "get" | "create">;

/**
 * Creates a Migration; undefined when the guest is on the target already.
 * @throws QuorateError GuestNotFound, ClusterNodeNotFound
 */
export async function createMigration(client: Api, request: MigrateRequest): Promise<Migration | undefined> {
  const { namespace, guest, target, relocate } = request;
  const [found, node] = await Promise.all([
    client.get(GUESTS, { namespace, name: guest }),
    client.get(CLUSTER_NODES, { namespace, name: target }),
  ]);
  if (found === undefined) throw notFound("Guest", "guests", guest, namespace);
  if (node === undefined) throw notFound("ClusterNode", "clusternodes", target, namespace);
  if (found.spec.nodeName === target) return undefined;
  const name = `${guest}-${randomBytes(4).toString("hex")}`;
  // The API server fills in the rest.
  const spec = { guest, target, ...(relocate ? { mode: "Relocate" } : {}) } as Migration["spec"];
  return client.create(MIGRATIONS, { metadata: { name, namespace }, spec }, { fieldManager: "kubectl-quorate" });
}

const LOOK_EVERY_MS = 1_000;

/**
 * Follows a migration until it ended, printing what changes.
 * @throws QuorateError MigrationFailed with its reason; MigrationDeleted when somebody removed it
 */
export async function watchMigration(
  client: Pick<KubeApi, "get">,
  migration: Migration,
  printer: Printer,
  clock: Clock,
): Promise<void> {
  const { name, namespace = "" } = migration.metadata;
  const beganMs = clock.elapsedMs();
  let told = "";
  for (;;) {
    const now = await client.get(MIGRATIONS, { namespace, name });
    if (now === undefined) {
      throw new QuorateError("user", "MigrationDeleted", `Migration "${name}" was deleted before it ended`);
    }
    const { state, reason, message } = now.status ?? {};
    const took = duration(clock.elapsedMs() - beganMs);
    if (state === "Succeeded") {
      printer.line(`${now.spec.guest} is on ${now.spec.target} after ${took}${standstill(now)}`);
      return;
    }
    if (state === "Failed") {
      const why = [reason, message].filter((text) => text !== undefined).join(": ");
      throw new QuorateError(
        "user",
        "MigrationFailed",
        `Migration "${name}" failed after ${took}: ${why === "" ? "no reason was given" : why}`,
      );
    }
    const text = stateText(now);
    if (now.status?.progress !== undefined) printer.progress(text);
    else if (text !== told) printer.line(text);
    told = text;
    await clock.sleep(LOOK_EVERY_MS);
  }
}

/** One line about a migration that has not ended. */
export function stateText({ metadata, status }: Migration): string {
  const { state = "Pending", message, progress } = status ?? {};
  const detail = progress === undefined ? message : progressText(progress);
  return `${metadata.name}: ${state}${detail === undefined ? "" : `: ${detail}`}`;
}

function standstill({ status }: Migration): string {
  const still = status?.downtimeMilliseconds;
  return still === undefined ? "" : `; it stood still for ${still < 1000 ? `${still} ms` : duration(still)}`;
}
