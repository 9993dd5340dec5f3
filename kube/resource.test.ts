import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { microTime } from "./micro-time.ts";
import { formatKey, keyOf, parseKey } from "./resource.ts";

const name = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,20}$/);

describe("keys", () => {
  it("are read back as they were written", () => {
    fc.assert(
      fc.property(name, fc.option(name, { nil: undefined }), (objectName, namespace) => {
        const key = namespace === undefined ? { name: objectName } : { namespace, name: objectName };
        assert.deepEqual(parseKey(formatKey(key)), key);
        assert.equal(keyOf({ metadata: key }), formatKey(key));
      }),
    );
  });
});

describe("a MicroTime", () => {
  it("has six digits after the second", () => {
    assert.equal(microTime(Date.UTC(2026, 10, 21, 8, 5, 3, 42)), "2026-11-21T08:05:03.042000Z");
  });
});
