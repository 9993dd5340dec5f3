import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";

const root = join(import.meta.dirname, "..");

/** Patches without a content type, typed objects that drop fields: both begin with a second client. */
describe("the Kubernetes client", () => {
  it("is imported by kube/credentials.ts alone", () => {
    const tracked = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"], {
      cwd: root,
      encoding: "utf8",
    });
    const importers = tracked
      .split("\n")
      .filter((file) => file !== "" && file !== "kube/one-client.test.ts")
      .filter((file) => {
        try {
          return /["']@kubernetes\/client-node/.test(readFileSync(join(root, file), "utf8"));
        } catch {
          return false; // removed in the working tree
        }
      });
    assert.deepEqual(importers, ["kube/credentials.ts"]);
  });
});
