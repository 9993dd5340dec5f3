import { type KeeperConfig, POLL_MS } from "./config.ts";

export const UNIT_NAME = "quorate-keeper.service";
export const CONFIG_PATH = "/etc/quorate/keeper.json";
export const STATE_PATH = "/var/lib/quorate/keeper-state.json";
export const SOCKET_PATH = "/run/quorate/keeper.sock";

/**
 * The keeper's unit. What the settings are for:
 *
 * - Nothing but its own end ends it: no default dependencies (shutdown.target conflicts with none), not isolated away,
 *   not stopped with a mount, no start limit. It goes down with the final kill of a shutdown.
 * - Its end does not pet: systemd keeps the open device (FileDescriptorStoreMax) and hands it to the next one.
 * - A keeper that hangs is started again at once: one round of it is a question to corosync and a pause.
 * - It is the last to be short of processor or memory. Where a host does not grant that (a container without
 *   CAP_SYS_RESOURCE, control groups without swap limits), systemd starts it all the same.
 *
 * @param command absolute words; the first is the program
 */
export function keeperUnit(
  command: readonly string[],
  config: Pick<KeeperConfig, "corosyncTimeoutMilliseconds">,
): string {
  return `[Unit]
Description=Quorate keeper of the watchdog
DefaultDependencies=no
After=local-fs.target
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
ExecStart=${command.map(quoted).join(" ")}
Restart=always
RestartSec=200ms
NotifyAccess=main
FileDescriptorStoreMax=1
WatchdogSec=${config.corosyncTimeoutMilliseconds + POLL_MS + 1000}ms
WatchdogSignal=SIGKILL
TimeoutStopSec=3s
RuntimeDirectory=quorate
RuntimeDirectoryPreserve=yes
Nice=-20
OOMScoreAdjust=-999
OOMPolicy=continue
MemorySwapMax=0
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
`;
}

/** systemd expands % and $ and splits at blanks. */
function quoted(word: string): string {
  return `"${word.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("%", "%%").replaceAll("$", "$$$$")}"`;
}
