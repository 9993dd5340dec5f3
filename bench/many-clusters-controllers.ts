/** The controllers of the bench many-clusters: the program itself, which answers questions about its own memory and metrics. */
import { main } from "../controllers/main.ts";
import { registry } from "../kube/index.ts";
import { answerParent } from "./child.ts";

export interface OwnUse {
  readonly rssBytes: number;
  readonly heapBytes: number;
  /** Since it began. */
  readonly cpuSeconds: number;
}

const [renewalSeconds = "2", ...args] = process.argv.slice(2);

answerParent({
  /** After a collection of garbage, so that what is left is what is held. */
  use: async (): Promise<OwnUse> => {
    const cpu = process.cpuUsage();
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    return { rssBytes: rss, heapBytes: heapUsed, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
  },
  metrics: () => registry.metrics(),
});
await main(args, { leaseRenewalMilliseconds: Number(renewalSeconds) * 1000 });
process.disconnect?.();
