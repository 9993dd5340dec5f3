import { HA_GROUPS, HA_RULES, MIGRATIONS } from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import { ownStatusDiffers } from "../conditions.ts";
import type { DroppedRule } from "../ha/index.ts";
import { expired } from "./migrations.ts";
import { type ClusterObjects, FIELD_MANAGER } from "./objects.ts";
import { groupStatus, ruleStatus } from "./rule-status.ts";

type Write = () => Promise<unknown>;

/**
 * What is only shown or tidied up: the status of HARules and HAGroups, and the removal of Migrations that ended long ago. Beside the
 * rounds, one write at a time: nothing waits for it. The CRM's own field manager writes nothing else into these objects here, so a late
 * write cannot undo a decision.
 */
export class ShownStatus {
  readonly #client: KubeClient;
  readonly #log: Logger;
  #writing = false;

  constructor({ client, log }: { readonly client: KubeClient; readonly log: Logger }) {
    this.#client = client;
    this.#log = log;
  }

  show(
    objects: ClusterObjects,
    dropped: readonly DroppedRule[],
    wall: string,
    wallMs: number,
    signal: AbortSignal,
  ): void {
    if (this.#writing || signal.aborted) return;
    const writes = [
      ...this.#rules(objects, dropped, wall, signal),
      ...this.#groups(objects, wall, signal),
      ...this.#removals(objects, wallMs, signal),
    ];
    if (writes.length === 0) return;
    this.#writing = true;
    void this.#write(writes, signal).finally(() => {
      this.#writing = false;
    });
  }

  async #write(writes: readonly Write[], signal: AbortSignal): Promise<void> {
    for (const write of writes) {
      if (signal.aborted) return;
      await write().catch((error: unknown) => {
        const { reason, message } = classify(error);
        if (!signal.aborted && reason !== "NotFound") this.#log.warn({ reason }, message);
      });
    }
  }

  #rules(objects: ClusterObjects, dropped: readonly DroppedRule[], wall: string, signal: AbortSignal): Write[] {
    return objects.rules.flatMap((rule) => {
      const status = ruleStatus(rule, objects, dropped, wall);
      if (!ownStatusDiffers(rule.status, status, ["observedGeneration"], ["Ready"])) return [];
      const applied = { metadata: identity(rule.metadata), status };
      return [() => this.#client.applyStatus(HA_RULES, applied, { fieldManager: FIELD_MANAGER, force: true, signal })];
    });
  }

  #groups(objects: ClusterObjects, wall: string, signal: AbortSignal): Write[] {
    return objects.groups.flatMap((group) => {
      const status = groupStatus(group, objects, wall);
      if (!ownStatusDiffers(group.status, status, ["observedGeneration", "resources"], ["Ready"])) return [];
      const applied = { metadata: identity(group.metadata), status };
      return [() => this.#client.applyStatus(HA_GROUPS, applied, { fieldManager: FIELD_MANAGER, force: true, signal })];
    });
  }

  #removals(objects: ClusterObjects, wallMs: number, signal: AbortSignal): Write[] {
    return expired(objects, wallMs).map(
      ({ metadata: { name, namespace = "", uid = "" } }) =>
        () =>
          this.#client.delete(MIGRATIONS, { namespace, name }, { uid, signal }),
    );
  }
}

/** The uid makes an apply to an object that was deleted meanwhile fail instead of making half an object. */
function identity({ name, namespace = "", uid = "" }: { name: string; namespace?: string; uid?: string }) {
  return { name, namespace, uid };
}
