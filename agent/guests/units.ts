import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { guestOfUnit } from "./names.ts";
import type { GuestKey } from "./types.ts";

const TIMEOUT_MS = 30_000;
const KNOWN = ["active", "inactive", "failed", "activating", "deactivating"] as const;

/** What systemd says of a unit. */
export interface UnitStatus {
  readonly active: (typeof KNOWN)[number] | "other";
  /** False when systemd has no such unit. */
  readonly loaded: boolean;
  readonly mainPid: number;
  /** How it ended: `exit-code 1`, `signal 9`. */
  readonly result: string;
  /** When it became active; RFC 3339, whole seconds. */
  readonly startedAt?: string;
}

export interface TransientUnit {
  readonly name: string;
  readonly description: string;
  readonly folder: string;
  /** A file in the folder for what it prints. */
  readonly log: string;
  readonly command: readonly string[];
}

/** Units of the host's systemd. Every failure to ask is thrown (`UnitUnknown`): it is no answer. */
export class HostUnits {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  async status(unit: string): Promise<UnitStatus> {
    const status = (await this.statuses([unit])).get(unit);
    if (status === undefined) throw unknown(unit, new Error("systemctl show did not tell its state"));
    return status;
  }

  /** By name, all asked for by one command; a unit whose state it did not tell is left out. */
  async statuses(units: readonly string[]): Promise<Map<string, UnitStatus>> {
    const asked = [...new Set(units)];
    if (asked.length === 0) return new Map();
    const properties = "Id,LoadState,ActiveState,MainPID,Result,ExecMainStatus,ActiveEnterTimestamp";
    const { stdout } = await this.#systemctl("show", "--timestamp=unix", `--property=${properties}`, "--", ...asked);
    const blocks = stdout.trim().split(/\n\s*\n/);
    if (blocks.length !== asked.length)
      throw unknown(asked.join(", "), new Error(`systemctl show told of ${blocks.length} units`));
    return new Map(
      asked.flatMap((unit, i) => {
        const status = parseStatus(blocks[i] ?? "", unit);
        return status === undefined ? [] : [[unit, status] as const];
      }),
    );
  }

  /** Starts a unit that systemd, and not this process, is the parent of. */
  async start({ name, description, folder, log, command }: TransientUnit): Promise<void> {
    await this.#host.run("systemctl", ["reset-failed", "--", name], { timeoutMs: TIMEOUT_MS, exitCodes: [0, 1, 5] });
    await this.#host.run(
      "systemd-run",
      [
        ...["--quiet", "--no-ask-password", `--unit=${name}`, `--description=${description}`, "--service-type=exec"],
        ...["--slice=quorate-guests.slice", `--working-directory=${folder}`, "--property=KillMode=mixed"],
        ...[
          "--property=StandardInput=null",
          "--property=StandardOutput=null",
          `--property=StandardError=append:${folder}/${log}`,
        ],
        "--",
        // systemd puts variables of its environment in for `$NAME`, in arguments too.
        ...command.map((word) => word.replaceAll("$", "$$$$")),
      ],
      { timeoutMs: TIMEOUT_MS },
    );
  }

  /** Starts or stops a unit the host has. */
  async change(verb: "start" | "stop", unit: string, timeoutMs: number): Promise<void> {
    await this.#host.run("systemctl", ["--no-ask-password", verb, "--", unit], { timeoutMs });
  }

  async kill(unit: string, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    // A unit that ended meanwhile cannot be killed, which is as good.
    await this.#host.run("systemctl", ["kill", `--signal=${signal}`, "--", unit], {
      timeoutMs: TIMEOUT_MS,
      exitCodes: [0, 1],
    });
  }

  /** Units of guests of this namespace, or of all, that are not known to have ended. */
  async guests(namespace?: string): Promise<GuestKey[]> {
    const pattern = namespace === undefined ? "quorate-guest-*.service" : `quorate-guest-${namespace}.*.service`;
    const { stdout } = await this.#systemctl("list-units", "--all", "--plain", "--full", "--no-legend", "--", pattern);
    return stdout.split("\n").flatMap((line) => {
      const [unit = "", , active = ""] = line.trim().split(/\s+/);
      return active === "inactive" || active === "failed" ? [] : (guestOfUnit(unit) ?? []);
    });
  }

  async #systemctl(...args: string[]) {
    return this.#host.run("systemctl", args, { timeoutMs: TIMEOUT_MS }).catch((error: unknown) => {
      throw unknown(args.at(-1) ?? "", error);
    });
  }
}

function parseStatus(block: string, unit: string): UnitStatus | undefined {
  const value = new Map(
    block.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const active = value.get("ActiveState");
  if (active === undefined || value.get("Id") !== unit) return undefined;
  const since = /^@([0-9]+)/.exec(value.get("ActiveEnterTimestamp") ?? "")?.[1];
  return {
    active: KNOWN.find((known) => known === active) ?? "other",
    loaded: value.get("LoadState") !== "not-found",
    mainPid: Number(value.get("MainPID") ?? 0),
    result: `${value.get("Result")} ${value.get("ExecMainStatus")}`,
    ...(since === undefined ? {} : { startedAt: new Date(Number(since) * 1000).toISOString().replace(".000Z", "Z") }),
  };
}

function unknown(unit: string, cause: unknown): QuorateError {
  return new QuorateError(
    "transient",
    "UnitUnknown",
    `systemd of this host does not say how ${unit} is: ${classify(cause).message}`,
    { cause },
  );
}
