import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { CorosyncConfig } from "./corosync-config.ts";
import { renderCorosync } from "./render.ts";

const absent =
  spawnSync("corosync", ["-v"]).error !== undefined && "SKIPPED: there is no corosync here (apt-get install corosync)";

const nodes = [1, 2, 3].map((n) => ({
  // Corosync looks for its own host among the nodes.
  name: n === 1 ? hostname() : `n${n}`,
  nodeId: n,
  votes: n === 3 ? 0 : 1,
  addresses: [
    { link: 0, address: `127.0.0.${n}` },
    { link: 5, address: n === 1 ? "::1" : `fd00:6::${n}` },
  ],
}));
const base: CorosyncConfig = {
  clusterName: "lab",
  cipher: "aes256",
  hash: "sha256",
  tokenMilliseconds: 3000,
  tokenCoefficientMilliseconds: 125,
  realtime: false,
  links: [
    { number: 0, priority: 255 },
    { number: 5, priority: 0 },
  ],
  nodes,
};
const variants: [string, CorosyncConfig][] = [
  ["two links, a node without a vote", base],
  [
    "AES-128, SHA-512, a single link 7",
    {
      ...base,
      cipher: "aes128",
      hash: "sha512",
      links: [{ number: 7, priority: 1 }],
      nodes: nodes.map((node) => ({ ...node, addresses: [{ link: 7, address: `127.0.0.${node.nodeId}` }] })),
    },
  ],
  ["the votes to expect by override", { ...base, expectedVotes: 1 }],
  [
    "a QDevice",
    {
      ...base,
      nodes: nodes.slice(0, 2),
      qdevice: { host: "qnetd.lab", port: 5403, algorithm: "ffsplit", tieBreaker: "lowest", votes: 1 },
    },
  ],
];

/** What `corosync -t` says to a text: undefined when it takes it. */
function refusal(text: string): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "quorate-render-"));
  try {
    const file = join(folder, "corosync.conf");
    const key = join(folder, "authkey");
    writeFileSync(key, Buffer.alloc(256, 7), { mode: 0o600 });
    // The key of this test, and messages where they can be seen.
    writeFileSync(
      file,
      text.replace("totem {\n", `totem {\n  keyfile: ${key}\n`).replace("to_stderr: no", "to_stderr: yes"),
    );
    const { status, stderr } = spawnSync("corosync", ["-t", "-f", "-c", file], { timeout: 20_000, encoding: "utf8" });
    return status === 0 ? undefined : `status ${status}: ${stderr}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const [name, config] of variants) {
  test(`corosync takes the text: ${name}`, { skip: absent }, () =>
    assert.equal(refusal(renderCorosync(config, 3)), undefined),
  );
}

test("and refuses a text that is wrong, so that the tests above mean something", { skip: absent }, () => {
  assert.match(
    refusal(renderCorosync(base, 3).replace("crypto_cipher: aes256", "crypto_cipher: rot13")) ?? "",
    /Invalid cipher/,
  );
});
