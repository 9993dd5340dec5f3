import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NotFoundError } from "../kube/index.ts";
import { failureOf, notFound, usageError } from "./failures.ts";

describe("errors", () => {
  it("say which object and what to do, with the exit code of their kind", () => {
    assert.deepEqual(failureOf(usageError("use on or off")), { text: "error: use on or off", exitCode: 64 });
    assert.deepEqual(failureOf(notFound("Guest", "guests", "web9", "lab")), {
      text: 'error: namespace "lab" has no Guest "web9"; "kubectl get guests -n lab" lists those there are',
      exitCode: 1,
    });
    const missing = new NotFoundError("environment", "KindNotServed", 404, "list clusters in lab: not found");
    assert.match(failureOf(missing).text, /Quorate is not installed in this Kubernetes cluster/);
  });
});
