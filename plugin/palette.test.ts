import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { wantsColour } from "./palette.ts";

describe("colour", () => {
  it("is for terminals whose user did not refuse it", () => {
    const terminal = { isTTY: true };
    assert.equal(wantsColour(terminal, { TERM: "xterm" }), true);
    assert.equal(wantsColour(terminal, { NO_COLOR: "" }), true);
    assert.equal(wantsColour(terminal, { NO_COLOR: "1" }), false);
    assert.equal(wantsColour(terminal, { TERM: "dumb" }), false);
    assert.equal(wantsColour({}, { TERM: "xterm", CI: "true", FORCE_COLOR: "1" }), false);
  });
});
