import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ANY_NODE, type Snapshot, type VolumeState } from "../storage/index.ts";
import { leftovers, newestCompleteSet, planCleanup, planVolume } from "./planner.ts";

const id = { vmid: 100, volume: "root" };
const job = "100-0";
const own = (n: number) => `quorate-100-0-202611${String(n).padStart(2, "0")}T000000Z`;
const others = (n: number) => `quorate-100-1-202611${String(n).padStart(2, "0")}T000000Z`;

/** `guid:name` in the order of creation. */
function side(...list: string[]): VolumeState {
  const snapshots = list.map((entry, i): Snapshot => {
    const [guid = "", name = ""] = entry.split(":");
    return { guid, name: name || own(Number(guid)), createTxg: 100 + i, createdAt: 0, holds: 0 };
  });
  return { id, exists: true, snapshots };
}

/** The same with marks: which node's newest copy a snapshot is. */
function marked(state: VolumeState, marks: Record<string, string>): VolumeState {
  const snapshots = state.snapshots.map((snapshot) => {
    const newestOn = Object.keys(marks).filter((node) => marks[node] === snapshot.guid);
    return newestOn.length === 0 ? snapshot : { ...snapshot, newestOn };
  });
  return { ...state, snapshots };
}

const replica = (...list: string[]): VolumeState => ({ ...side(...list), replicaOf: job });
const absent: VolumeState = { id, exists: false, snapshots: [] };
const names = (refs: readonly { guid: string }[]) => refs.map(({ guid }) => guid);

describe("how a volume gets to the target", () => {
  const plans: [string, VolumeState, VolumeState, string][] = [
    ["nothing there yet: all of it", side("1"), absent, "full"],
    ["no snapshot on either side: all of it", side(), absent, "full"],
    ["the newest common snapshot is the base", side("1", "2", "3"), replica("1", "2"), "from 2"],
    [
      "the acknowledgement of the last run was lost: goes on from what arrived",
      side("1", "2"),
      replica("1", "2"),
      "from 2",
    ],
    ["the base may be a user's snapshot, called 0", side("7:0", "2"), replica("7:0"), "from 7"],
    ["another name on the target is the same snapshot", side("1", "2:a"), replica("1", "2:b"), "from 2"],
    ["an older base is taken when the target lost the newer ones", side("1", "2", "3"), replica("1"), "from 1"],
    [
      "what another node goes on from is sent before the new one",
      marked(side("1", `5:${others(2)}`, "3"), { n3: "5", n4: "1" }),
      replica("1"),
      "from 1 via 5",
    ],
    [
      "with all of it comes what other nodes go on from, oldest first",
      marked(side("1", `5:${others(2)}`, "3", "4"), { n3: "5", n4: "3" }),
      absent,
      "full via 5,3",
    ],
    [
      "another job's snapshot that no node goes on from is not sent",
      side("1", `5:${others(2)}`, "3"),
      replica("1"),
      "from 1",
    ],
    [
      "the copy went on before the guest was recovered here from an older one: kept as a branch",
      { ...side("1", `5:${others(2)}`), tookOverTxg: 101 },
      replica("1", "2", "3"),
      "from 1 after keeping a branch",
    ],
    [
      "not so when the source itself was taken back later",
      { ...side("1", `5:${others(2)}`, "3"), tookOverTxg: 100 },
      replica("1", `5:${others(2)}`, "3", "4"),
      "TargetNewer",
    ],
    [
      "nor when the copy has a user's snapshot",
      { ...side("1"), tookOverTxg: 100 },
      replica("1", "9:mine"),
      "TargetNewer",
    ],
    ["nor when it is no copy but data of its own", { ...side("1", "4"), tookOverTxg: 101 }, side("1", "2"), "Diverged"],
    ["a user's snapshot in between is not", side("1", "5:mine", "3"), replica("1"), "from 1"],
    [
      "pieces of a broken stream, since removed on the source: back to the base first",
      side("1", "3"),
      replica("1", `5:${others(2)}`),
      "from 1 after rolling back",
    ],
    [
      "such pieces on what is no replica may be somebody's data",
      side("1", "3"),
      side("1", `5:${others(2)}`),
      "Diverged",
    ],
    [
      "pieces that another job's broken run carried along, of this very job: back to the base first",
      side("1", "3"),
      { ...replica("1", "2"), replicaOf: "100-1" },
      "from 1 after rolling back",
    ],
    [
      "what another job brought whole is no piece, and is not rolled back",
      side("1", "3"),
      { ...replica("1", `5:${others(2)}`), replicaOf: "100-1" },
      "Diverged",
    ],
    ["an encrypted source would be sent decrypted", { ...side("1"), encrypted: true }, absent, "EncryptedSource"],
    ["also its differences", { ...side("1", "2"), encrypted: true }, replica("1"), "EncryptedSource"],
    ["a target that encrypts what it receives", side("1", "2"), { ...replica("1"), encrypted: true }, "from 1"],
    ["no volume on the source", absent, replica("1"), "DataMissing"],
    ["a dataset of that name without snapshots", side("1"), side(), "NameTaken"],
    ["no common snapshot", side("1", "2"), side("8:x", "9:y"), "NoCommonBase"],
    [
      "the same name with another GUID is no common snapshot",
      side(`1:${own(5)}`),
      replica(`2:${own(5)}`),
      "NoCommonBase",
    ],
    ["own snapshots on both sides after the base", side("1", "2"), replica("1", `9:${own(3)}`), "Diverged"],
    ["a user's snapshot on the target", side("1", "2"), replica("1", "9:mine"), "Diverged"],
    ["the source was taken back, the target is newer", side("1"), replica("1", "2"), "TargetNewer"],
    ["the target was written to", side("1", "2"), { ...replica("1"), writtenBytes: 4096 }, "TargetModified"],
    ["the target was not written to", side("1", "2"), { ...replica("1"), writtenBytes: 0 }, "from 1"],
  ];
  const via = (list: readonly Snapshot[]) => (list.length === 0 ? "" : ` via ${names(list)}`);
  const AFTER = { Nothing: "", RollBack: " after rolling back", Branch: " after keeping a branch" };
  for (const [sentence, source, target, expected] of plans) {
    test(sentence, () => {
      const plan = planVolume(job, source, target);
      const said =
        plan.kind === "conflict"
          ? plan.reason
          : plan.kind === "full"
            ? `full${via(plan.via)}`
            : `from ${plan.base.guid}${via(plan.via)}${AFTER[plan.beyond]}`;
      assert.equal(said, expected, plan.kind === "conflict" ? plan.message : "");
    });
  }

  test("a refusal shows both sides", () => {
    const plan = planVolume(job, side("1", "2"), replica("1", "9:mine"));
    assert.equal(plan.kind, "conflict");
    assert.ok(plan.kind === "conflict");
    assert.match(plan.message, /^vm-100-root: both sides went on from quorate-100-0-20261101T000000Z/);
    assert.match(
      plan.message,
      /source:\n {2}quorate-100-0-20261101T000000Z guid=1 txg=100\n {2}quorate-100-0-20261102T000000Z guid=2 txg=101\ntarget:/,
    );
    assert.match(plan.message, /target:\n {2}.* guid=1 txg=100\n {2}mine guid=9 txg=101$/);
  });

  test("a refusal with 65,000 snapshots stays readable", () => {
    const plan = planVolume(
      job,
      side(...Array.from({ length: 65_000 }, (_, i) => `${i + 1}:auto-${i}`)),
      side("999999:x"),
    );
    assert.ok(plan.kind === "conflict" && plan.message.length < 2_000);
    assert.match(plan.message, /\.\.\. 64990 older/);
  });
});

describe("what is removed", () => {
  const cleanup = (source: VolumeState, target: VolumeState, keep = { source: 1, target: 1 }) => {
    const old = planCleanup(job, source, target, keep, undefined, [job, "100-1"]);
    return [names(old.source), names(old.target)];
  };
  const ONE = { source: 1, target: 1 };

  test("the old base on both sides, never the new one", () => {
    assert.deepEqual(cleanup(side("1", "2"), replica("1", "2")), [["1"], ["1"]]);
    assert.deepEqual(cleanup(side("2"), replica("2")), [[], []]);
  });

  test("nothing before the new base is on both sides", () => {
    assert.deepEqual(cleanup(side("1", "2"), replica("1")), [[], []]);
    assert.deepEqual(cleanup(side("1", "2"), absent), [[], []]);
  });

  test("another job's and the user's snapshots stay, on the target another job's as long as the source has it", () => {
    const source = side("7:0", "1", `5:${others(1)}`, "6:quorate-100-0", "2");
    assert.deepEqual(cleanup(source, replica("7:0", "1", `5:${others(1)}`, `4:${others(0)}`, "2")), [
      ["1"],
      ["1", "4"],
    ]);
  });

  test("as many as the retention says stay, the base among them", () => {
    const [source, target] = [side("1", "2", "3", "4"), replica("1", "2", "3", "4")];
    assert.deepEqual(cleanup(source, target, { source: 2, target: 3 }), [["1", "2"], ["1"]]);
    assert.deepEqual(cleanup(source, target, { source: 0, target: 0 }), [
      ["1", "2", "3"],
      ["1", "2", "3"],
    ]);
    assert.deepEqual(cleanup(source, target, { source: 9, target: 9 }), [[], []]);
  });

  test("what another node goes on from stays on both sides, also when this job made it", () => {
    const keep = { source: 1, target: 1 };
    const source = marked(side("1", "2", "3"), { n3: "1" });
    const target = marked(replica("1", `5:${others(0)}`, "2", "3"), { n3: "1", n4: "5" });
    const jobs = [job, "100-1"];
    const old = planCleanup(job, source, target, keep, { counts: (node) => node !== "n2" }, jobs);
    assert.deepEqual([names(old.source), names(old.target)], [["2"], ["2"]]);
    const forgotten = planCleanup(job, source, target, keep, { counts: (node) => node === "n3" }, jobs);
    assert.deepEqual([names(forgotten.source), names(forgotten.target)], [["2"], ["2", "5"]], "n4 left the cluster");
    assert.deepEqual(names(leftovers(job, marked(side("1", "2", "3"), { n3: "2" }), replica("1"), ONE)), ["3"]);
  });

  test("what the guest was recovered from stays until every node that may have a copy was sent something newer", () => {
    const from = (marks: Record<string, string>) => {
      const state = marked(side("1", "2", "3"), marks);
      const snapshots = state.snapshots.map((one) =>
        one.guid === "1" ? { ...one, newestOn: [...(one.newestOn ?? []), ANY_NODE] } : one,
      );
      return { ...state, snapshots };
    };
    const removed = (state: VolumeState, mayHave?: string[]) => {
      const others = { counts: (node: string) => node !== "n2", ...(mayHave === undefined ? {} : { mayHave }) };
      return names(planCleanup(job, state, replica("1", "2", "3"), { source: 1, target: 1 }, others).source);
    };
    assert.deepEqual(removed(from({})), ["2"], "not known who has a copy: any may");
    assert.deepEqual(removed(from({}), ["n2", "n3"]), ["2"], "n3 was not heard of");
    assert.deepEqual(removed(from({ n3: "3" }), ["n2", "n3"]), ["1", "2"]);
    assert.deepEqual(removed(from({ n3: "3" }), ["n2", "n3", "n4"]), ["2"], "n4 was not heard of");
    assert.deepEqual(removed(from({}), ["n2"]), ["1", "2"], "only the target may have one");
    const told = from({ n3: "1" });
    assert.deepEqual(removed(told, ["n2"]), ["2"], "a mark speaks of n3");
    const hearsay = from({ n3: "3" });
    const all = hearsay.snapshots.map((one) => ({ ...one, newestOn: [...(one.newestOn ?? []), ANY_NODE] }));
    assert.deepEqual(removed({ ...hearsay, snapshots: all }, ["n3"]), [], "what n3 had was said before the take-over");
  });

  test("what a job left that is no more goes on both sides, unless a node goes on from it", () => {
    const sides = marked(side(`5:${others(0)}`, `6:${others(1)}`, "1", "2"), { n3: "6" });
    const old = (jobs?: string[]) => {
      const { source, target } = planCleanup(job, sides, sides, { source: 1, target: 1 }, undefined, jobs);
      return [names(source), names(target)];
    };
    assert.deepEqual(old([job]), [
      ["1", "5"],
      ["1", "5"],
    ]);
    assert.deepEqual(old([job, "100-1"]), [["1"], ["1"]]);
    assert.deepEqual(old(), [["1"], ["1"]], "not known which jobs there are");
  });

  test("nothing of other jobs goes, also not where the source has it no more, when that is not this run's task", () => {
    const target = replica("1", `5:${others(0)}`, "2");
    const { source: here, target: there } = planCleanup("100-9999", side("1", "2"), target, ONE);
    assert.deepEqual([here, there], [[], []]);
  });

  test("recovery points that were taken over stay until the new target has as many", () => {
    const source = { ...side("1", "2", "3", "4", "5"), tookOverTxg: 103 };
    const keep = { source: 1, target: 4 };
    const removed = (target: VolumeState) => names(planCleanup(job, source, target, keep).source);
    assert.deepEqual(removed(replica("5")), ["1"], "2, 3 and 4 with 5 are four");
    const went = { ...side("1", "2", "3", "4", "5", "6"), tookOverTxg: 103 };
    assert.deepEqual(names(planCleanup(job, went, replica("5", "6"), keep).source), ["1", "2", "5"]);
    assert.deepEqual(removed(replica("2", "3", "4", "5")), ["1", "2", "3", "4"], "the target has them");
    const own = { ...side("1", "2", "3", "4", "5") };
    assert.deepEqual(names(planCleanup(job, own, replica("5"), keep).source), ["1", "2", "3", "4"], "made here");
  });

  test("before a run: this job's snapshots that never arrived, and nothing when it is not clear what did", () => {
    const left = (source: VolumeState, target: VolumeState, keep = 1) =>
      names(leftovers(job, source, target, { source: keep, target: 1 }));
    assert.deepEqual(left(side("1", "2", "9:mine", `5:${others(1)}`, "3"), replica("1")), ["2", "3"]);
    assert.deepEqual(left(side("1", "2", "3", "4"), replica("1"), 3), ["2"], "three stay, the base among them");
    assert.deepEqual(left(side("1", "2"), replica("8:x")), []);
  });

  test("before a run to a target that is gone: never more than what is beyond the retention", () => {
    const left = (source: VolumeState, keep: number) =>
      names(leftovers(job, source, absent, { source: keep, target: 1 }));
    assert.deepEqual(left(side("1", "2", "3", "4", "5"), 5), []);
    assert.deepEqual(left(side("1", "2", "3", "4", "5"), 2), ["1", "2", "3"]);
    assert.deepEqual(left(side("1"), 0), [], "the newest, which a copy that was set aside has as well");
    assert.deepEqual(
      left({ ...side("1", "2", "3", "4"), tookOverTxg: 101 }, 1),
      ["3"],
      "what was taken over is no piece",
    );
  });
});

describe("what a guest is recovered to", () => {
  const set = (...volumes: VolumeState[]) => newestCompleteSet(job, volumes);

  test("the newest snapshot all volumes have; the volumes that are ahead are named", () => {
    assert.equal(set(replica("1", "2"), replica(`11:${own(1)}`, `12:${own(2)}`))?.name, own(2));
    const along = set(replica("1", `5:${others(3)}`, "2"), replica(`11:${own(1)}`, `15:${others(3)}`));
    assert.equal(along?.name, others(3), "another job's snapshot that both have is a moment as well");
    const broken = set(replica("1", "2"), replica(`11:${own(1)}`));
    assert.equal(broken?.name, own(1));
    assert.deepEqual(
      broken?.ahead.map(({ snapshots }) => snapshots.at(-1)?.guid),
      ["2"],
    );
  });

  test("nothing when a volume is missing or no run was complete", () => {
    assert.equal(set(replica("1"), absent), undefined);
    assert.equal(set(replica("1"), replica("2")), undefined);
    assert.equal(
      set(replica("1:auto"), replica("1:auto")),
      undefined,
      "a user's snapshots are of moments of their own",
    );
    assert.equal(set(), undefined);
  });
});

/** A volume on two nodes as far as ZFS cares. Content is a number; a receive without -F refuses what ZFS refuses. */
class World {
  #guid = 0;
  #txg = 0;
  source: Side = { exists: true, snapshots: [], modified: true, replica: false };
  target: Side = { exists: false, snapshots: [], modified: false, replica: false };

  snapshot(of: Side, name: string): void {
    if (of.exists) of.snapshots.push(this.#make(name, String(++this.#guid)));
  }

  receive(snapshots: readonly Snapshot[], base: Snapshot | undefined): void {
    if (base === undefined) assert.ok(!this.target.exists, "a whole volume is never received over another");
    else {
      assert.equal(
        this.target.snapshots.at(-1)?.guid,
        base.guid,
        "ZFS: most recent snapshot does not match incremental source",
      );
      assert.ok(!this.target.modified, "ZFS: destination has been modified");
    }
    this.target = {
      exists: true,
      modified: false,
      replica: true,
      snapshots: [...this.target.snapshots, ...snapshots.map(({ name, guid }) => this.#make(name, guid))],
    };
  }

  state(of: Side, knowsWritten: boolean): VolumeState {
    return {
      id,
      exists: of.exists,
      snapshots: of.snapshots,
      ...(of.replica ? { replicaOf: job } : {}),
      ...(knowsWritten && of.exists ? { writtenBytes: of.modified ? 1 : 0 } : {}),
    };
  }

  #make(name: string, guid: string): Snapshot {
    // Wall clocks mean nothing: here they are as wrong as can be.
    return { name, guid, createTxg: ++this.#txg, createdAt: (this.#txg * 7919) % 1000, holds: 0 };
  }
}

interface Side {
  exists: boolean;
  snapshots: Snapshot[];
  modified: boolean;
  replica: boolean;
}

type Step =
  | "run"
  | "broken run"
  | "half run"
  | "user snapshot"
  | "other job"
  | "other job cleans"
  | "turn round"
  | "target user snapshot"
  | "target lost newest"
  | "target removed"
  | "source taken back";

const steps = fc.constantFrom<Step>(
  "run",
  "run",
  "run",
  "broken run",
  "half run",
  "user snapshot",
  "other job",
  "other job cleans",
  "turn round",
  "target user snapshot",
  "target lost newest",
  "target removed",
  "source taken back",
);

test("in any history a plan is carried out without force, loses nothing that is not the job's own, and a refusal has a cause", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 40, size: "max" }), (history) => {
      const world = new World();
      let name = 0;
      for (const step of history) {
        if (step === "run" || step === "broken run" || step === "half run") runOnce(world, step, own(++name));
        else if (step === "user snapshot") world.snapshot(world.source, `user-${++name}`);
        else if (step === "other job") world.snapshot(world.source, others(++name));
        else if (step === "other job cleans")
          world.source.snapshots = world.source.snapshots.filter(
            (snapshot) => !snapshot.name.startsWith("quorate-100-1"),
          );
        else if (step === "target user snapshot") world.snapshot(world.target, `theirs-${++name}`);
        else if (step === "target lost newest") world.target.snapshots.pop();
        else if (step === "target removed")
          world.target = { exists: false, snapshots: [], modified: false, replica: false };
        else if (step === "source taken back") world.source.snapshots.pop();
        else if (world.target.exists) {
          [world.source, world.target] = [world.target, world.source];
          world.source.replica = false;
          world.source.modified = true;
          world.target.modified = false;
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

function runOnce(world: World, how: Step, name: string): void {
  const before = { source: world.source.snapshots, target: world.target.snapshots };
  const [source, target] = [world.state(world.source, true), world.state(world.target, true)];
  const plan = planVolume(job, source, target);
  if (plan.kind === "conflict") {
    const newest = target.snapshots.at(-1);
    assert.ok(
      newest === undefined || !source.snapshots.some(({ guid }) => guid === newest.guid),
      `no cause: ${plan.message}`,
    );
    return;
  }
  const left = new Set(names(leftovers(job, source, target, { source: 1, target: 1 })));
  world.source.snapshots = world.source.snapshots.filter(({ guid }) => !left.has(guid));
  const base = plan.kind === "incremental" ? plan.base : undefined;
  if (plan.kind === "incremental" && plan.beyond !== "Nothing") {
    const at = world.target.snapshots.findIndex(({ guid }) => guid === base?.guid);
    world.target.snapshots = world.target.snapshots.slice(0, at + 1);
  }
  world.snapshot(world.source, name);
  if (how === "broken run") return;
  const between = [...plan.via, ...world.source.snapshots.slice(-1)];
  if (how === "half run" && between.length < 2) return;
  world.receive(how === "half run" ? between.slice(0, -1) : between, base);
  if (how === "half run") return;

  const sides = [world.state(world.source, true), world.state(world.target, true)] as const;
  const old = planCleanup(job, ...sides, { source: 1, target: 1 }, undefined, [job, "100-1"]);
  const remove = (of: Side, refs: readonly { guid: string }[]) => {
    const gone = new Set(names(refs));
    of.snapshots = of.snapshots.filter(({ guid }) => !gone.has(guid));
  };
  remove(world.source, old.source);
  remove(world.target, old.target);
  const newest = world.source.snapshots.at(-1);
  assert.equal(world.target.snapshots.at(-1)?.guid, newest?.guid, "both sides end with the new base");
  const survive = (list: readonly Snapshot[], now: readonly Snapshot[], kept: (snapshot: Snapshot) => boolean) => {
    for (const snapshot of list.filter(kept))
      assert.ok(
        now.some(({ guid }) => guid === snapshot.guid),
        `${snapshot.name} was lost`,
      );
  };
  survive(before.source, world.source.snapshots, (snapshot) => !snapshot.name.startsWith("quorate-100-0"));
  survive(before.target, world.target.snapshots, (snapshot) => !snapshot.name.startsWith("quorate-100-"));
}

test("neither names nor clocks decide: with any other names and times the base is the same", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 12 }),
      fc.uniqueArray(fc.integer({ min: 1, max: 50 }), { maxLength: 12 }),
      fc.func(fc.integer({ min: 0, max: 2 ** 31 })),
      (here, there, mix) => {
        const plain = planVolume(job, side(...here.map(String)), replica(...there.map(String)));
        const disguise = (state: VolumeState, salt: string): VolumeState => ({
          ...state,
          snapshots: state.snapshots.map((snapshot) => ({
            ...snapshot,
            name: own(mix(snapshot.guid, salt) % 29),
            createdAt: mix(snapshot.name),
          })),
        });
        const disguised = planVolume(
          job,
          disguise(side(...here.map(String)), "s"),
          disguise(replica(...there.map(String)), "t"),
        );
        assert.equal(disguised.kind, plain.kind);
        if (plain.kind === "incremental" && disguised.kind === "incremental")
          assert.equal(disguised.base.guid, plain.base.guid);
      },
    ),
  );
});
