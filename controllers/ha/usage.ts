/**
 * How loaded each online node is, kept up to date while a round decides: a choice sees all choices before it.
 *
 * basic: number of guests. static: what guests are defined with. dynamic: what was measured on the node, plus the defined size of
 * guests that are being started there. A moving guest counts on its source and its target.
 */

import { topsis } from "./topsis.ts";
import type { CrmView, ServiceRecord, ServiceView } from "./types.ts";

export interface Load {
  readonly cpu: number;
  readonly memory: number;
}

export interface NodeLoad {
  guests: number;
  cpu: number;
  memory: number;
  readonly capacity: Load;
}

const PLACED = new Set(["Started", "RequestStop", "Fence", "Freeze", "Error"]);

/** Nodes on which a service counts: none while it is stopped or waits for a place. */
export function countedNodes(record: ServiceRecord): readonly string[] {
  if (PLACED.has(record.state)) return [record.node];
  if (record.target === undefined) return [];
  if (record.state === "RequestStartBalance") return [record.target]; // nothing runs on the source yet
  return record.state === "Migrate" || record.state === "Relocate" ? [record.node, record.target] : [];
}

export class Usage {
  readonly nodes = new Map<string, NodeLoad>();
  readonly #view: CrmView;

  /** @param online the nodes that may be chosen; load elsewhere is of no interest. */
  constructor(view: CrmView, online: readonly string[]) {
    this.#view = view;
    const dynamic = view.policy.scheduler === "dynamic";
    for (const name of online) {
      const node = view.nodes[name];
      if (!node) continue;
      const base = dynamic ? (node.measured ?? { cpu: 0, memory: 0 }) : { cpu: 0, memory: 0 };
      this.nodes.set(name, { guests: 0, cpu: base.cpu, memory: base.memory, capacity: node.capacity });
    }
  }

  /** `sign` 1: the service is now as `record` says; -1: it no longer is. */
  count(service: string, record: ServiceRecord, sign: 1 | -1): void {
    if (PLACED.has(record.state)) this.#add(service, record.node, sign);
    else for (const name of countedNodes(record)) this.#add(service, name, sign);
  }

  #add(service: string, name: string, sign: 1 | -1): void {
    const node = this.nodes.get(name);
    if (!node) return;
    node.guests += sign;
    if (this.#view.policy.scheduler === "basic") return; // counts guests only
    const view = this.#view.services[service];
    const load = view ? this.#counted(view, name, node.capacity) : undefined;
    if (!load) return;
    node.cpu += sign * load.cpu;
    node.memory += sign * load.memory;
  }

  /** The least loaded of the candidates for this service; equal ones by name. */
  best(service: string, candidates: readonly string[]): string | undefined {
    const sorted = candidates.filter((name) => this.nodes.has(name)).sort();
    if (sorted.length <= 1) return sorted[0];
    if (this.#view.policy.scheduler === "basic") return highest(sorted, (name) => -(this.nodes.get(name)?.guests ?? 0));
    const view = this.#view.services[service];
    const scores = topsis(
      sorted.map((name) => criteria(this.#loadsWith(view, name))),
      WEIGHTS,
    );
    return highest(sorted, (_, i) => scores[i] ?? 0);
  }

  /** What a service would add to a node if it ran there. */
  sizeOn(view: ServiceView | undefined, capacity: Load): Load {
    if (!view) return { cpu: 0, memory: 0 };
    if (this.#view.policy.scheduler === "dynamic" && view.running && view.measured) return view.measured;
    return defined(view, capacity);
  }

  #loadsWith(view: ServiceView | undefined, candidate: string): Load[] {
    return [...this.nodes].map(([name, node]) => {
      const extra = name === candidate ? this.sizeOn(view, node.capacity) : { cpu: 0, memory: 0 };
      return relative({ cpu: node.cpu + extra.cpu, memory: node.memory + extra.memory }, node.capacity);
    });
  }

  #counted(view: ServiceView, name: string, capacity: Load): Load | undefined {
    if (this.#view.policy.scheduler !== "dynamic") return defined(view, capacity);
    const runsHere = view.running && view.owner === name;
    if (runsHere) return undefined; // it is in what was measured
    return view.running ? this.sizeOn(view, capacity) : defined(view, capacity);
  }
}

/** The four costs of a situation: mean and peak of cpu and memory over all nodes, the mean as root of the squares. */
export function criteria(loads: readonly Load[]): number[] {
  const cpu = loads.map((load) => load.cpu);
  const memory = loads.map((load) => load.memory);
  return [1 + rms(cpu), 1 + Math.max(...cpu), 1 + rms(memory), 1 + Math.max(...memory)];
}

/** Memory can not be overcommitted as cpu can, and a peak hurts more than a mean. */
export const WEIGHTS: readonly number[] = [1, 2, 5, 10];

export function relative(load: Load, capacity: Load): Load {
  return {
    cpu: capacity.cpu > 0 ? load.cpu / capacity.cpu : 0,
    memory: capacity.memory > 0 ? load.memory / capacity.memory : 0,
  };
}

function defined(view: ServiceView, capacity: Load): Load {
  return { cpu: view.defined.cpu > 0 ? view.defined.cpu : capacity.cpu, memory: view.defined.memory };
}

function rms(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

function highest(names: readonly string[], score: (name: string, index: number) => number): string | undefined {
  let best: { name: string; score: number } | undefined;
  names.forEach((name, i) => {
    const value = score(name, i);
    if (best === undefined || value > best.score) best = { name, score: value };
  });
  return best?.name;
}
