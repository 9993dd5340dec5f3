import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeHost } from "../host/index.ts";
import { unitLoads } from "./load.ts";

const UNITS = ["quorate-guest-lab.web1.service", "web.service", "gone.service"];
const shown = (cpu: string) => `MainPID=42
Id=quorate-guest-lab.web1.service
ControlGroup=/quorate.slice/web1
CPUUsageNSec=${cpu}

Id=web.service
MainPID=50
ControlGroup=/system.slice/web.service
CPUUsageNSec=[not set]

Id=gone.service
MainPID=0
ControlGroup=
CPUUsageNSec=[not set]
`;
const process = async (host: FakeHost, pid: number, ticks: number, anonymousKib: number) => {
  const fields = `${pid} (a (b) c) S ${"0 ".repeat(10)}${ticks} 5 0 0`;
  await host.writeFileAtomic(`/proc/${pid}/stat`, fields, { mode: 0o444 });
  const status = `Name:\tx\nVmRSS:\t 999999 kB\nRssAnon:\t    ${anonymousKib} kB\nRssFile:\t 7 kB\nRssShmem:\t   8 kB\n`;
  await host.writeFileAtomic(`/proc/${pid}/status`, status, { mode: 0o444 });
};

test("a guest's load is that of all processes of its unit, in whichever hierarchy systemd keeps them", async () => {
  using host = new FakeHost().on(["systemctl", "show"], shown("3000000000"));
  await process(host, 42, 100, 1000);
  await process(host, 50, 100, 1000);
  await process(host, 51, 20, 500);
  await host.writeFileAtomic("/sys/fs/cgroup/systemd/system.slice/web.service/cgroup.procs", "50\n51\n", {
    mode: 0o444,
  });
  const loads = await unitLoads(host, UNITS);
  assert.deepEqual(
    [...loads],
    [
      ["quorate-guest-lab.web1.service", { cpuMilliseconds: 3000, memoryBytes: 1008 * 1024 }],
      ["web.service", { cpuMilliseconds: 1300, memoryBytes: 1516 * 1024 }],
    ],
  );
});

test("a count that systemd does not have is taken from the processes", async () => {
  for (const none of ["[not set]", "18446744073709551615"]) {
    using host = new FakeHost().on(["systemctl", "show"], shown(none));
    await process(host, 42, 100, 1000);
    assert.equal((await unitLoads(host, UNITS)).get("quorate-guest-lab.web1.service")?.cpuMilliseconds, 1050);
  }
});

test("what can't be read is left out", async () => {
  using host = new FakeHost().on(["systemctl", "show"], shown("1"));
  assert.deepEqual([...(await unitLoads(host, UNITS))], []);
  assert.deepEqual([...(await unitLoads(host, []))], []);
  assert.equal(host.commands.length, 1);
});
