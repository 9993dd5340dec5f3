import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { counter, type HealthCheck, serveHealth } from "./metrics.ts";

describe("the health server", () => {
  it("serves metrics, and the checks with what is wrong", async () => {
    counter("quorate_test_total", "Counts tests.", ["of"]).inc({ of: "server" });
    let problem: string | undefined = "not synced";
    const ready: Record<string, HealthCheck> = {
      cache: () => problem,
      broken: () => {
        if (problem !== undefined) throw new Error("the check itself failed");
        return undefined;
      },
    };
    const server = await serveHealth({ port: 0, host: "127.0.0.1", health: { loop: async () => undefined }, ready });
    try {
      const get = async (path: string) => {
        const response = await fetch(`http://127.0.0.1:${server.port}${path}`);
        return { status: response.status, body: await response.text() };
      };
      const metrics = (await get("/metrics")).body;
      assert.match(metrics, /^quorate_test_total\{of="server"\} 1$/m);
      assert.match(metrics, /^process_cpu_seconds_total /m);
      assert.deepEqual(await get("/healthz"), { status: 200, body: "ok   loop\nok\n" });
      const body = "FAIL cache: not synced\nFAIL broken: the check itself failed\nfailed\n";
      assert.deepEqual(await get("/readyz?verbose"), { status: 503, body });
      problem = undefined;
      assert.equal((await get("/readyz")).status, 200);
      assert.equal((await get("/secrets")).status, 404);
      await assert.rejects(serveHealth({ port: server.port, host: "127.0.0.1" }), /EADDRINUSE/);
    } finally {
      await server.close();
    }
  });
});

it("every metric has its line in the documentation, and none is there that does not exist", () => {
  const repository = join(import.meta.dirname, "..");
  const registered = globSync("{agent,controllers,kube}/**/*.ts", { cwd: repository })
    .filter((file) => !file.endsWith(".test.ts"))
    .flatMap((file) => [
      ...readFileSync(join(repository, file), "utf8").matchAll(/\b(?:counter|gauge|histogram)\(\s*"(quorate_\w+)"/g),
    ])
    .map(([, name]) => name);
  const documented = readFileSync(join(repository, "docs/metrics.md"), "utf8").matchAll(/^\| `(quorate_\w+)`/gm);
  assert.deepEqual([...documented].map(([, name]) => name).sort(), registered.sort());
});
