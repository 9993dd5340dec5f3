import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { resolveInRoot } from "./files.ts";

test("symbolic links are followed inside the root, never out of it", () => {
  const root = mkdtempSync(join(tmpdir(), "quorate-files-"));
  try {
    mkdirSync(join(root, "var/lib"), { recursive: true });
    mkdirSync(join(root, "data"));
    symlinkSync("/data/quorate", join(root, "var/lib/quorate"));
    symlinkSync("../../../../../../../etc", join(root, "data/escape"));
    symlinkSync("b", join(root, "a"));
    symlinkSync("a", join(root, "b"));
    const cases: [string, string][] = [
      ["/", ""],
      ["/var/lib/./x//y", "var/lib/x/y"],
      ["/var/lib/quorate/images", "data/quorate/images"],
      ["/data/escape/passwd", "etc/passwd"],
      ["/../../etc", "etc"],
      ["/proc/self/fd/0", "proc/self/fd/0"],
    ];
    for (const [asked, expected] of cases) assert.equal(resolveInRoot(root, asked), `${root}/${expected}`, asked);
    assert.throws(() => resolveInRoot(root, "/a/x"), { reason: "TooManyLinks" });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
