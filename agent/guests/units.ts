import { classify, QuorateError } from "../../errors.ts";
import type { Host } from "../host/index.ts";
import { guestOfUnit } from "./names.ts";
import type { GuestKey } from "./types.ts";

const TIMEOUT_MS = 30_000;

/** What systemd says of a unit. */
export interface UnitStatus {
  readonly active: "active" | "inactive" | "failed" | "activating" | "deactivating" | "other";
  /** False when systemd has no such unit. */
  readonly loaded: boolean;
  readonly mainPid: number;
  /** How it ended: `exit-code 1`, `signal 9`. */
  readonly result: string;
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
    const properties = "LoadState,ActiveState,MainPID,Result,ExecMainStatus";
    const { stdout } = await this.#systemctl("show", `--property=${properties}`, "--", unit);
    const value = new Map(
      stdout.split("\n").map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
    const active = value.get("ActiveState");
    if (active === undefined) throw unknown(unit, new Error("systemctl show did not tell its ActiveState"));
    return {
      active:
        (["active", "inactive", "failed", "activating", "deactivating"] as const).find((known) => known === active) ??
        "other",
      loaded: value.get("LoadState") !== "not-found",
      mainPid: Number(value.get("MainPID") ?? 0),
      result: `${value.get("Result")} ${value.get("ExecMainStatus")}`,
    };
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

  /** Guests that have a process on this host, or may have one. */
  async guests(): Promise<GuestKey[]> {
    const { stdout } = await this.#systemctl(
      "list-units",
      "--all",
      "--plain",
      "--full",
      "--no-legend",
      "--",
      "quorate-guest-*.service",
    );
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

function unknown(unit: string, cause: unknown): QuorateError {
  return new QuorateError(
    "transient",
    "UnitUnknown",
    `systemd of this host does not say how ${unit} is: ${classify(cause).message}`,
    { cause },
  );
}
