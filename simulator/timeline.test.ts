import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { simulateDefault } from "./default-world.ts";
import { readScenario } from "./scenario.ts";
import { timeline } from "./timeline.ts";

test("the timeline of a cut shows the node fenced, its guest recovered and what was injected", () => {
  const scenario = readScenario(fileURLToPath(new URL("./scenarios/cut-node.json", import.meta.url)));
  const svg = timeline(scenario.name, simulateDefault(scenario));
  assert.match(svg, /^<svg [^>]*>/);
  assert.match(svg, /node3: Unknown from 68/);
  assert.match(svg, /node\.self-fenced/);
  assert.match(svg, /start\.ok on node1/);
  assert.match(svg, /node\.network/);
  assert.equal(svg.split("<g>").length - 1, svg.split("</g>").length - 1);
});

test("text from a scenario cannot break the picture", () => {
  const svg = timeline('a <b> & "c"', []);
  assert.ok(svg.includes("a &#60;b&#62; &#38; &#34;c&#34;"));
});
