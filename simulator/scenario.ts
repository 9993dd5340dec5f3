/**
 * A scenario file: the world at its start, what happens to it and when, and (for comparison) what is expected. Read once, checked,
 * and given defaults, so that the worlds never ask whether a field is there.
 */
import { readFileSync } from "node:fs";
import { QuorateError } from "../errors.ts";

export type Want = "started" | "stopped" | "disabled" | "ignored";

export interface FailureModel {
  readonly start_failures: number;
  readonly move_failures: number;
  readonly cannot_stop: boolean;
  /** Start and move failures happen only on this node. */
  readonly only_on_node?: string;
  /** The first start never ends (own scenarios). */
  readonly start_hangs?: boolean;
}

export interface ScenarioService {
  readonly node: string;
  readonly want: Want;
  readonly max_restart: number;
  readonly max_relocate: number;
  readonly failback: boolean;
  readonly group?: string;
  readonly lock?: string;
  readonly failure_model?: FailureModel;
}

export interface ScenarioNode {
  readonly power: boolean;
  readonly network: boolean;
  readonly cpus: number;
  readonly memory: number;
  readonly votes: number;
}

export type Op = { readonly op: string; readonly [field: string]: unknown };

export interface Scenario {
  readonly name: string;
  readonly description: string;
  readonly nodes: Readonly<Record<string, ScenarioNode>>;
  readonly services: Readonly<Record<string, ScenarioService>>;
  readonly groups: Readonly<Record<string, { nodes: Record<string, number>; restricted: boolean; failback: boolean }>>;
  readonly rules: readonly unknown[];
  readonly policy: {
    readonly onShutdown: "conditional" | "freeze" | "failover" | "migrate";
    readonly scheduler: "basic" | "static" | "dynamic";
    readonly placeOnStart: boolean;
    readonly autoRebalance?: { method: "bruteforce" | "topsis"; threshold: number; holdRounds: number; margin: number };
  };
  readonly defined: Readonly<Record<string, Usage>>;
  readonly measured: Readonly<Record<string, Usage>>;
  readonly initialState?: InitialState;
  /** For the default timings: what the membership is built of. */
  readonly cluster: { readonly tokenMilliseconds: number; readonly watchdogSeconds: number; readonly qdevice: boolean };
  readonly batches: readonly { readonly at: number; readonly ops: readonly Op[] }[];
  readonly endTime: number;
  readonly final: { readonly services: Readonly<Record<string, Final>> };
  /** Own scenarios: what must and must not be in the events. */
  readonly checks: readonly Check[];
  /** Which world it is for when the command line does not say. */
  readonly timings: "file" | "quorate";
  /** A defect to plant, see defects.ts. */
  readonly defect?: string;
  /** Seconds; by then nothing fails any more and every guest that is wanted must run. */
  readonly settledAt?: number;
}

export interface Usage {
  readonly cpu: number;
  readonly memory: number;
}

export interface Final {
  readonly node?: string | null;
  readonly running_on?: string | null;
  readonly state?: string | null;
}

export interface InitialState {
  readonly leader?: string;
  readonly nodes: Readonly<Record<string, string>>;
  readonly services: Readonly<Record<string, { node: string; state: string; target?: string }>>;
}

/**
 * Events with all these fields: exactly `count` of them (default at least one; 0: none) between `after` and `before` seconds, or `after`
 * and the recovery bound of Cluster.status.timings later.
 */
export interface Check {
  readonly match: Readonly<Record<string, unknown>>;
  readonly count?: number;
  readonly after?: number;
  readonly before?: number;
  readonly within?: "recoveryBound";
}

type Json = Record<string, unknown>;

export function readScenario(file: string): Scenario {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw new QuorateError(
      "user",
      "UnreadableScenario",
      `scenario "${file}" cannot be read: ${(error as Error).message}`,
    );
  }
  if (!isObject(raw) || !isObject(raw.setup) || !Array.isArray(raw.steps) || !Array.isArray(raw.step_times)) {
    throw new QuorateError("user", "InvalidScenario", `"${file}" is no scenario: it needs setup, steps and step_times`);
  }
  return parseScenario(raw);
}

/** @throws QuorateError of class user for an operation or field that is not known. */
export function parseScenario(raw: Json): Scenario {
  const setup = object(raw.setup);
  const policy = object(setup.policy);
  const rebalance = policy.auto_rebalance;
  const stats = object(setup.stats);
  const times = (raw.step_times as unknown[]).map((time) => (typeof time === "number" ? time : undefined));
  const steps = raw.steps as unknown[];
  const initial = setup.initial_state;
  const cluster = object(raw.cluster);
  return {
    name: String(raw.name ?? "unnamed"),
    description: String(raw.description ?? ""),
    nodes: mapValues(object(setup.nodes), parseNode),
    services: mapValues(object(setup.services), parseService),
    groups: mapValues(object(setup.groups), parseGroup),
    rules: (setup.rules as unknown[] | undefined) ?? [],
    policy: {
      onShutdown: oneOf(policy.on_shutdown, ["conditional", "freeze", "failover", "migrate"], "conditional"),
      scheduler: oneOf(policy.scheduler, ["basic", "static", "dynamic"], "basic"),
      placeOnStart: policy.place_on_start === true,
      ...(isObject(rebalance) ? { autoRebalance: parseRebalance(rebalance) } : {}),
    },
    defined: mapValues(object(stats.static), (usage) => ({
      cpu: number(usage.maxcpu, 4),
      memory: number(usage.maxmem, 4 * GIB),
    })),
    measured: mapValues(object(stats.dynamic), (usage) => ({
      cpu: number(usage.cpu, 2),
      memory: number(usage.mem, 2 * GIB),
    })),
    ...(isObject(initial) ? { initialState: initial as unknown as InitialState } : {}),
    cluster: {
      tokenMilliseconds: number(cluster.token_milliseconds, 3000),
      watchdogSeconds: number(cluster.watchdog_seconds, 10),
      qdevice: cluster.qdevice === true,
    },
    batches: steps.flatMap((ops, i) => {
      const at = times[i];
      return at === undefined || !Array.isArray(ops) ? [] : [{ at, ops: ops as Op[] }];
    }),
    endTime: number(raw.end_time, 720),
    final: { services: object(object(raw.final).services) as Record<string, Final> },
    checks: (raw.checks as Check[] | undefined) ?? [],
    timings: oneOf(raw.timings, ["file", "quorate"], "file"),
    ...(typeof raw.defect === "string" ? { defect: raw.defect } : {}),
    ...(typeof raw.settled_at === "number" ? { settledAt: raw.settled_at } : {}),
  };
}

const GIB = 1024 ** 3;
export const DEFAULT_DEFINED: Usage = { cpu: 4, memory: 4 * GIB };
export const DEFAULT_MEASURED: Usage = { cpu: 2, memory: 2 * GIB };

function parseNode(node: Json): ScenarioNode {
  return {
    power: node.power === true,
    network: node.network === true,
    cpus: number(node.cpus ?? node.maxcpu, 24),
    memory: number(node.memory ?? node.maxmem, 128 * GIB),
    votes: number(node.votes, 1),
  };
}

export function parseService(service: Json): ScenarioService {
  return {
    node: String(service.node),
    want: oneOf(service.want, ["started", "stopped", "disabled", "ignored"], "started"),
    max_restart: number(service.max_restart, 1),
    max_relocate: number(service.max_relocate, 1),
    failback: service.failback !== false && service.failback !== 0 && service.failback !== "0",
    ...(typeof service.group === "string" ? { group: service.group } : {}),
    ...(typeof service.lock === "string" ? { lock: service.lock } : {}),
    ...(isObject(service.failure_model) ? { failure_model: service.failure_model as unknown as FailureModel } : {}),
  };
}

/** Nodes of a group as an object, a list of names, or a list of `name:priority`. */
function parseGroup(group: Json): { nodes: Record<string, number>; restricted: boolean; failback: boolean } {
  const given = group.nodes;
  const list = typeof given === "string" ? given.split(",") : Array.isArray(given) ? given.map(String) : undefined;
  const nodes = list
    ? Object.fromEntries(
        list.map((entry) => entry.split(":")).map(([name, priority]) => [name ?? "", Number(priority ?? 0)]),
      )
    : (object(given) as Record<string, number>);
  return {
    nodes,
    restricted: truthy(group.restricted),
    failback: !truthy(group.nofailback) && group.failback !== false,
  };
}

function parseRebalance(rebalance: Json): {
  method: "bruteforce" | "topsis";
  threshold: number;
  holdRounds: number;
  margin: number;
} {
  return {
    method: oneOf(rebalance.method, ["bruteforce", "topsis"], "bruteforce"),
    threshold: number(rebalance.threshold, 0.3),
    holdRounds: number(rebalance.hold_rounds ?? rebalance.hold, 3),
    margin: number(rebalance.margin, 0.1),
  };
}

/** `fa:abcdef`: b start failures, c move failures, d not 0: cannot be stopped, f: number of the node to which b and c are limited. */
export function failureModel(id: string, given: FailureModel | undefined): FailureModel {
  if (given) return given;
  const digits = /^fa:(\d+)$/.exec(id)?.[1];
  if (digits === undefined) return { start_failures: 0, move_failures: 0, cannot_stop: false };
  const digit = (i: number): number => Number(digits[i] ?? 0);
  const node = digit(5);
  return {
    start_failures: digit(1),
    move_failures: digit(2),
    cannot_stop: digit(3) !== 0,
    ...(node > 0 ? { only_on_node: `node${node}` } : {}),
  };
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function object(value: unknown): Json {
  return isObject(value) ? value : {};
}
function number(value: unknown, fallback: number): number {
  const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof parsed === "number" && Number.isFinite(parsed) ? parsed : fallback;
}
function truthy(value: unknown): boolean {
  return value === true || value === 1 || value === "1";
}
function mapValues<T>(values: Json, map: (value: Json) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, map(object(value))]));
}
function oneOf<const T extends string>(value: unknown, allowed: readonly T[], fallback: T): T {
  if (value === undefined) return fallback;
  const found = allowed.find((entry) => entry === value);
  if (found === undefined)
    throw new QuorateError("user", "InvalidScenario", `"${String(value)}" is none of ${allowed.join(", ")}`);
  return found;
}
