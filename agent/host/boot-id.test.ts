import assert from "node:assert/strict";
import { test } from "node:test";
import { bootIdOf } from "./boot-id.ts";

const ID = "7f6d4f64-94be-4c38-a0f3-0a3a6ee02a35\n";
const stat = (name: string, started: string) =>
  `1 (${name}) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 ${started} 170000000 3000`;

test("two boots of one kernel differ by the start of PID 1, whatever its name", () => {
  assert.equal(bootIdOf(ID, stat("systemd", "42")), "7f6d4f64-94be-4c38-a0f3-0a3a6ee02a35.42");
  assert.equal(bootIdOf(ID, stat("a (b) c", "4200")), "7f6d4f64-94be-4c38-a0f3-0a3a6ee02a35.4200");
});

test("what cannot be read names no boot", () => {
  for (const [id, line] of [
    ["", stat("systemd", "42")],
    [ID, ""],
    [ID, "1 (systemd) S 0"],
  ] as const) {
    assert.throws(() => bootIdOf(id, line), { reason: "NoBootId" });
  }
});
