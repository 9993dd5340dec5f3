/**
 * Simulated guests: which runs where, and which of their starts, stops and moves fail. A guest may run on several hosts at once here,
 * as in reality: it is the invariant of the whole that it does not.
 */
import { type FailureModel, failureModel, type Scenario } from "./scenario.ts";

export class Guests {
  readonly #running = new Map<string, Set<string>>();
  readonly #models = new Map<string, FailureModel>();
  readonly #failedStarts = new Map<string, number>();
  readonly #failedMoves = new Map<string, number>();
  readonly #hung = new Set<string>();
  readonly #copies = new Map<string, number>();
  /** Guests that run on more than one host. */
  readonly onSeveral = new Set<string>();

  constructor(scenario: Scenario) {
    for (const [id, service] of Object.entries(scenario.services))
      this.#models.set(id, failureModel(id, service.failure_model));
  }

  runsOn(id: string, node: string): boolean {
    return this.#running.get(node)?.has(id) === true;
  }

  /** All nodes on which it runs, by name. */
  nodesOf(id: string): string[] {
    return [...this.#running]
      .filter(([, ids]) => ids.has(id))
      .map(([node]) => node)
      .sort();
  }

  runningOn(node: string): ReadonlySet<string> {
    return this.#running.get(node) ?? new Set();
  }

  setRunning(id: string, node: string, running: boolean): void {
    const ids = this.#running.get(node) ?? new Set<string>();
    this.#running.set(node, ids);
    if (running === ids.has(id)) return;
    if (running) ids.add(id);
    else ids.delete(id);
    this.#count(id, running ? 1 : -1);
  }

  /** The host lost power. */
  lose(node: string): void {
    for (const id of this.#running.get(node) ?? []) this.#count(id, -1);
    this.#running.delete(node);
  }

  #count(id: string, change: 1 | -1): void {
    const copies = (this.#copies.get(id) ?? 0) + change;
    this.#copies.set(id, copies);
    if (copies > 1) this.onSeveral.add(id);
    else this.onSeveral.delete(id);
  }

  /** @returns false when the start fails, "hangs" when it never ends. */
  start(id: string, node: string): boolean | "hangs" {
    const model = this.#model(id);
    if (model.start_hangs === true && !this.#hung.has(id)) {
      this.#hung.add(id);
      return "hangs";
    }
    if (this.#fails(this.#failedStarts, id, model.start_failures, model, node)) return false;
    this.setRunning(id, node, true);
    return true;
  }

  stop(id: string, node: string): boolean {
    if (!this.runsOn(id, node)) return true;
    if (this.#model(id).cannot_stop) return false;
    this.setRunning(id, node, false);
    return true;
  }

  /** Whether a move away from the node succeeds; the caller stops or carries the guest. */
  move(id: string, node: string): boolean {
    const model = this.#model(id);
    return !this.#fails(this.#failedMoves, id, model.move_failures, model, node);
  }

  /** Whether the CRM takes it for one whose moves are live. */
  isMachine(id: string): boolean {
    return id.startsWith("vm:");
  }

  /** Whether its driver moves it live when it is told to. */
  canMoveLive(id: string): boolean {
    return !id.startsWith("ct:");
  }

  #model(id: string): FailureModel {
    return this.#models.get(id) ?? failureModel(id, undefined);
  }

  /** The first `limit` tries fail; the counter starts again after a success. */
  #fails(counters: Map<string, number>, id: string, limit: number, model: FailureModel, node: string): boolean {
    if (model.only_on_node !== undefined && model.only_on_node !== node) return false;
    const failed = counters.get(id) ?? 0;
    if (failed < limit) {
      counters.set(id, failed + 1);
      return true;
    }
    counters.delete(id);
    return false;
  }
}
