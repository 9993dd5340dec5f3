import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

/** Beyond its own folder. The keeper must not come to depend on what breaks more often than it. */
const ALLOWED = ["koffi", "pino", "clock.ts", "log.ts"];

test("the keeper is small and knows nothing of Kubernetes or the agent", () => {
  const root = join(import.meta.dirname, "../..");
  const seen = new Map<string, string>();
  const foreign = new Set<string>();
  const visit = (file: string) => {
    if (seen.has(file)) return;
    const source = readFileSync(file, "utf8");
    seen.set(file, source);
    for (const [, specifier = ""] of source.matchAll(/(?:from|import)\s*\(?"([^"]+)"/g)) {
      if (specifier.startsWith("node:")) continue;
      const target = specifier.startsWith(".") ? join(dirname(file), specifier) : specifier;
      const name = specifier.startsWith(".") ? relative(root, target) : specifier;
      if (!name.startsWith("agent/keeper/")) foreign.add(name);
      if (specifier.startsWith(".")) visit(target);
    }
  };
  visit(join(import.meta.dirname, "main.ts"));
  assert.deepEqual([...foreign].sort(), [...ALLOWED].sort());
  const own = [...seen].filter(([file]) => file.startsWith(import.meta.dirname));
  const lines = own
    .flatMap(([, source]) => source.split("\n"))
    .filter((line) => !/^\s*(\/\/|\/?\*|$)/.test(line)).length;
  assert.ok(lines < 1000, `${lines} lines of code are more than a reviewer reads in one sitting`);
});
