export const UNIT_NAME = "quorate-keeper.service";
export const CONFIG_PATH = "/etc/quorate/keeper.json";
/** The default of the keeper itself. */
export const STATE_PATH = "/var/lib/quorate/keeper-state.json";
export const SOCKET_PATH = "/run/quorate/keeper.sock";

/** Five times what it takes to say that it turns. */
const HANGS_AFTER_MS = 2500;

/**
 * The keeper's unit. What the settings are for:
 *
 * - Nothing but its own end ends it: no default dependencies (shutdown.target conflicts with none), not isolated away,
 *   not stopped with a mount, no start limit. It goes down with the final kill of a shutdown.
 * - Its end does not pet: systemd keeps the open device (FileDescriptorStoreMax) and hands it to the next one.
 * - A keeper that hangs is started again at once, so soon that its absence is no silence of corosync.
 * - It is the last to be short of processor, memory or disk. Where a host does not grant that (a container without
 *   CAP_SYS_RESOURCE, control groups without these limits), systemd starts it all the same. So the settings that would keep it from
 *   starting, real time above all (CPUSchedulingPolicy), are not here: the keeper takes what it gets.
 *
 * @param command absolute words; the first is the program
 */
export function keeperUnit(command: readonly string[]): string {
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
WatchdogSec=${HANGS_AFTER_MS}ms
WatchdogSignal=SIGKILL
TimeoutStopSec=3s
RuntimeDirectory=quorate
RuntimeDirectoryPreserve=yes
Nice=-20
CPUWeight=10000
IOWeight=10000
OOMScoreAdjust=-1000
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
