import type { ChildProcess } from "node:child_process";
import { CommandError, type Host, type RunOptions, type RunResult } from "../../host/index.ts";

interface Unit {
  readonly child: ChildProcess;
  readonly startedAt: number;
}

/**
 * A host whose systemd is played: `systemd-run` starts a plain process, `systemctl` tells of it. Everything else goes to
 * the host behind. The processes end with this one.
 */
export function withPlayedSystemd(
  host: Host,
): Host & { readonly calls: readonly string[][]; silence(silent: boolean): void } {
  const units = new Map<string, Unit>();
  const calls: string[][] = [];
  let silent = false;

  const start = (args: readonly string[]) => {
    const end = args.indexOf("--");
    const option = (name: string) =>
      args
        .slice(0, end)
        .find((word) => word.startsWith(`--${name}=`))
        ?.slice(name.length + 3) ?? "";
    const unit = option("unit");
    if (isActive(units.get(unit))) throw failed(`Unit ${unit} was already loaded`);
    const log = option("property=StandardError").replace("append:", "");
    const command = args.slice(end + 1).map((word) => word.replaceAll("$$", "$"));
    const script = 'cd "$1" && log="$2" && shift 2 && exec setpriv --pdeathsig KILL -- "$@" 2>>"$log"';
    const child = host.spawn("sh", ["-c", script, "sh", option("working-directory"), log, ...command], {
      stdio: ["ignore", "ignore", "ignore"],
    });
    units.set(unit, { child, startedAt: Math.floor(Date.now() / 1000) });
  };

  const show = (names: readonly string[]) =>
    names.map((name) => {
      const unit = units.get(name);
      const { child } = unit ?? {};
      const broken = child !== undefined && !isActive(unit) && child.exitCode !== 0;
      const active = isActive(unit) ? "active" : broken ? "failed" : "inactive";
      return [
        `Id=${name}`,
        `LoadState=${unit === undefined ? "not-found" : "loaded"}`,
        `ActiveState=${active}`,
        `MainPID=${isActive(unit) ? child?.pid : 0}`,
        `Result=${child?.signalCode ? "signal" : broken ? "exit-code" : "success"}`,
        `ExecMainStatus=${child?.exitCode ?? 0}`,
        `ActiveEnterTimestamp=${unit === undefined ? "" : `@${unit.startedAt}`}`,
      ].join("\n");
    });

  const systemctl = (args: readonly string[]): string => {
    const [verb = ""] = args.filter((word) => !word.startsWith("-"));
    const names = args.slice(args.indexOf("--") + 1);
    if (verb === "show") return `${show(names).join("\n\n")}\n`;
    if (verb === "list-units") {
      return [...units]
        .map(([name, unit]) => `${name} loaded ${isActive(unit) ? "active running" : "inactive dead"} guest\n`)
        .join("");
    }
    if (verb === "kill")
      units.get(names[0] ?? "")?.child.kill(args.includes("--signal=SIGKILL") ? "SIGKILL" : "SIGTERM");
    return "";
  };

  const run = async (command: string, args: readonly string[], options: RunOptions): Promise<RunResult> => {
    if (command !== "systemd-run" && command !== "systemctl") return host.run(command, args, options);
    if (silent) throw failed("Failed to connect to bus: Connection refused");
    calls.push([command, ...args]);
    if (command === "systemd-run") start(args);
    return { stdout: command === "systemctl" ? systemctl(args) : "", stderr: "", exitCode: 0 };
  };
  const silence = (wanted: boolean) => {
    silent = wanted;
  };
  return { ...host, run, calls, silence };
}

function isActive(unit: Unit | undefined): boolean {
  return unit !== undefined && unit.child.exitCode === null && unit.child.signalCode === null;
}

function failed(stderr: string): CommandError {
  return new CommandError("environment", "CommandFailed", stderr, { exitCode: 1, stdout: "", stderr });
}
