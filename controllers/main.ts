import { hostname } from "node:os";
import { parseArgs } from "node:util";
import { systemClock } from "../clock.ts";
import { EventRecorder, KubeClient, LeaderElection, serveHealth } from "../kube/index.ts";
import { processLog } from "../log.ts";
import { runCertificates } from "./certificates/index.ts";
import { Crm } from "./crm/index.ts";
import { startMembership } from "./membership/index.ts";
import { startReplication } from "./replication/index.ts";

const USAGE = `usage: quorate controllers [--namespace NAMESPACE] [--kubeconfig FILE] [--metrics-port PORT]

The controllers of all clusters: membership, HA, replication, certificates. Run two; one leads by a Lease in NAMESPACE (where
this program is installed), the other watches and takes over.
`;

/**
 * Runs until SIGTERM or SIGINT; a leader gives its Lease back, so that the other goes on at once.
 * @param agents no option of the program, because no agent would know of it: for a measurement that plays the agents itself.
 */
export async function main(args: string[], agents: { leaseRenewalMilliseconds?: number } = {}): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      namespace: { type: "string", default: process.env.POD_NAMESPACE ?? "quorate-system" },
      kubeconfig: { type: "string" },
      "metrics-port": { type: "string", default: "8080" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const log = processLog("controllers");
  const { namespace } = values;
  const clock = systemClock;
  const client = KubeClient.fromKubeconfig(values.kubeconfig);
  const instance = process.env.POD_NAME ?? hostname();
  const election = new LeaderElection({
    client,
    namespace,
    name: "quorate-controllers",
    identity: instance,
    clock,
    log,
  });
  const events = new EventRecorder({ client, controller: "quorate.dev/controllers", instance, clock, log });
  const crm = new Crm({ client, clock, log, instance, ...agents });

  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  let synced = false;
  const health = await serveHealth({
    port: Number(values["metrics-port"]),
    health: { api: () => crm.health() },
    ready: { caches: () => (synced ? undefined : "the caches are not filled yet") },
  });
  await crm.start();
  synced = true;
  log.info({ instance }, "watching; acts when it leads");
  stop.signal.addEventListener("abort", () => void election.stop());

  try {
    await election.run(async (term) => {
      const epoch = election.epoch ?? 0;
      log.info({ epoch }, "leading");
      const [membership, replication] = await Promise.all([
        startMembership({ client, events, clock, log, ...agents }),
        startReplication({ client, events, clock, log }),
      ]);
      const leadership = {
        identity: instance,
        incarnation: `${epoch}`,
        mayAct: () => election.isLeading(),
        signal: term,
      };
      try {
        await Promise.all([
          crm.lead(leadership),
          runCertificates({ client, clock, log, releaseNamespace: namespace }, term),
        ]);
      } finally {
        log.info({ epoch }, "leading no more");
        await Promise.all([membership.stop(), replication.stop()]);
      }
    });
  } catch (error) {
    // The pod is started again and stands for election anew; the other replica leads meanwhile.
    log.fatal({ err: error }, "a term ended with an error");
    process.exitCode = 1;
  }
  await crm.stop();
  await events.stop();
  await health.close();
}
