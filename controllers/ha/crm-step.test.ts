import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  type CrmEffect,
  type CrmState,
  type CrmView,
  crmStep,
  DEFAULT_CRM_PARAMETERS,
  initialCrmState,
  type NodeView,
  type ServiceView,
} from "./index.ts";

const node = (change: Partial<NodeView> = {}): NodeView => ({
  member: true,
  agentAlive: true,
  agentMode: "Active",
  maintenance: false,
  lease: "agent",
  fence: { proven: false, reasons: ["the lease has been unchanged for 0 ms"] },
  hardwareFencing: false,
  capacity: { cpu: 8, memory: 64e9 },
  ...change,
});
const service = (owner: string, change: Partial<ServiceView> = {}): ServiceView => ({
  requested: "Started",
  owner,
  maxRestart: 1,
  maxRelocate: 1,
  failback: true,
  running: true,
  canMoveLive: true,
  defined: { cpu: 1, memory: 1e9 },
  ...change,
});
const view = (change: Partial<CrmView> = {}): CrmView => ({
  incarnation: "t",
  quorate: true,
  sameRound: false,
  nodes: { n1: node(), n2: node(), n3: node() },
  services: { web: service("n1") },
  groups: {},
  rules: [],
  policy: { scheduler: "basic", rebalanceOnStart: false },
  requests: [],
  ...change,
});
const step = (state: CrmState, given: CrmView, now = 0): ReturnType<typeof crmStep> =>
  crmStep(state, given, now, DEFAULT_CRM_PARAMETERS);
/** Adopted, started, and its agent has said so under an armed watchdog. */
const started = (given = view()): CrmState => {
  const { state } = step(initialCrmState({}, {}, 0), given);
  const services = Object.fromEntries(
    Object.entries(given.services).map(([id, asked]) => {
      const uid = state.services[id]?.command.uid ?? "";
      return [id, { ...asked, result: { uid, outcome: "Ok" } as const }];
    }),
  );
  return step(state, { ...given, services, requests: [] }).state;
};
const answerOf = (state: CrmState) => ({ uid: state.services.web?.command.uid ?? "", outcome: "Ok" }) as const;
const kinds = (effects: readonly CrmEffect[]): string[] => effects.map((effect) => effect.type);
const gone = { member: false, agentAlive: false } as const;
const proven = { proven: true, reasons: ["proven"] } as const;

test("a node that is gone but not proven dead is left alone", () => {
  const result = step(started(), view({ nodes: { n1: node(gone), n2: node(), n3: node() } }), 60_000);
  assert.equal(result.state.nodes.n1?.state, "Unknown");
  assert.equal(result.state.services.web?.state, "Started");
  assert.deepEqual(kinds(result.effects), ["setNode"]);
});

test("nothing is recovered to a node that came back while its lease is in the CRM's hands", () => {
  const nodes = { n1: node({ ...gone, lease: "crm" }), n2: node({ lease: "crm" }), n3: node() };
  const result = step(started(), view({ nodes }), 60_000);
  assert.deepEqual(
    result.effects.filter((effect) => effect.type === "setNodeOwner"),
    [{ type: "setNodeOwner", service: "web", node: "n3", from: "n1" }],
  );
});

test("a guest that has just been moved to a node that is fenced goes on from there, not back to where it came from", () => {
  const moving = step(
    started(),
    view({ requests: [{ op: "move", service: "web", target: "n2", mode: "restart" }] }),
    1000,
  ).state;
  assert.equal(moving.services.web?.state, "Relocate");
  const nodes = { n1: node(), n2: node({ ...gone, lease: "crm" }), n3: node() };
  const services = { web: service("n1", { running: false, result: answerOf(moving) }), other: service("n1") };
  const result = step(moving, view({ nodes, services }), 60_000);
  const { node: placed, state } = result.state.services.web ?? {};
  assert.deepEqual([placed, state], ["n3", "Started"]);
  assert.deepEqual(
    result.effects.filter((effect) => effect.type === "setNodeOwner"),
    [{ type: "setNodeOwner", service: "web", node: "n3", from: "n1" }],
  );
});

test("a proven node's lease is taken first, and seen taken before anything is recovered", () => {
  const first = step(
    started(),
    view({ nodes: { n1: node({ ...gone, fence: proven }), n2: node(), n3: node() } }),
    60_000,
  );
  assert.equal(first.state.services.web?.state, "Fence");
  assert.deepEqual(kinds(first.effects), ["setNode", "setService", "takeLease"]);
  const second = step(
    first.state,
    view({ sameRound: true, nodes: { n1: node({ ...gone, fence: proven, lease: "crm" }), n2: node(), n3: node() } }),
    60_000,
  );
  assert.equal(second.state.services.web?.node, "n2");
  assert.deepEqual(kinds(second.effects), ["setNode", "setNodeOwner", "setService", "releaseLease"]);
});

test("a guest whose agent has not answered for it is not recovered by time-outs, only by a fence device", () => {
  const { state } = step(initialCrmState({}, {}, 0), view());
  const cut = (fence: NodeView["fence"]): CrmView =>
    view({ nodes: { n1: node({ ...gone, fence }), n2: node(), n3: node() } });
  assert.equal(step(state, cut(proven), 60_000).state.services.web?.state, "Started");
  assert.equal(step(state, cut({ ...proven, confirmedOff: true }), 60_000).state.services.web?.state, "Fence");
});

test("after disarm and arm a guest must be answered for again before its node can be fenced by time-outs", () => {
  const disarmed = step(
    started(),
    view({ policy: { scheduler: "basic", rebalanceOnStart: false, disarm: "Ignore" } }),
    1000,
  ).state;
  const nodes = { n1: node({ ...gone, fence: proven }), n2: node(), n3: node() };
  assert.equal(step(disarmed, view({ nodes }), 60_000).state.services.web?.state, "Started");
});

test("agents hear that the CRM has agreed to a disarm only after it is on record that their guests are unguarded", () => {
  const state = started();
  const given = view({ policy: { scheduler: "basic", rebalanceOnStart: false, disarm: "Freeze" } });
  const first = step(state, { ...given, services: { web: service("n1", { result: answerOf(state) }) } }, 20_000);
  assert.equal(first.state.disarm?.agreed, true);
  assert.equal(first.state.services.web?.guarded, false);
  assert.deepEqual(kinds(first.effects), ["setService", "setDisarm"]);
});

test("a disarm asks anew of every agent that has answered, so that none has to keep its watchdog", () => {
  const policy = { scheduler: "basic", rebalanceOnStart: false, disarm: "Ignore" } as const;
  const look = (state: CrmState, now: number) =>
    step(state, view({ policy, services: { web: service("n1", { result: answerOf(state) }) } }), now).state;
  // Adopted and unguarded: its first answer comes in the look that agrees, the second before the agent has heard of it.
  const first = look(step(initialCrmState({}, {}, 0), view()).state, 20_000);
  assert.deepEqual([first.disarm?.agreed, first.services.web?.guarded], [true, false]);
  const second = look(first, 21_000);
  const { web } = second.services;
  assert.notEqual(web?.command.uid, first.services.web?.command.uid);
  const rest = step(second, view({ policy }), 40_000);
  assert.equal(rest.state.services.web, web, "not again without an answer");
});

test("a guest that ends while the agents let go does not hold up the disarm", () => {
  const policy = { scheduler: "basic", rebalanceOnStart: false, disarm: "Ignore" } as const;
  const down = { web: service("n1", { running: false }) };
  const agreed = step(started(), view({ policy }), 20_000).state;
  assert.equal(agreed.disarm?.phase, "Disarming");
  const closed = node({ agentMode: "Disarmed" });
  const done = step(agreed, view({ policy, services: down, nodes: { n1: closed, n2: closed, n3: closed } }), 21_000);
  assert.equal(done.state.disarm?.phase, "Disarmed");
});

test("a guest that was left in Error is not recovered by time-outs after it was disabled, before its agent answered", () => {
  const failed = started();
  const { web } = failed.services;
  assert.ok(web);
  const state = { ...failed, services: { web: { ...web, state: "Error" as const } } };
  const lost = { n1: node({ ...gone, fence: proven }), n2: node(), n3: node() };
  const disabled = step(state, view({ services: { web: service("n1", { requested: "Disabled" }) } }), 20_000);
  assert.equal(disabled.state.services.web?.state, "Stopped");
  assert.equal(step(disabled.state, view({ nodes: lost }), 90_000).state.services.web?.state, "Started");
  const answered = view({ nodes: lost, services: { web: service("n1", { result: answerOf(disabled.state) }) } });
  assert.equal(step(disabled.state, answered, 90_000).state.services.web?.state, "Started", "asked to start it since");
  assert.equal(
    step(
      disabled.state,
      { ...answered, services: { web: service("n1", { requested: "Stopped", result: answerOf(disabled.state) }) } },
      90_000,
    ).state.services.web?.state,
    "Fence",
  );
});

test("a lost agent alone moves nothing, and its node is no target", () => {
  const nodes = { n1: node({ agentAlive: false }), n2: node({ agentAlive: false }), n3: node() };
  const lost = step(started(), view({ nodes }), 600_000);
  assert.deepEqual(lost.effects, []);
  const request = { op: "move", service: "web", target: "n2", mode: "live" } as const;
  const asked = step(started(), view({ nodes: { ...nodes, n1: node() }, requests: [request] }), 1000);
  assert.equal(asked.state.services.web?.state, "Started");
});

test("a node that comes back with its own lease before it was taken keeps its guests", () => {
  const fencing = step(
    started(),
    view({ nodes: { n1: node({ ...gone, fence: proven }), n2: node(), n3: node() } }),
    60_000,
  );
  const back = step(fencing.state, view(), 61_000);
  assert.equal(back.state.services.web?.state, "Started");
  assert.equal(back.state.services.web?.node, "n1");
  assert.ok(back.events.some((event) => event.kind === "fence.cancelled"));
});

test("a fence that a dead leader began for a node alone ends when the node is back", () => {
  const frozen = started();
  const state: CrmState = {
    ...frozen,
    nodes: { ...frozen.nodes, n1: { state: "Fence", lastOnline: 0 } },
    services: Object.fromEntries(
      Object.entries(frozen.services).map(([id, record]) => [id, { ...record, state: "Freeze" as const }]),
    ),
  };
  const result = step(state, view(), 1000);
  assert.equal(result.state.nodes.n1?.state, "Online");
  assert.equal(result.state.services.web?.state, "Started");
});

/** Failed over to n2, where its agent has started it. */
const failedOver = (): CrmState => started(view({ services: { web: service("n2") } }));
const away = view({ services: {}, withoutGuest: new Set(["web"]) });

test("a recovery that a dead leader had bound already is not decided again: nothing is proven of the node that has it", () => {
  const given = started();
  const { web } = given.services;
  assert.ok(web);
  const others = { a: service("n2"), b: service("n2") }; // n3 would be the better place
  const state = {
    ...given,
    services: { ...started(view({ services: others })).services, web: { ...web, state: "Fence" as const } },
  };
  const n1 = node({ ...gone, fence: proven, lease: "crm" });
  const recovered = (owner: string) =>
    step(state, view({ nodes: { n1, n2: node(), n3: node() }, services: { web: service(owner), ...others } }), 20_000);
  const kept = recovered("n2");
  assert.ok(!kinds(kept.effects).includes("setNodeOwner"), JSON.stringify(kept.effects));
  assert.deepEqual([kept.state.services.web?.state, kept.state.services.web?.node], ["Started", "n2"]);
  for (const owner of ["n1", "n9"]) assert.equal(recovered(owner).state.services.web?.node, "n3", owner);
});

test("a Guest that is deleted and made anew for another node is started on neither while it may run where it was", () => {
  const deleted = step(failedOver(), away, 20_000);
  assert.deepEqual(deleted.effects, []);
  assert.equal(deleted.state.services.web?.node, "n2");
  assert.match(deleted.events.map(({ message }) => message).join(), /apply it with spec\.nodeName n2, or delete/);
  const again = step(deleted.state, view({ services: { web: service("n1", { running: false }) } }), 60_000);
  assert.deepEqual([again.state.services.web?.state, again.state.services.web?.node], ["Error", "n2"]);
  assert.deepEqual(kinds(again.effects), ["setService"]);
  assert.match(again.events.map(({ message }) => message).join(), /bound to node n1, but it belongs to node n2/);
  const back = step(deleted.state, view({ services: { web: service("n2") } }), 60_000);
  assert.deepEqual(back.effects, [], "made anew where it runs, it goes on");
});

test("a Guest that is made anew for another node while HA is disarmed is not believed when it is armed, until it runs there", () => {
  const policy = { scheduler: "basic", rebalanceOnStart: false, disarm: "Ignore" } as const;
  const disarmed = step(step(failedOver(), { ...away, policy }, 20_000).state, { ...away, policy }, 40_000).state;
  assert.equal(disarmed.disarm?.agreed, true);
  const arm = (running: boolean) =>
    step(disarmed, view({ services: { web: service("n1", { running }) } }), 60_000).state.services.web;
  assert.deepEqual([arm(false)?.state, arm(false)?.node], ["Error", "n2"]);
  assert.deepEqual([arm(true)?.state, arm(true)?.node], ["Started", "n1"]);
});

test("a guest that is taken under HA again is left alone when its binding is not where it was, until it runs there", () => {
  const adopted = (change: Partial<ServiceView>) =>
    step(initialCrmState({}, {}, 0), view({ services: { web: service("n1", { lastNode: "n2", ...change }) } }), 20_000)
      .state.services.web;
  assert.deepEqual([adopted({ running: false })?.state, adopted({ running: false })?.node], ["Error", "n2"]);
  assert.deepEqual([adopted({ running: true })?.state, adopted({ running: true })?.node], ["Started", "n1"]);
});

test("an HAResource that is made anew between two looks is taken under HA anew, with a status of its own", () => {
  const state = started(view({ services: { web: service("n1", { uid: "a" }) } }));
  const old = view({ services: { web: service("n1", { uid: "a", result: answerOf(state) }) } });
  assert.deepEqual(step(state, old, 20_000).effects, []);
  const anew = step(state, view({ services: { web: service("n1", { uid: "b" }) } }), 20_000);
  assert.deepEqual(kinds(anew.effects), ["setService"]);
  const { web } = anew.state.services;
  assert.deepEqual([web?.uid, web?.state, web?.node, web?.guarded], ["b", "Started", "n1", undefined]);
  assert.notEqual(web?.command.uid, state.services.web?.command.uid);
});

test("Guest and HAResource that are made anew together, for another node, start on neither while the guest may run where it was", () => {
  const was = { uid: "a", guestUid: "g" };
  const state = started(view({ services: { web: service("n2", was) } }));
  const anew = (before: CrmState, change: Partial<ServiceView>) => {
    const { web } = step(before, view({ services: { web: service("n1", change) } }), 60_000).state.services;
    return [web?.state, web?.node];
  };
  const bothAway = step(step(state, away, 20_000).state, view({ services: {} }), 40_000).state;
  for (const before of [state, bothAway]) {
    assert.deepEqual(anew(before, { uid: "b", guestUid: "h", running: false }), ["Error", "n2"]);
    assert.deepEqual(anew(before, { uid: "b", guestUid: "h", running: true }), ["Started", "n1"]);
    // The Guest is the same: who bound it elsewhere and made a new HAResource has decided that.
    assert.deepEqual(anew(before, { uid: "b", guestUid: "g", running: false }), ["Started", "n1"]);
  }
  assert.ok(state.services.web);
  const stopped = { ...state, services: { web: { ...state.services.web, state: "Stopped" as const } } };
  const gone = step(stopped, view({ services: {} }), 40_000).state;
  assert.deepEqual(anew(gone, { uid: "b", guestUid: "h", running: false }), ["Started", "n1"], "it was stopped");
});

test("a service whose HAResource is deleted is dropped, whether its Guest is there or not", () => {
  assert.deepEqual(kinds(step(failedOver(), view({ services: {} }), 20_000).effects), ["dropService"]);
});

test("a guest on a live move belongs to the target when its source is fenced: it may have arrived", () => {
  const ask = { op: "move", service: "web", target: "n3", mode: "live" } as const;
  const moving = step(started(), view({ requests: [ask] }), 1000).state;
  assert.equal(moving.services.web?.state, "Migrate");
  const cut = (lease: NodeView["lease"]): CrmView =>
    view({
      sameRound: lease === "crm",
      nodes: { n1: node({ ...gone, fence: proven, lease }), n2: node(), n3: node() },
    });
  const fenced = step(step(moving, cut("agent"), 60_000).state, cut("crm"), 60_000);
  assert.deepEqual(
    fenced.effects.filter((effect) => effect.type === "setNodeOwner"),
    [{ type: "setNodeOwner", service: "web", node: "n3", from: "n1" }],
  );
  const { web } = fenced.state.services;
  assert.deepEqual([web?.state, web?.node, web?.target, web?.guarded], ["Started", "n3", undefined, false]);
});

test("a guest that does not run is moved with a restart, also where its driver could move it live", () => {
  const ask = { op: "move", service: "web", target: "n3", mode: "live" } as const;
  const down = { web: service("n1", { running: false }) };
  assert.equal(step(started(), view({ requests: [ask], services: down }), 1000).state.services.web?.state, "Relocate");
});

test("a guest whose live move was under way goes on with it when the fence is cancelled", () => {
  const ask = { op: "move", service: "web", target: "n3", mode: "live" } as const;
  const moving = step(started(), view({ requests: [ask] }), 1000).state;
  const away = view({ nodes: { n1: node({ ...gone, fence: proven }), n2: node(), n3: node() } });
  const back = step(step(moving, away, 60_000).state, view(), 61_000).state.services.web;
  assert.deepEqual([back?.state, back?.node, back?.target, back?.command.action], ["Migrate", "n1", "n3", "Migrate"]);
});

test("a guest is recovered outside its preferred nodes when it must be apart from what runs there", () => {
  const services = { db: service("n2"), web: service("n1", { group: "g" }) };
  const given = view({
    services,
    groups: { g: { nodes: { n2: 0 }, restricted: false, failback: true } },
    rules: [{ id: "apart", kind: "keep-apart", services: ["db", "web"] }],
  });
  const cut = { n1: node({ ...gone, fence: proven, lease: "crm" }), n2: node(), n3: node() };
  const first = step(started(given), { ...given, nodes: { ...cut, n1: node({ ...gone, fence: proven }) } }, 60_000);
  const second = step(first.state, { ...given, nodes: cut, sameRound: true }, 60_000);
  assert.deepEqual([second.state.services.web?.state, second.state.services.web?.node], ["Started", "n3"]);
});

test("a guest that does not start elsewhere is not moved for the balance again and again", () => {
  const policy = {
    scheduler: "static",
    rebalanceOnStart: false,
    autoRebalance: { method: "bruteforce", threshold: 0.1, holdRounds: 2, margin: 0.1 },
  } as const;
  const given = view({ policy, services: { db: service("n1"), web: service("n1") } });
  let state = started(given);
  const moves: number[] = [];
  for (let now = 20_000; now < 1_200_000; now += 10_000) {
    const services = Object.fromEntries(
      Object.entries(state.services).map(([id, { command, node: on, state: at, target }]) => {
        const outcome = at === "Started" && on !== "n1" ? "Failed" : "Ok";
        return [id, { ...service(on, { maxRelocate: 2 }), result: { uid: command.uid, outcome } as const, target }];
      }),
    );
    const { state: next, events } = step(state, { ...given, services }, now);
    if (events.some((event) => event.kind === "service.move.balance")) moves.push(now);
    state = next;
  }
  assert.ok(moves.length > 0, "it is tried");
  assert.ok(moves.length <= 2 * 3, `two guests were moved ${moves.length} times in 20 minutes: at ${moves.join()}`);
});

test("a failed move is tried again only after a growing pause", () => {
  const nodes = { n1: node({ agentMode: "Maintenance" }), n2: node(), n3: node() };
  let state = step(started(), view({ nodes }), 1000).state;
  const command = state.services.web?.command.uid ?? "";
  state = step(
    state,
    view({ nodes, services: { web: service("n1", { result: { uid: command, outcome: "Failed" } }) } }),
    2000,
  ).state;
  assert.equal(state.services.web?.state, "Started");
  assert.equal(step(state, view({ nodes }), 3000).state.services.web?.state, "Started");
  assert.equal(
    step(state, view({ nodes }), 2000 + DEFAULT_CRM_PARAMETERS.moveRetryDelay).state.services.web?.state,
    "Migrate",
  );
});

test("two guests that must be apart cannot both be sent to one node", () => {
  const services = { a: service("n1"), b: service("n2") };
  const rules = [{ id: "r", kind: "keep-apart", services: ["a", "b"] }] as const;
  const requests = [
    { op: "move", service: "a", target: "n3", mode: "live" },
    { op: "move", service: "b", target: "n3", mode: "live" },
  ] as const;
  const result = step(started(view({ services, rules })), view({ services, rules, requests }), 1000);
  assert.equal(result.state.services.a?.target, "n3");
  assert.equal(result.state.services.b?.state, "Started");
});

test("the operator's move clears the home that maintenance left", () => {
  const record = started().services.web;
  assert.ok(record);
  const state = { ...started(), services: { web: { ...record, node: "n2", home: "n1" } } };
  const nodes = { n1: node({ agentMode: "Maintenance" }), n2: node(), n3: node() };
  const request = { op: "move", service: "web", target: "n3", mode: "live" } as const;
  const result = step(state, view({ nodes, services: { web: service("n2") }, requests: [request] }), 1000);
  assert.equal(result.state.services.web?.home, undefined);
});

const anyNode = fc
  .record({
    member: fc.boolean(),
    agentAlive: fc.boolean(),
    agentMode: fc.constantFrom("Idle", "Active", "Maintenance", "Restart", "Shutdown", "Disarmed"),
    lease: fc.constantFrom("agent", "crm", "none"),
    proven: fc.boolean(),
    hardwareFencing: fc.boolean(),
  })
  .map(({ proven: isProven, ...given }) =>
    node({ ...(given as Partial<NodeView>), fence: { proven: isProven, reasons: [] } }),
  );
const anyService = fc.record({
  requested: fc.constantFrom("Started", "Stopped", "Disabled", "Ignored"),
  answer: fc.constantFrom("none", "Ok", "Failed", "WrongNode"),
  lock: fc.constantFrom(undefined, "backup"),
});
const anyRound = fc.record({
  nodes: fc.tuple(anyNode, anyNode, anyNode),
  services: fc.tuple(anyService, anyService, anyService),
  disarm: fc.constantFrom(undefined, "Freeze", "Ignore"),
  move: fc.constantFrom(undefined, "n1", "n2", "n3"),
  rule: fc.constantFrom("none", "keep-together", "keep-apart"),
  quorate: fc.boolean(),
});

test("in any history: no recovery without the lease in the CRM's hands, no two commands at once, no doubled uid", () => {
  fc.assert(
    fc.property(fc.array(anyRound, { minLength: 1, maxLength: 15, size: "max" }), (rounds) => {
      let state = initialCrmState({}, {}, 0);
      const owners = new Map<string, string>();
      const uids = new Set<string>();
      rounds.forEach((given, i) => {
        const [n1, n2, n3] = given.nodes;
        const nodes = { n1, n2, n3 };
        const services = Object.fromEntries(
          given.services.map((asked, j) => {
            const id = `s${j}`;
            const uid = state.services[id]?.command.uid;
            const result =
              uid === undefined || asked.answer === "none" ? {} : { result: { uid, outcome: asked.answer as "Ok" } };
            return [
              id,
              service(owners.get(id) ?? `n${j + 1}`, {
                requested: asked.requested as "Started",
                ...result,
                ...(asked.lock ? { lock: asked.lock } : {}),
              }),
            ];
          }),
        );
        const rules =
          given.rule === "none" ? [] : [{ id: "r", kind: given.rule as "keep-apart", services: ["s0", "s1"] }];
        const requests =
          given.move === undefined ? [] : [{ op: "move", service: "s0", target: given.move, mode: "live" } as const];
        const policy = {
          scheduler: "basic",
          rebalanceOnStart: false,
          ...(given.disarm === undefined ? {} : { disarm: given.disarm as "Freeze" }),
        } as const;
        const before = state;
        const result = step(
          before,
          view({ quorate: given.quorate, nodes, services, rules, requests, policy }),
          i * 5000,
        );
        if (!given.quorate) assert.deepEqual(result.effects, []);
        const written = new Set<string>();
        const bound = new Set<string>();
        for (const effect of result.effects) {
          if (effect.type === "setService") {
            assert.ok(!written.has(effect.service), "one write for a service and step");
            written.add(effect.service);
            const { command } = effect.record;
            if (command.uid !== before.services[effect.service]?.command.uid) {
              assert.ok(!uids.has(command.uid), `uid ${command.uid} twice`);
              uids.add(command.uid);
            }
          }
          if (effect.type === "takeLease") assert.ok(nodes[effect.node as "n1"].fence.proven);
          if (effect.type !== "setNodeOwner") continue;
          assert.ok(!bound.has(effect.service), `${effect.service} was given away twice in one step`);
          bound.add(effect.service);
          assert.equal(result.state.services[effect.service]?.node, effect.node, "record and binding name one node");
          const old = before.services[effect.service];
          const moved = old?.target === effect.node && services[effect.service]?.result?.outcome === "Ok";
          // One that is adopted in this very step is where its binding says.
          const wasThere =
            effect.from === (old?.node ?? services[effect.service]?.owner) || effect.node === old?.target;
          const fenced = wasThere && (nodes[effect.from as "n1"].lease === "crm" || old?.state === "Recovery");
          assert.ok(
            moved || fenced,
            `${effect.service} was given from ${effect.from} to ${effect.node} without fence or finished move`,
          );
          owners.set(effect.service, effect.node);
        }
        assert.ok(
          !result.events.some((event) => event.kind === "service.skipped"),
          JSON.stringify(result.events.filter((event) => event.kind === "service.skipped")),
        );
        state = result.state;
      });
    }),
    { numRuns: 2000 },
  );
});
