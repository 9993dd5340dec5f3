import { QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import type { HostShutdownKind } from "./kind.ts";

/** In memory of the host: it ends with the boot, and with the start of the unit. */
const FOLDER = "/run/quorate/shutdown";
export const REQUEST_PATH = `${FOLDER}/request.json`;
export const ANSWER_PATH = `${FOLDER}/answer.json`;

/** The host goes down, and waits for its agent. */
export interface ShutdownRequest {
  readonly kind: HostShutdownKind;
}

/** The agent is at it, as `beat` shows by changing; or has done all that it can. */
export interface ShutdownAnswer {
  readonly beat: number;
  readonly done: boolean;
}

export async function writeShutdownRequest(host: Host, request: ShutdownRequest): Promise<void> {
  await host.writeFileAtomic(REQUEST_PATH, `${JSON.stringify(request)}\n`, { mode: 0o600 });
}

/** @throws QuorateError when there is one that can't be understood */
export async function readShutdownRequest(host: Host): Promise<ShutdownRequest | undefined> {
  const text = await host.readFile(REQUEST_PATH, { maxBytes: 4096 });
  if (text === undefined) return undefined;
  const { kind } = parsed(text) as Partial<ShutdownRequest>;
  if (kind === "reboot" || kind === "power-off") return { kind };
  throw new QuorateError("bug", "InvalidShutdownRequest", `${REQUEST_PATH} is no request to go down`);
}

export async function answerShutdown(host: Host, answer: ShutdownAnswer): Promise<void> {
  await host.writeFileAtomic(ANSWER_PATH, `${JSON.stringify(answer)}\n`, { mode: 0o600 });
}

/** @returns undefined for none, and for one that can't be understood. */
export async function readShutdownAnswer(host: Host): Promise<ShutdownAnswer | undefined> {
  const text = await host.readFile(ANSWER_PATH, { maxBytes: 4096 }).catch(() => undefined);
  if (text === undefined) return undefined;
  const { beat, done } = parsed(text) as Partial<ShutdownAnswer>;
  return typeof beat === "number" && typeof done === "boolean" ? { beat, done } : undefined;
}

function parsed(text: Buffer): object {
  try {
    const value: unknown = JSON.parse(text.toString());
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
