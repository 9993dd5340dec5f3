import assert from "node:assert/strict";
import { test } from "node:test";
import { parseConfig, questionLimitMs } from "./config.ts";

const given = {
  device: "/dev/watchdog0",
  timeoutSeconds: 10,
  proofMaxAgeMilliseconds: 2000,
  corosyncTimeoutMilliseconds: 1500,
};
const parse = (change: object) => parseConfig(JSON.stringify({ ...given, ...change }));

test("what need not be given has a default", () => {
  assert.deepEqual(parse({}), {
    ...given,
    tokenMilliseconds: 3000,
    settleMilliseconds: 5000,
    descriptorStore: "Required",
    sysfs: "/sys/class/watchdog",
  });
});

test("a configuration that cannot keep a healthy host alive, or is not understood, is refused by the field's name", () => {
  for (const [change, message] of [
    [{ device: "watchdog0" }, /device must be an absolute path/],
    [{ timeoutSeconds: 2 }, /timeoutSeconds must be a whole number from 3/],
    [{ timeoutSeconds: "10" }, /timeoutSeconds/],
    [{ timeoutSeconds: 9.5 }, /timeoutSeconds/],
    [{ proofMaxAgeMilliseconds: 9001 }, /timeoutSeconds is too short.*10001 ms/],
    [{ corosyncTimeoutMilliseconds: 3001 }, /corosyncTimeoutMilliseconds must not be more/],
    [{ timeoutSecond: 3 }, /unknown field timeoutSecond/],
    [{ descriptorStore: "no" }, /descriptorStore must be/],
  ] as const) {
    assert.throws(() => parse(change), { message }, JSON.stringify(change));
  }
  assert.throws(() => parseConfig("[]"));
  assert.throws(() => parseConfig(""));
});

test("a question may take longer than a proof lives, but two of them, and the pause between, not longer than the token", () => {
  assert.equal(questionLimitMs(1000, 3650), 1725);
  assert.ok(2 * questionLimitMs(1000, 3650) + 50 < 3650);
  assert.equal(questionLimitMs(1000, 1000), 1000);
});
