import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { QuorateError } from "../../errors.ts";
import type { CorosyncConfig } from "./corosync-config.ts";
import { renderCorosync } from "./render.ts";

const config: CorosyncConfig = {
  clusterName: "lab",
  cipher: "aes256",
  hash: "sha256",
  tokenMilliseconds: 3000,
  tokenCoefficientMilliseconds: 125,
  realtime: true,
  links: [
    { number: 0, priority: 10 },
    { number: 3, priority: 1 },
  ],
  nodes: [
    {
      name: "n1",
      nodeId: 1,
      votes: 1,
      addresses: [
        { link: 0, address: "10.6.0.1" },
        { link: 3, address: "fd00:6::1", hostName: "n1.lab" },
      ],
    },
    {
      name: "n2.example.org",
      nodeId: 4,
      votes: 0,
      addresses: [
        { link: 0, address: "10.6.0.2" },
        { link: 3, address: "fd00:6::2" },
      ],
    },
  ],
};

test("a configuration as text", () => {
  assert.equal(
    renderCorosync(config, 7),
    `# Written by Quorate; changes made here are lost.
totem {
  version: 2
  cluster_name: lab
  config_version: 7
  transport: knet
  link_mode: passive
  crypto_cipher: aes256
  crypto_hash: sha256
  token: 3000
  token_coefficient: 125
  interface {
    linknumber: 0
    knet_link_priority: 10
    mcastport: 5405
  }
  interface {
    linknumber: 3
    knet_link_priority: 1
    mcastport: 5408
  }
}
nodelist {
  node {
    name: n1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 10.6.0.1
    ring3_addr: fd00:6::1
  }
  node {
    name: n2.example.org
    nodeid: 4
    quorum_votes: 0
    ring0_addr: 10.6.0.2
    ring3_addr: fd00:6::2
  }
}
quorum {
  provider: corosync_votequorum
}
logging {
  to_stderr: no
  to_logfile: no
  to_syslog: yes
  debug: off
}
`,
  );
});

describe("what is only there when asked for", () => {
  test("a QDevice, with TLS required", () => {
    const text = renderCorosync(
      { ...config, qdevice: { host: "qnetd.lab", port: 5403, algorithm: "ffsplit", tieBreaker: "2", votes: 1 } },
      1,
    );
    assert.match(
      text,
      /quorum \{\n {2}provider: corosync_votequorum\n {2}device \{\n {4}model: net\n {4}votes: 1\n {4}net \{\n {6}host: qnetd.lab\n {6}port: 5403\n {6}tls: required\n {6}algorithm: ffsplit\n {6}tie_breaker: 2\n/,
    );
  });
  test("a tie breaker only where ties are broken by it", () => {
    const text = renderCorosync(
      { ...config, qdevice: { host: "fd00::9", port: 5403, algorithm: "lms", tieBreaker: "lowest", votes: 1 } },
      1,
    );
    assert.match(text, /host: fd00::9/);
    assert.doesNotMatch(text, /tie_breaker/);
  });
  test("the votes to expect by override", () => {
    assert.match(
      renderCorosync({ ...config, expectedVotes: 1 }, 1),
      /quorum \{\n {2}provider: corosync_votequorum\n {2}expected_votes: 1\n\}/,
    );
  });
  test("no real-time scheduling", () => {
    assert.match(renderCorosync({ ...config, realtime: false }, 1), /system \{\n {2}sched_rr: no\n\}/);
    assert.doesNotMatch(renderCorosync(config, 1), /sched_rr/);
  });
  test("never two_node, which lets both halves be quorate", () =>
    assert.doesNotMatch(renderCorosync(config, 1), /two_node/));
});

test("nothing can be smuggled in: whatever a name holds, the text has the lines it should, or it is refused", () => {
  const [first, ...others] = config.nodes;
  assert.ok(first);
  const lines = renderCorosync(config, 1).split("\n").length;
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.constantFrom("a\nb", "a }", "a{", "", " ", "-a", "a:b")), (name) => {
      try {
        const text = renderCorosync({ ...config, nodes: [{ ...first, name }, ...others] }, 1);
        assert.equal(text.split("\n").length, lines);
        assert.ok(text.includes(`    name: ${name}\n`));
      } catch (error) {
        assert.ok(error instanceof QuorateError && error.reason === "UnfitConfig", String(error));
      }
    }),
  );
  const address = (text: string) => ({
    ...config,
    nodes: [{ ...first, addresses: [{ link: 0, address: text }] }, ...others],
  });
  for (const text of ["n1.lab", "10.6.0.1 }", ""])
    assert.throws(() => renderCorosync(address(text), 1), { reason: "UnfitConfig" });
});
