import type { Clock } from "../../clock.ts";
import { classify } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { Host } from "../host/index.ts";
import { shutdownKind } from "./kind.ts";
import { readShutdownAnswer, type ShutdownAnswer, writeShutdownRequest } from "./request.ts";

export interface EndHostParts {
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
  readonly guests: {
    /** Guests under HA or not that have, or may have, a process on this host. Throws when it can't be told. */
    running(): Promise<readonly string[]>;
    /** Asks each machine to shut itself down; ends it at the time-out. */
    stopMachines(timeoutSeconds: number): Promise<void>;
  };
  readonly keeper: { status(): Promise<{ armed: boolean }>; disarm(): Promise<unknown> };
}

/** From the request to the agent's word that all is done; its own limits are shorter. */
const AGENT_LIMIT_MS = 720_000;
/** An agent that does not answer, or stopped doing so: crashed and not restarted, or ended before. */
const SILENT_MS = 30_000;
/** The same where nothing waits to be stopped or closed. */
const SILENT_IDLE_MS = 4_000;
const POLL_MS = 250;
const MACHINE_STOP_SECONDS = 60;

/**
 * Holds the shutdown up until this host's guests are taken care of: by the agent, which knows the cluster and its policy; what it
 * left is stopped in order here. The watchdog is closed here only when no agent answered, and no guest is left for certain.
 */
export async function endHost(parts: EndHostParts): Promise<void> {
  const { host, log, guests } = parts;
  const kind = await shutdownKind(host);
  if (kind === undefined) {
    log.info("the host does not go down: nothing is done");
    return;
  }
  await writeShutdownRequest(host, { kind });
  log.info({ kind }, "the host goes down; waiting for the agent");
  const answered = await agentDone(parts);
  if (!answered) log.warn("the agent does not answer: machines are stopped in order, nothing is given away");
  await guests
    .stopMachines(MACHINE_STOP_SECONDS)
    .catch((error) => log.error({ reason: classify(error).reason }, classify(error).message));
  if (!answered) await closeWatchdog(parts);
  log.info("the host may go down");
}

/** @returns whether the agent said that it has done all that it can. */
async function agentDone({ host, clock, guests, keeper }: EndHostParts): Promise<boolean> {
  const began = clock.elapsedMs();
  const isIdle = async () => !(await keeper.status()).armed && (await guests.running()).length === 0;
  const silentMs = (await isIdle().catch(() => false)) ? SILENT_IDLE_MS : SILENT_MS;
  let last: ShutdownAnswer | undefined;
  let changedAt = began;
  for (;;) {
    const now = clock.elapsedMs();
    const answer = await readShutdownAnswer(host);
    if (answer?.done === true) return true;
    if (answer !== undefined && answer.beat !== last?.beat) changedAt = now;
    last = answer ?? last;
    const allowed = last === undefined ? silentMs : SILENT_MS;
    if (now - changedAt > allowed || now - began > AGENT_LIMIT_MS) return false;
    await clock.sleep(POLL_MS);
  }
}

/** Nothing can start here any more: systemd, on its way down, starts no unit. */
async function closeWatchdog({ guests, keeper, log }: EndHostParts): Promise<void> {
  try {
    if (!(await keeper.status()).armed) return;
    const left = await guests.running();
    if (left.length > 0) {
      log.error({ guests: left }, "guests are left: the watchdog stays armed, and may reset this host");
      return;
    }
    await keeper.disarm();
    log.info("no guest is left: the watchdog is closed");
  } catch (error) {
    log.error({ reason: classify(error).reason }, `the watchdog stays as it is: ${classify(error).message}`);
  }
}
