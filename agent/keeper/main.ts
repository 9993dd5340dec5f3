import { parseArgs } from "node:util";
import { systemClock } from "../../clock.ts";
import { processLog } from "../../log.ts";
import { askCorosync } from "./ask-corosync.ts";
import { loadConfig, POLL_MS } from "./config.ts";
import { descriptorStore } from "./descriptor-store.ts";
import { watchdogDevice } from "./device.ts";
import { Keeper } from "./keeper.ts";
import { loadSystemd, lockMemory, raisePriority } from "./libc.ts";
import { listen } from "./server.ts";
import { proofRecord, readBootId, stateFile } from "./state-file.ts";

/** Beyond its question: reading the answer and petting. */
const ROUND_GRACE_MS = 1000;

const USAGE = `usage: quorate keeper [--config FILE] [--state FILE] [--socket PATH] [--release NAME] [--self-check]

Owns the host's watchdog: once armed, it is petted only while the host's own corosync proves quorum.
--self-check shows that the program loads on this host, and ends.
`;

/** The keeper of this host's watchdog; ends on SIGTERM, without closing the watchdog. */
export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      config: { type: "string", default: "/etc/quorate/keeper.json" },
      state: { type: "string", default: "/var/lib/quorate/keeper-state.json" },
      socket: { type: "string", default: "/run/quorate/keeper.sock" },
      release: { type: "string", default: "unknown" },
      "self-check": { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (values["self-check"]) return loadSystemd();
  const log = processLog("keeper");
  const config = loadConfig(values.config);
  const nowMs = () => systemClock.elapsedMs();
  const store = descriptorStore(process.env, process.pid);
  const ask = askCorosync(config.corosyncTimeoutMilliseconds, nowMs);
  try {
    lockMemory();
  } catch (error) {
    log.warn({ error: String(error) }, "not locked in memory: swapping may cost the host");
  }
  try {
    raisePriority();
  } catch (error) {
    log.warn({ error: String(error) }, "not before other processes: a starved host may cost itself");
  }
  const keeper = new Keeper({
    config,
    release: values.release,
    bootId: readBootId(),
    device: watchdogDevice(config.device, config.sysfs),
    store,
    state: stateFile(values.state),
    record: proofRecord(`${values.socket}.proof`),
    ask,
    nowMs,
    wallTime: () => new Date(systemClock.wallMs()).toISOString(),
    log,
  });
  const server = await listen(values.socket, (operation) => keeper.handle(operation));
  log.info({ release: values.release, device: config.device, armed: keeper.isArmed }, "keeper started");

  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());
  let roundBegan = nowMs();
  // Systemd hears that this process turns; not for longer than a round may take.
  const alive = setInterval(() => {
    if (nowMs() - roundBegan <= config.corosyncTimeoutMilliseconds + ROUND_GRACE_MS) store.alive();
  }, POLL_MS);
  while (!stop.signal.aborted) {
    roundBegan = nowMs();
    await keeper.tick();
    await systemClock.sleep(Math.max(50, roundBegan + POLL_MS - nowMs()), stop.signal).catch(() => {});
  }
  clearInterval(alive);
  if (keeper.isArmed)
    log.warn("ended while armed: the watchdog is not closed, and the host resets unless a keeper goes on");
  else log.info("keeper ended");
  server.close();
  process.exit(0);
}
