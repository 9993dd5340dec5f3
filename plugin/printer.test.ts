import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { printerOn } from "./printer.ts";

describe("what is followed", () => {
  const captured = (isTTY: boolean) => {
    const written: string[] = [];
    return { written, output: { isTTY, write: (text: string) => written.push(text) } };
  };

  it("overwrites its progress on a terminal", () => {
    const { written, output } = captured(true);
    const printer = printerOn(output);
    printer.progress("1 %");
    printer.progress("2 %");
    printer.line("done");
    assert.deepEqual(written, ["1 %", "\r\x1b[K2 %", "\r\x1b[Kdone\n"]);
  });

  it("prints some of its progress elsewhere, without control characters", () => {
    const { written, output } = captured(false);
    const printer = printerOn(output);
    for (let percent = 0; percent < 20; percent += 1) printer.progress(`${percent} %`);
    printer.line("done");
    assert.deepEqual(written, ["0 %\n", "10 %\n", "done\n"]);
  });
});
