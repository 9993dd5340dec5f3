import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { systemClock } from "../clock.ts";
import { type ControlPlane, startControlPlane, whyNoControlPlane } from "../e2e/controlplane/index.ts";
import { KubeClient } from "./client.ts";
import { LEASES } from "./core-types.ts";
import { leaseHolder } from "./leases.ts";

const LEASE_MS = 4_000;

/** A candidate in a process of its own. It says when its signal came and went, and acts every 10 ms while it leads. */
const PROGRAM = `
  import { KubeClient, LeaderElection } from ${JSON.stringify(join(import.meta.dirname, "index.ts"))};
  import { systemClock } from ${JSON.stringify(join(import.meta.dirname, "../clock.ts"))};
  const [kubeconfig, lease, identity] = process.argv.slice(1);
  const say = (what, more = {}) => process.stdout.write(JSON.stringify({ what, atMs: systemClock.elapsedMs(), ...more }) + "\\n");
  const election = new LeaderElection({
    client: KubeClient.fromKubeconfig(kubeconfig), namespace: "default", name: lease, identity,
    leaseMs: ${LEASE_MS}, renewDeadlineMs: 2_400, renewMs: 400,
  });
  process.on("SIGTERM", () => election.stop());
  say("ready", { identity: election.identity });
  await election.run(async (signal) => {
    say("leads", { epoch: election.epoch });
    signal.addEventListener("abort", () => say("ends"));
    while (!signal.aborted) {
      if (election.isLeading()) say("acts");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });
  say("stopped");
`;

class Candidate {
  readonly name: string;
  readonly child: ChildProcess;
  readonly said: { what: string; atMs: number; epoch?: number; identity?: string }[] = [];
  #complaints = "";

  constructor(name: string, kubeconfig: string, lease: string) {
    this.name = name;
    this.child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", PROGRAM, kubeconfig, lease, name],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, QUORATE_LOG_LEVEL: "error" } },
    );
    if (this.child.stdout) createInterface(this.child.stdout).on("line", (line) => this.said.push(JSON.parse(line)));
    this.child.stderr?.on("data", (text) => {
      this.#complaints += text;
    });
  }

  async until(what: string, timeoutMs: number, times = 1): Promise<number> {
    const endMs = systemClock.elapsedMs() + timeoutMs;
    for (;;) {
      const at = this.said.filter((one) => one.what === what)[times - 1]?.atMs;
      if (at !== undefined) return at;
      assert.ok(
        systemClock.elapsedMs() < endMs,
        `${this.name} did not say "${what}" within ${timeoutMs} ms\n${this.#complaints}`,
      );
      await systemClock.sleep(20);
    }
  }

  acts(): number[] {
    return this.said.filter(({ what }) => what === "acts").map(({ atMs }) => atMs);
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await exited;
  }
}

describe("leader election on a real API server", { skip: whyNoControlPlane() ?? false, timeout: 300_000 }, () => {
  let controlPlane: ControlPlane;
  let client: KubeClient;
  let lease: string;
  let a: Candidate;
  let b: Candidate;
  let count = 0;
  before(async () => {
    controlPlane = await startControlPlane({ useExisting: false });
    client = KubeClient.fromKubeconfig(controlPlane.kubeconfig);
  });
  after(() => controlPlane?.stop());

  /** a leads, b waits. */
  beforeEach(async () => {
    lease = `election-${++count}`;
    a = new Candidate("a", controlPlane.kubeconfig, lease);
    await a.until("leads", 20_000);
    b = new Candidate("b", controlPlane.kubeconfig, lease);
    await b.until("ready", 20_000);
    // Long enough for b to lead, if it could.
    await systemClock.sleep(1_000);
    assert.equal(b.acts().length, 0);
  });
  afterEach(async () => {
    await Promise.all([a.end(), b.end()]);
    const other = [a.acts(), b.acts()];
    // Terms do not interleave: whoever acted last before a time t is the only one to have acted around t.
    const all = other.flatMap((acts, who) => acts.map((atMs) => ({ who, atMs }))).sort((x, y) => x.atMs - y.atMs);
    const changes = all.filter((act, i) => i > 0 && act.who !== all[i - 1]?.who).length;
    assert.ok(changes <= 2, `leadership changed ${changes} times: two led at once`);
  });

  it("a killed leader is followed within the lease's duration", async (t) => {
    const killedMs = systemClock.elapsedMs();
    await a.end();
    const leadsMs = await b.until("leads", LEASE_MS + 3_000);
    const lastActMs = a.acts().at(-1) ?? 0;
    t.diagnostic(`the next leads ${leadsMs - killedMs} ms after the kill`);
    assert.ok(leadsMs - killedMs <= LEASE_MS + 1_500);
    assert.ok(leadsMs - lastActMs >= LEASE_MS - 1_000, "not before the lease has run out");
    assert.equal(b.said.find(({ what }) => what === "leads")?.epoch, 2);
  });

  it("a clean stop hands over in less than a second", async (t) => {
    const stoppedMs = systemClock.elapsedMs();
    a.child.kill("SIGTERM");
    const leadsMs = await b.until("leads", 5_000);
    const endedMs = await a.until("ends", 1_000);
    t.diagnostic(`the next leads ${leadsMs - stoppedMs} ms after the signal`);
    assert.ok(leadsMs - stoppedMs < 1_000, `${leadsMs - stoppedMs} ms`);
    assert.ok(endedMs <= leadsMs);
    await a.until("stopped", 5_000);
  });

  it("a frozen leader does not act again when it wakes up", async () => {
    a.child.kill("SIGSTOP");
    const leadsMs = await b.until("leads", LEASE_MS + 3_000);
    await systemClock.sleep(500);
    a.child.kill("SIGCONT");
    await a.until("ends", 2_000);
    await systemClock.sleep(500);
    assert.deepEqual(
      a.acts().filter((atMs) => atMs >= leadsMs),
      [],
    );
    assert.ok(
      b.acts().some((atMs) => atMs > leadsMs + 500),
      "the other leads on",
    );
  });

  it("while the API server is frozen nobody leads for longer than the deadline; then one does again", async (t) => {
    const frozenMs = systemClock.elapsedMs();
    controlPlane.pauseApiServer();
    let endedMs: number;
    try {
      endedMs = await a.until("ends", 5_000);
      await systemClock.sleep(LEASE_MS);
      assert.equal(b.acts().length, 0);
    } finally {
      controlPlane.resumeApiServer();
    }
    const resumedMs = systemClock.elapsedMs();
    assert.ok(endedMs - frozenMs <= 2_400 + 300, `ended after ${endedMs - frozenMs} ms`);
    const leadsMs = await Promise.any([a.until("leads", 15_000, 2), b.until("leads", 15_000)]);
    t.diagnostic(
      `ended ${endedMs - frozenMs} ms after the freeze, one leads again ${leadsMs - resumedMs} ms after its end`,
    );
  });

  it("after the API server was killed and started again exactly one leads", async () => {
    const holder = leaseHolder((await client.get(LEASES, { namespace: "default", name: lease })) ?? never());
    assert.equal(holder, a.said[0]?.identity);
    await controlPlane.stopApiServer("SIGKILL");
    await controlPlane.startApiServer();
    // Both have had the time to find the server and to fight for the Lease.
    await systemClock.sleep(LEASE_MS * 2);
    const leading = [a, b].filter((one) => (one.acts().at(-1) ?? 0) > systemClock.elapsedMs() - 500);
    assert.equal(leading.length, 1, `leading: ${leading.map(({ name }) => name).join(", ") || "none"}`);
  });
});

function never(): never {
  throw new Error("the Lease is there");
}
