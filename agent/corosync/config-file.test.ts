import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { describe, test } from "node:test";
import type { Clock } from "../../clock.ts";
import { CommandError, FakeHost } from "../host/index.ts";
import { AUTHKEY_PATH, applyConfig, BACKUP_PATH, CONF_PATH, type WantedConfig } from "./config-file.ts";
import { CMAP, NOT_QUORATE, QUORATE, sampleConf } from "./testing/recorded.ts";

const KEY = Buffer.alloc(256, 1);

/** Time passes only by sleeping. */
function virtualClock(): Clock {
  let now = 0;
  return {
    elapsedMs: () => now,
    wallMs: () => now,
    sleep: async (ms) => {
      now += ms;
    },
  };
}

/** A host whose corosync, when it runs, loads the file on a reload unless `deaf`. */
class CorosyncHost extends FakeHost {
  runningVersion = 4;
  nodeId = 1;
  deaf: "no" | "silently" | "with an error" = "no";

  constructor(state: "quorate" | "not quorate" | "stopped" | "frozen") {
    super();
    const none = (reason: string) => new CommandError("transient", reason, "why", { stdout: "", stderr: "" });
    const answers = {
      quorate: QUORATE,
      "not quorate": { exitCode: 2, stdout: NOT_QUORATE },
      stopped: none("CommandFailed"),
      frozen: none("CommandTimeout"),
    };
    this.on(["corosync-quorumtool"], answers[state]);
    this.on(["corosync-cmapctl"], () =>
      CMAP.replace(
        "config_version (u64) = 4\ntotem.crypto",
        `config_version (u64) = ${this.runningVersion}\ntotem.crypto`,
      ).replace("this_node_id (u32) = 1", `this_node_id (u32) = ${this.nodeId}`),
    );
    this.on(["corosync-cfgtool", "-R"], async () => {
      if (this.deaf === "with an error")
        return { exitCode: 7, stderr: "Could not reload configuration. Error CS_ERR_INVALID_PARAM" };
      const conf = await this.text(CONF_PATH);
      if (this.deaf === "no") this.runningVersion = Number(/config_version: (\d+)/.exec(conf)?.[1]);
      return "Reloading corosync.conf...\nDone\n";
    });
  }

  async text(path: string): Promise<string> {
    return String(await this.readFile(path));
  }

  reloads(): number {
    return this.commands.filter((command) => command === "corosync-cfgtool -R").length;
  }
}

async function present(host: CorosyncHost, version: number): Promise<string> {
  const conf = sampleConf(version);
  await host.writeFileAtomic(CONF_PATH, conf, { mode: 0o644 });
  await host.writeFileAtomic(AUTHKEY_PATH, KEY, { mode: 0o400 });
  return conf;
}

const wanted = (version: number, more: Partial<WantedConfig> = {}): WantedConfig => ({
  conf: sampleConf(version),
  version,
  nodeId: 1,
  ...more,
});

describe("a configuration is applied", () => {
  test("the first one of a host: key and file are written, nothing is loaded", async () => {
    using host = new CorosyncHost("stopped");
    assert.deepEqual(await applyConfig(host, wanted(1, { authkey: KEY }), virtualClock()), {
      outcome: "Written",
      version: 1,
    });
    assert.equal(await host.text(CONF_PATH), sampleConf(1));
    assert.ok((await host.readFile(AUTHKEY_PATH))?.equals(KEY));
    assert.equal(statSync(host.path(AUTHKEY_PATH)).mode & 0o777, 0o400);
    assert.equal(host.reloads(), 0);
  });

  test("a newer one is written, loaded and verified; the one before is kept", async () => {
    using host = new CorosyncHost("quorate");
    const before = await present(host, 4);
    assert.deepEqual(await applyConfig(host, wanted(5, { authkey: KEY }), virtualClock()), {
      outcome: "Loaded",
      version: 5,
    });
    assert.equal(await host.text(CONF_PATH), sampleConf(5));
    assert.equal(await host.text(BACKUP_PATH), before);
    assert.equal(host.reloads(), 1);
  });

  test("what is there and runs is left alone", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    assert.deepEqual(await applyConfig(host, wanted(4, { authkey: KEY }), virtualClock()), {
      outcome: "Unchanged",
      version: 4,
    });
    assert.equal(host.reloads(), 0);
  });

  test("what is there but was never loaded, because the agent died in between, is loaded", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 5);
    assert.deepEqual(await applyConfig(host, wanted(5), virtualClock()), { outcome: "Loaded", version: 5 });
  });
});

describe("nothing is written", () => {
  async function refused(
    host: CorosyncHost,
    config: WantedConfig,
    expected: { reason: string; message?: RegExp },
  ): Promise<void> {
    const before = await host.text(CONF_PATH);
    await assert.rejects(applyConfig(host, config, virtualClock()), expected);
    assert.equal(await host.text(CONF_PATH), before, "the file changed");
    assert.equal(host.reloads(), 0);
  }

  test("on a node that is not quorate, frozen, or stopped with a configuration", async () => {
    for (const state of ["not quorate", "frozen", "stopped"] as const) {
      using host = new CorosyncHost(state);
      await present(host, 4);
      await refused(host, wanted(5), { reason: "NodeNotQuorate" });
    }
  });

  test("unless it is permitted: Stopped covers a stopped node only, Override all", async () => {
    for (const [state, permit, allowed] of [
      ["stopped", "Stopped", true],
      ["not quorate", "Stopped", false],
      ["frozen", "Stopped", false],
      ["not quorate", "Override", true],
      ["stopped", "Override", true],
    ] as const) {
      using host = new CorosyncHost(state);
      await present(host, 4);
      if (allowed) await applyConfig(host, wanted(5, { permit }), virtualClock());
      else await refused(host, wanted(5, { permit }), { reason: "NodeNotQuorate" });
    }
  });

  test("of a version that is not newer", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    await refused(host, wanted(3), { reason: "ConfigVersionNotNewer", message: /config_version 4/ });
    await refused(host, { ...wanted(4), conf: sampleConf(4, [1, 2]) }, { reason: "ConfigVersionNotNewer" });
  });

  test("of another cluster", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    await refused(
      host,
      { ...wanted(5), conf: sampleConf(5, [1], "other") },
      { reason: "OtherCluster", message: /"ring".*"other"/ },
    );
  });

  test("of a text that is empty, has another version, or lacks this node", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    await refused(host, { ...wanted(5), conf: "" }, { reason: "ConfigInvalid" });
    await refused(
      host,
      { ...wanted(5), conf: sampleConf(6) },
      { reason: "ConfigInvalid", message: /config_version 6, expected was 5/ },
    );
    await refused(host, wanted(5, { nodeId: 9 }), { reason: "ConfigInvalid", message: /node id 9/ });
    await refused(host, wanted(5, { authkey: Buffer.alloc(10) }), { reason: "ConfigInvalid", message: /10 bytes/ });
  });

  test("with another key under a running corosync; the key is not in the message", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    await refused(host, wanted(5, { authkey: Buffer.alloc(256, "k") }), {
      reason: "AuthKeyInUse",
      message: /^(?!.*kkk)/,
    });
  });
});

describe("a configuration that corosync does not take", () => {
  test("is replaced by the one before, which is loaded again", async () => {
    using host = new CorosyncHost("quorate");
    const before = await present(host, 4);
    host.deaf = "silently";
    await assert.rejects(applyConfig(host, wanted(5), virtualClock()), {
      reason: "ConfigNotLoaded",
      message: /did not take config_version 5: corosync runs config_version 4\. config_version 4 was put back and runs/,
    });
    assert.equal(await host.text(CONF_PATH), before);
    assert.equal(host.reloads(), 2);
  });

  test("with an error of the reload: said, and that the file was put back", async () => {
    using host = new CorosyncHost("quorate");
    const before = await present(host, 4);
    host.deaf = "with an error";
    await assert.rejects(applyConfig(host, wanted(5), virtualClock()), {
      reason: "ConfigNotLoaded",
      message: /CS_ERR_INVALID_PARAM.*was put back but does not run/,
    });
    assert.equal(await host.text(CONF_PATH), before);
  });

  test("when an earlier call had written it already: the backup is put back", async () => {
    using host = new CorosyncHost("quorate");
    const before = await present(host, 4);
    await host.writeFileAtomic(CONF_PATH, sampleConf(5), { mode: 0o644, backup: BACKUP_PATH });
    host.deaf = "silently";
    await assert.rejects(applyConfig(host, wanted(5), virtualClock()), {
      reason: "ConfigNotLoaded",
      message: /config_version 4 was put back/,
    });
    assert.equal(await host.text(CONF_PATH), before);
  });

  test("also when it runs under another node id than this host's", async () => {
    using host = new CorosyncHost("quorate");
    await present(host, 4);
    host.nodeId = 2;
    await assert.rejects(applyConfig(host, wanted(5), virtualClock()), {
      reason: "ConfigNotLoaded",
      message: /runs as node id 2, not 1/,
    });
  });
});
