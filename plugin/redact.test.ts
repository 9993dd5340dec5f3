import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { REMOVED, redactObject, redactText } from "./redact.ts";

describe("what leaves in a support bundle", () => {
  it("has no copies of itself, field managers, or annotations that look secret", () => {
    const metadata = {
      name: "n1",
      managedFields: [{ manager: "quorate-ha" }],
      annotations: {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "example.com/api-token": "abc",
        "quorate.dev/membership": '{"ringId":"1.6b"}',
      },
    };
    assert.deepEqual(redactObject({ metadata }), {
      metadata: { name: "n1", annotations: { "quorate.dev/membership": '{"ringId":"1.6b"}' } },
    });
  });

  it("has no values under secret names, at any depth, and keeps what only sounds like it", () => {
    const spec = {
      tokenMilliseconds: 3000,
      fencing: {
        devices: [
          {
            name: "ipmi",
            parameters: { ip: "10.0.0.9", passwd: "hunter2", login: "root" },
            secretRef: { name: "n1-ipmi" },
          },
        ],
      },
      containers: [
        {
          env: [
            { name: "DB_PASSWORD", value: "hunter2" },
            { name: "LEVEL", value: "info" },
          ],
        },
      ],
    };
    const redacted = JSON.stringify(redactObject({ spec }));
    assert.equal(redacted.includes("hunter2"), false, redacted);
    assert.match(redacted, /"tokenMilliseconds":3000/);
    assert.match(redacted, /"secretRef":\{"name":"n1-ipmi"\}/);
    assert.match(redacted, /\{"name":"LEVEL","value":"info"\}/);
  });

  it("has no keys, tokens and passwords in its texts", () => {
    for (const secret of [
      "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
      "-----BEGIN PRIVATE KEY-----\ncut off in the mid",
      "Authorization: Bearer abcdefgh.ijklmnop",
      "token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl",
      'fence_ipmilan --password="hunter2"',
      "passwd=hunter2 ip=10.0.0.9",
    ]) {
      const text = redactText(`before ${secret} after`);
      assert.match(text, new RegExp(REMOVED));
      assert.doesNotMatch(text, /MHcCAQEE|cut off|abcdefgh|eyJ|hunter2/);
    }
    assert.equal(redactText("web1 started on n1 with token 3000 ms"), "web1 started on n1 with token 3000 ms");
  });
});
