/**
 * `make demo`: from nothing to a failover, on this machine, with the seconds each step took. Leaves the lab up.
 *
 * usage: node e2e/demo.ts [--name NAME]
 */
import { parseArgs } from "node:util";
import { systemClock } from "../clock.ts";
import { classify } from "../errors.ts";
import { Installed } from "./installed/index.ts";
import { findLab, labUp, tearDown, waitFor } from "./lab/index.ts";

const { values } = parseArgs({ options: { name: { type: "string", default: "demo" } } });
const name = values.name;
const began = systemClock.elapsedMs();
const steps: { what: string; seconds: number }[] = [];

function say(line: string): void {
  console.log(line);
}

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  say(`\n--- ${what}`);
  const from = systemClock.elapsedMs();
  const result = await work();
  const seconds = (systemClock.elapsedMs() - from) / 1000;
  steps.push({ what, seconds });
  say(`    ${seconds.toFixed(1)} s`);
  return result;
}

async function demo(): Promise<void> {
  const progress = (line: string) => say(`    ${line}`);
  if (findLab(name) !== undefined) {
    say(`the lab "${name}" of an earlier demo is up: it is ended first`);
    await tearDown(name);
  }
  const lab = await step("three hosts and a control plane (built and installed where missing)", () =>
    labUp({ hosts: 3, name, onReset: { reboot: false, delaySeconds: 0 }, progress }),
  );
  const kubectl = `kubectl --kubeconfig ${lab.kubeconfig}`;
  const installed = await step("build the image, helm install quorate charts/quorate", () =>
    Installed.install(lab, { progress }),
  );
  await step("kubectl apply -f examples/, until corosync is quorate and web1 runs", async () => {
    await installed.applyExamples();
    await installed.untilQuorate(90_000);
    await installed.untilRunning("web1", 90_000, "n1");
  });
  const from = lab.host("n1");
  const note = `written on n1 at ${new Date().toISOString()}`;
  await step("write a note inside the guest, replicate it to n2", async () => {
    await installed.inGuest(from, "web1", `echo '${note}' > /data/note && sync`, 60_000);
    await installed.replicate("web1-n2");
  });
  say(`\n$ ${kubectl} get quorate -n lab\n${await installed.kubectl(["get", "quorate"])}`);

  const before = await installed.resource();
  const cutAt = systemClock.elapsedMs();
  await step("cut every cable of n1, until web1 is started on another host", async () => {
    await from.cut();
    await waitFor(
      async () => (await installed.resource()).status?.node !== before.status?.node,
      60_000,
      "web1 to be recovered",
      { intervalMs: 100 },
    );
    await installed.untilRunning("web1", 60_000);
  });
  const failover = (systemClock.elapsedMs() - cutAt) / 1000;
  const resource = await installed.resource();
  const to = lab.host(resource.status?.node ?? "n2");
  const found = await step(`read the note inside the guest, now on ${to.name}`, () =>
    installed.inGuest(to, "web1", "cat /data/note", 60_000),
  );
  if (found !== note) throw new Error(`the note is "${found}", not "${note}"`);
  say(`    ${found}`);
  say(`\n$ ${kubectl} get quorate -n lab\n${await installed.kubectl(["get", "quorate"])}`);
  say(
    `$ ${kubectl} get events -n lab\n${await installed.kubectl(["get", "events", "--sort-by=.metadata.creationTimestamp"])}`,
  );

  say("seconds");
  for (const { what, seconds } of steps) say(`${seconds.toFixed(1).padStart(8)}  ${what}`);
  say(`${((systemClock.elapsedMs() - began) / 1000).toFixed(1).padStart(8)}  in all`);
  say(`\nFailover: ${failover.toFixed(1)} s from the cut to the guest running on ${to.name}, with its data.`);
  say(`The lab is up. Look at it and break it:
  export KUBECONFIG=${lab.kubeconfig}
  kubectl get quorate -n lab          # or: bin/kubectl-quorate status -n lab
  bin/quorate lab heal n1 --name ${name} && bin/quorate lab power n1 on --name ${name}      # n1 comes back
  bin/quorate lab --help              # every fault
  bin/quorate lab down --name ${name}        # end it`);
}

try {
  await demo();
} catch (error) {
  const failure = classify(error);
  console.error(
    `\nthe demo failed: ${failure.message}${failure.class === "bug" && failure.cause instanceof Error ? `\n${failure.cause.stack}` : ""}`,
  );
  console.error(`The lab "${name}" is left as it is; end it with: bin/quorate lab down --name ${name}`);
  process.exitCode = 1;
}
