import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { simulateDefault } from "./default-world.ts";
import type { SimEvent } from "./recorder.ts";
import { readScenario } from "./scenario.ts";
import { timeline } from "./timeline.ts";

test("the timeline of a cut shows the node fenced, its guest recovered and what was injected", () => {
  const scenario = readScenario(fileURLToPath(new URL("./scenarios/cut-node.json", import.meta.url)));
  const svg = timeline(scenario.name, simulateDefault(scenario));
  assert.match(svg, /^<svg [^>]*>/);
  assert.match(svg, /node3: Unknown from 68/);
  assert.match(svg, /reset by its watchdog/);
  assert.match(svg, /fenced: lease taken/);
  assert.match(svg, /started on node1/);
  assert.match(svg, /vm:103: down from 79\.[0-9]* s to 89/);
  assert.match(svg, /node3 cut off/);
  for (const shown of ["Unknown", "host off", "guest down"])
    assert.ok(svg.includes(`>${shown}</text>`), `legend: ${shown}`);
  assert.equal(svg.split("<g>").length - 1, svg.split("</g>").length - 1);
});

test("text from a scenario cannot break the picture", () => {
  const svg = timeline('a <b> & "c"', []);
  assert.ok(svg.includes("a &#60;b&#62; &#38; &#34;c&#34;"));
});

test("labels at the same place stand on lines of their own", () => {
  const input = (t: number, node: string): SimEvent => ({
    i: 0,
    t,
    class: "input",
    kind: "inject",
    cmd: { op: "node.freeze", node },
  });
  const svg = timeline("x", [input(10, "node1"), input(10.5, "node2"), input(60, "node3")]);
  const lines = ["node1", "node2", "node3"].map((node) => new RegExp(`y="(\\d+)"[^>]*>${node} stands`).exec(svg)?.[1]);
  assert.notEqual(lines[0], lines[1]);
  assert.equal(lines[0], lines[2]);
});

test("of thousands of guests those are drawn of which there is something to see", () => {
  const adopted = Array.from({ length: 1000 }, (_, i): SimEvent[] => [
    { i, t: 1, class: "decision", kind: "service.adopt", subject: `vm:${i}` },
    { i, t: 1, class: "decision", kind: "service.state", subject: `vm:${i}`, from: "RequestStart", to: "Started" },
  ]).flat();
  const svg = timeline("x", [
    ...adopted,
    { i: 0, t: 5, class: "action", kind: "start.ok", subject: "vm:977", at: "node1" },
  ]);
  assert.ok(svg.includes(">vm:977</text>"));
  assert.match(svg, /and 960 more guests/);
  assert.ok(svg.length < 100_000, `${svg.length} characters`);
});
