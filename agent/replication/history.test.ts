import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ANY_NODE, type Snapshot, type VolumeState } from "../storage/index.ts";
import { leftovers, planCleanup, planVolume } from "./planner.ts";

/**
 * Four nodes as far as the snapshots of one volume go. A run does what `replicate` does, by the same plans, and may be
 * broken off after each of its steps.
 */
interface Node {
  readonly name: string;
  exists: boolean;
  snapshots: Snapshot[];
  /** The job that brought the copy; none: the node's own disk. */
  replicaOf?: string | undefined;
  /** Who began the first copy there, until a whole run has arrived: if that node dies, it has to be begun anew by hand. */
  begunBy?: string | undefined;
  /** Who brought the first copy there whole, until it heard so: if that node dies before, nobody knows of the copy. */
  unheardBy?: string | undefined;
  /** Written to after its newest snapshot. */
  modified: boolean;
  tookOverTxg?: number;
  down: boolean;
}

const NAMES = ["n1", "n2", "n3", "n4"] as const;
type Name = (typeof NAMES)[number];
const JOBS = ["100-0", "100-1", "100-2"] as const;
/** The one of moves to nodes that no job copies to. */
const MOVE = "100-9999";
const id = { vmid: 100, volume: "root" };

class World {
  readonly nodes = new Map(NAMES.map((name) => [name, node(name)] as const));
  owner: Name = "n1";
  /** Which node each job copies to: as users make them, and as they turn round. */
  readonly targets = new Map<string, Name>([
    ["100-0", "n2"],
    ["100-1", "n3"],
  ]);
  readonly setAside: string[] = [];
  /** As `status.copies` of the jobs tells: where a run brought a copy once. */
  readonly known = new Set<string>();
  takeOvers = 0;
  #next = 0;

  constructor() {
    Object.assign(this.at("n1"), { exists: true, modified: true });
  }

  at(name: Name): Node {
    const found = this.nodes.get(name);
    assert.ok(found);
    return found;
  }

  /** @param until the step after which the run is broken off. @returns whether the target has the new snapshot */
  run(job: string, to: Name, until = Number.POSITIVE_INFINITY): boolean {
    const [source, target] = [this.at(this.owner), this.at(to)];
    if (to === this.owner || target.down) return false;
    let steps = 0;
    const goesOn = () => ++steps <= until;
    const counts = (name: string) => name !== source.name && name !== target.name;
    const others = { counts, mayHave: [...this.targets.values(), ...this.known] };
    const plan = planVolume(job, state(source), state(target), others);
    if (plan.kind === "conflict") {
      // Only what somebody wrote to on its own is in the way, and that is set aside by hand: then all of it is sent.
      assert.ok(
        target.replicaOf === undefined || isForlorn(target, source),
        `${job} to ${to}: ${plan.reason}\n${plan.message}`,
      );
      this.setAside.push(to);
      Object.assign(target, {
        exists: false,
        snapshots: [],
        replicaOf: undefined,
        begunBy: undefined,
        unheardBy: undefined,
        modified: false,
      });
      // What it had begun to send elsewhere, it can go on with no more.
      for (const other of this.nodes.values()) {
        if (other.begunBy === to) other.begunBy = "set aside";
        if (other.unheardBy === to) other.unheardBy = "set aside";
      }
      return false;
    }
    const keep = { source: 1, target: 1 };
    const left = new Set(leftovers(job, state(source), state(target), keep, others).map(({ guid }) => guid));
    source.snapshots = source.snapshots.filter(({ guid }) => !left.has(guid));
    if (plan.kind === "incremental" && plan.beyond !== "Nothing") {
      const at = target.snapshots.findIndex(({ guid }) => guid === plan.base.guid);
      target.snapshots = target.snapshots.slice(0, at + 1);
      if (plan.beyond === "Branch") target.replicaOf = job;
    }
    if (!goesOn()) return false;
    const made = snapshot(
      `quorate-${job}-20261121T${String(++this.#next).padStart(6, "0")}Z`,
      String(this.#next),
      this.#next,
    );
    source.snapshots.push(made);
    source.modified = true;
    if (!goesOn()) return false;
    let base = plan.kind === "incremental" ? plan.base : undefined;
    const sent = [...plan.via, made];
    if (base === undefined) mark(source, target.name, sent[0]?.guid);
    for (const one of sent) {
      if (one === made) mark(source, target.name, made.guid, true);
      if (base === undefined) assert.ok(!target.exists);
      else assert.equal(target.snapshots.at(-1)?.guid, base.guid, "ZFS: does not match incremental source");
      Object.assign(target, { exists: true, replicaOf: job, modified: false });
      target.snapshots.push(snapshot(one.name, one.guid, ++this.#next));
      if (plan.kind === "full") target.begunBy = source.name;
      if (one === made && target.begunBy !== undefined)
        Object.assign(target, { begunBy: undefined, unheardBy: source.name });
      base = one;
      if (one === made) {
        for (const { guid, newestOn = [] } of source.snapshots) {
          for (const name of newestOn.filter((each) => each === ANY_NODE || counts(each))) mark(target, name, guid);
        }
        mark(target, source.name, made.guid);
      }
      if (!goesOn()) return one === made;
    }
    mark(source, target.name, made.guid);
    this.known.add(target.name);
    target.unheardBy = undefined;
    this.known.delete(source.name);
    if (!goesOn()) return true;
    const old = planCleanup(job, state(source), state(target), keep, others, [...this.targets.keys()]);
    remove(target, old.target);
    if (!goesOn()) return true;
    remove(source, old.source);
    return true;
  }

  /** The guest goes there with its last difference, as by `migrate`. */
  move(to: Name): void {
    const from = this.owner;
    const job = [...this.targets].find(([, target]) => target === to)?.[0] ?? MOVE;
    if (!this.run(job, to)) return;
    this.at(from).modified = false;
    this.#takeOver(to);
    this.#turn(from);
  }

  /** The owner dies, and the guest is recovered from the copy on another node. */
  failOver(to: Name): void {
    const from = this.owner;
    const target = this.at(to);
    if (to === from || target.down || target.replicaOf === undefined || target.begunBy !== undefined) return;
    this.at(from).down = true;
    this.#takeOver(to);
    this.#turn(from);
  }

  #takeOver(to: Name): void {
    const newest = this.at(to).snapshots.at(-1);
    assert.ok(newest);
    for (const { guid } of this.at(to).snapshots) mark(this.at(to), ANY_NODE, guid);
    this.takeOvers += 1;
    const now = { replicaOf: undefined, unheardBy: undefined, modified: true, tookOverTxg: newest.createTxg };
    Object.assign(this.at(to), now);
    this.owner = to;
  }

  #turn(from: Name): void {
    for (const [job, target] of this.targets) {
      if (target !== this.owner) continue;
      const free = [from, ...NAMES].find((name) => name !== this.owner && ![...this.targets.values()].includes(name));
      if (free === undefined) this.targets.delete(job);
      else this.targets.set(job, free);
    }
  }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("run" as const), job: fc.constantFrom(...JOBS) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("broken run" as const),
      job: fc.constantFrom(...JOBS),
      until: fc.integer({ min: 0, max: 7 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("move" as const), to: fc.constantFrom(...NAMES) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("failover" as const), to: fc.constantFrom(...NAMES) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("returns" as const), to: fc.constantFrom(...NAMES) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("goes" as const), to: fc.constantFrom(...NAMES) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("new target" as const),
      job: fc.constantFrom(...JOBS),
      to: fc.constantFrom(...NAMES),
    }),
  },
);

test("wherever the guest has been, every copy can go on from wherever it is; and what is kept for that is bounded", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), (history) => {
      const world = new World();
      for (const one of history) {
        if (one.kind === "run" || one.kind === "broken run") {
          const to = world.targets.get(one.job);
          if (to !== undefined) world.run(one.job, to, one.kind === "run" ? undefined : one.until);
        } else if (one.kind === "move") world.move(one.to);
        else if (one.kind === "failover") world.failOver(one.to);
        else if (one.kind === "returns") world.at(one.to).down = false;
        else if (one.kind === "goes" && one.to !== world.owner) world.at(one.to).down = true;
        else if (one.kind === "new target" && one.to !== world.owner && ![...world.targets.values()].includes(one.to))
          world.targets.set(one.job, one.to);
      }
      everyCopyGoesOn(world);
      // One a job (its newest), two for each other node (what it has, and what it may have), one to go on from; and one for
      // each time the guest changed its node, until all were sent to.
      for (const { name, snapshots } of world.nodes.values())
        assert.ok(
          snapshots.length <= 3 * NAMES.length + world.takeOvers,
          `${name} keeps ${snapshots.length} snapshots`,
        );
    }),
    { numRuns: 10_000 },
  );
});

test("a guest that went n1, n2, n1, n3, n1 leaves n2 a base in common", () => {
  const world = new World();
  world.targets.delete("100-1");
  assert.ok(world.run("100-0", "n2"));
  for (const to of ["n2", "n1", "n3", "n1"] as const) world.move(to);
  assert.equal(world.owner, "n1");
  assert.equal(planVolume("100-0", state(world.at("n1")), state(world.at("n2"))).kind, "incremental");
});

for (const last of ["n2", "n3"] as const) {
  test(`${last} was synced last, the guest is recovered on n2: the job to n3 goes on from there`, () => {
    const world = new World();
    for (const to of last === "n2" ? (["n3", "n2"] as const) : (["n2", "n3", "n2", "n3"] as const))
      assert.ok(world.run(to === "n2" ? "100-0" : "100-1", to));
    world.failOver("n2");
    const plan = planVolume("100-1", state(world.at("n2")), state(world.at("n3")));
    assert.ok(plan.kind === "incremental", plan.kind === "conflict" ? plan.message : "");
    assert.equal(plan.beyond, last === "n2" ? "Nothing" : "Branch");
    assert.ok(world.run("100-1", "n3"));
  });
}

/** For each node that the owner could copy to, and for each that could be the owner next. */
function everyCopyGoesOn(world: World): void {
  for (const from of world.nodes.values()) {
    if (from.name !== world.owner && (from.replicaOf === undefined || from.begunBy !== undefined)) continue;
    // Nobody knows of it, so nothing is kept elsewhere for its sake: what it is refused is set aside by hand.
    if (from.name !== world.owner && isForlorn(from, world.at(world.owner))) continue;
    for (const to of world.nodes.values()) {
      if (to === from || !to.exists || !from.exists) continue;
      // Whose own disks are no copy: set aside by hand, or gone on from as they are.
      if (to.name === world.owner || to.replicaOf === undefined || isForlorn(to, from)) continue;
      const source =
        from.name === world.owner
          ? state(from)
          : { ...state(from), tookOverTxg: from.snapshots.at(-1)?.createTxg ?? 0 };
      for (const job of [...JOBS, MOVE]) {
        const plan = planVolume(job, source, state(to));
        assert.ok(
          plan.kind === "incremental",
          `${job} from ${from.name} to ${to.name}: ${plan.kind === "conflict" ? plan.message : plan.kind}`,
        );
      }
    }
  }
}

/** What another node began there, or brought there without anybody hearing of it: it is refused, and set aside by hand. */
function isForlorn({ begunBy, unheardBy }: Node, source: Node): boolean {
  return [begunBy, unheardBy].some((by) => by !== undefined && by !== source.name);
}

function node(name: Name): Node {
  return { name, exists: false, snapshots: [], replicaOf: undefined, modified: false, down: false };
}

function snapshot(name: string, guid: string, createTxg: number): Snapshot {
  return { name, guid, createTxg, createdAt: 0, holds: 1 };
}

function state({ exists, snapshots, replicaOf, modified, tookOverTxg }: Node): VolumeState {
  return {
    id,
    exists,
    snapshots,
    writtenBytes: modified ? 1 : 0,
    ...(replicaOf === undefined ? {} : { replicaOf }),
    ...(tookOverTxg === undefined ? {} : { tookOverTxg }),
  };
}

function mark(on: Node, name: string, guid: string | undefined, also = name === ANY_NODE): void {
  if (!on.snapshots.some((one) => one.guid === guid)) return;
  on.snapshots = on.snapshots.map((one) => {
    const stay = (one.newestOn ?? []).filter((marked) => marked !== name || (also && one.guid !== guid));
    const newestOn = one.guid === guid ? [...stay, name] : stay;
    const { newestOn: _, ...rest } = one;
    return newestOn.length === 0 ? rest : { ...rest, newestOn };
  });
}

function remove(on: Node, refs: readonly { guid: string }[]): void {
  const gone = new Set(refs.map(({ guid }) => guid));
  on.snapshots = on.snapshots.filter(({ guid }) => !gone.has(guid));
}
