import type { Host } from "../host/index.ts";

export type HostShutdownKind = "reboot" | "power-off";

const TIMEOUT_MS = 10_000;

/** What systemd is to reach when a host goes down. Guests can't run in rescue mode either: it has no network. */
const TARGETS: Readonly<Record<string, HostShutdownKind>> = {
  "reboot.target": "reboot",
  "kexec.target": "reboot",
  "soft-reboot.target": "reboot",
  "poweroff.target": "power-off",
  "halt.target": "power-off",
  "exit.target": "power-off",
  "rescue.target": "power-off",
  "emergency.target": "power-off",
};

/** @param jobs what `systemctl list-jobs` says. @returns undefined: the host does not go down. */
export function kindOfJobs(jobs: string): HostShutdownKind | undefined {
  const wanted = jobs.split("\n").flatMap((line) => {
    const [, unit = "", type] = line.trim().split(/\s+/);
    return type === "start" ? (TARGETS[unit] ?? []) : [];
  });
  return wanted.includes("reboot") ? "reboot" : wanted[0];
}

/**
 * Whether, and how, the host goes down now. Where systemd is stopping and does not say why, its guests are not kept for it.
 * @throws QuorateError when systemd does not answer
 */
export async function shutdownKind(host: Host): Promise<HostShutdownKind | undefined> {
  const { stdout } = await host.run("systemctl", ["list-jobs", "--no-legend", "--plain", "--full"], {
    timeoutMs: TIMEOUT_MS,
  });
  return kindOfJobs(stdout) ?? ((await isStopping(host)) ? "power-off" : undefined);
}

/** systemd of the host is on its way down. */
export async function isStopping(host: Host): Promise<boolean> {
  return (await systemState(host)) === "stopping";
}

/** Neither on its way up or down, nor in rescue mode. */
export async function isUp(host: Host): Promise<boolean> {
  return ["running", "degraded"].includes(await systemState(host));
}

async function systemState(host: Host): Promise<string> {
  const { stdout } = await host.run("systemctl", ["is-system-running"], {
    timeoutMs: TIMEOUT_MS,
    exitCodes: [0, 1, 2, 3, 4],
  });
  return stdout.trim();
}

/**
 * The host was told to go down, and those who asked to be waited for are: before systemd stops anything, a kubelet with a graceful
 * shutdown ends its pods in this time. False where there is no logind, or it does not answer.
 */
export async function isPreparingForShutdown(host: Host): Promise<boolean> {
  const property = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
  const { stdout } = await host
    .run("busctl", ["--timeout=2", "get-property", ...property, "PreparingForShutdown"], { timeoutMs: 3_000 })
    .catch(() => ({ stdout: "" }));
  return stdout.trim() === "b true";
}
