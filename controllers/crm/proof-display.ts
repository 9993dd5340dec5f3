import type { Clock } from "../../clock.ts";
import { CLUSTER_NODES, type ClusterNode } from "../../crds/index.ts";
import { classify } from "../../errors.ts";
import type { KubeClient } from "../../kube/index.ts";
import type { Logger } from "../../log.ts";
import type { CrmState, CrmView, NodeState } from "../ha/index.ts";
import { PROOF_FIELD_MANAGER } from "./objects.ts";

export interface ProofDisplayOptions {
  readonly client: Pick<KubeClient, "applyStatus">;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The reasons count milliseconds and change at every look; a person reads no faster than this. */
const SHOWN_EVERY_MS = 2_000;
const REASONS_LIMIT = 16;
const REASON_LIMIT = 512;
const WAITS_FOR_PROOF: ReadonlySet<NodeState> = new Set<NodeState>(["Unknown", "Fence", "Maintenance"]);

/**
 * Shows why a node that is gone is not proven off yet, or what proved it, in ClusterNode.status.fence.proofReasons, where a person
 * looks for it. Nothing is decided by it, so nothing waits for it: `show` returns at once, one write is in flight at most, and what
 * could not be written is tried again at a later look.
 */
export class ProofDisplay {
  readonly #options: ProofDisplayOptions;
  readonly #triedAt = new Map<string, number>();
  #writing = false;
  #lastFailure = "";

  constructor(options: ProofDisplayOptions) {
    this.#options = options;
  }

  /** @param nodes as the cache holds them, which is how it is known what is shown */
  show(nodes: readonly ClusterNode[], state: CrmState, view: CrmView, signal: AbortSignal): void {
    if (this.#writing || !view.quorate || signal.aborted) return;
    const now = this.#options.clock.elapsedMs();
    const due = nodes
      .filter((node) => {
        const name = node.metadata.name;
        const tried = this.#triedAt.get(name) ?? Number.NEGATIVE_INFINITY;
        return now - tried >= SHOWN_EVERY_MS && differs(node, proofReasons(name, state, view));
      })
      .sort((a, b) => (this.#triedAt.get(a.metadata.name) ?? 0) - (this.#triedAt.get(b.metadata.name) ?? 0))[0];
    if (due === undefined) return;
    this.#triedAt.set(due.metadata.name, now);
    this.#writing = true;
    void this.#write(due, proofReasons(due.metadata.name, state, view), signal).finally(() => {
      this.#writing = false;
    });
  }

  async #write(node: ClusterNode, reasons: readonly string[], signal: AbortSignal): Promise<void> {
    const { client, log } = this.#options;
    const { name, namespace = "", uid = "" } = node.metadata;
    try {
      await client.applyStatus(
        CLUSTER_NODES,
        {
          metadata: { name, namespace, uid },
          // An empty map would be refused, see nodeStatus; what is left out is removed.
          status: reasons.length === 0 ? {} : { fence: { proofReasons: [...reasons] } },
        },
        { fieldManager: PROOF_FIELD_MANAGER, force: true, signal },
      );
      this.#lastFailure = "";
    } catch (error) {
      if (signal.aborted) return;
      const failure = classify(error);
      const level = failure.reason === this.#lastFailure ? "debug" : "warn";
      this.#lastFailure = failure.reason;
      log[level]({ node: name, reason: failure.reason }, `the proof of a fence is not shown: ${failure.message}`);
    }
  }
}

/** None for a node that is a member, or that nothing is to be proven of. */
function proofReasons(node: string, state: CrmState, view: CrmView): readonly string[] {
  const seen = view.nodes[node];
  const known = state.nodes[node]?.state;
  if (seen === undefined || seen.member || known === undefined || !WAITS_FOR_PROOF.has(known)) return [];
  return seen.fence.reasons.slice(0, REASONS_LIMIT).map((reason) => reason.slice(0, REASON_LIMIT));
}

function differs(node: ClusterNode, wanted: readonly string[]): boolean {
  const shown = node.status?.fence?.proofReasons ?? [];
  return shown.length !== wanted.length || shown.some((reason, index) => reason !== wanted[index]);
}
