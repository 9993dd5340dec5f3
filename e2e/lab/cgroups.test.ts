import assert from "node:assert/strict";
import { test } from "node:test";
import { hierarchies } from "./cgroups.ts";

test("hybrid: the unified hierarchy and those of version 1 beside it", () => {
  const mounts = [
    "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0",
    "cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0",
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
  ].join("\n");
  assert.deepEqual(hierarchies(mounts), {
    unified: "/sys/fs/cgroup/unified",
    v1: ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/freezer"],
  });
});

test("unified alone", () => {
  assert.deepEqual(hierarchies("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"), { unified: "/sys/fs/cgroup", v1: [] });
});

test("without a unified hierarchy the message says how to mount one", () => {
  assert.throws(() => hierarchies("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), {
    reason: "NoCgroup2",
    message: /mount -t cgroup2/,
  });
});
