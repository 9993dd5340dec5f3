export const SHUTDOWN_UNIT = "quorate-shutdown.service";
/** Settings for every unit whose name begins so: the machines. */
export const MACHINE_UNITS = "quorate-guest-.service";
/** Of the agent, and of what it waits for in the end. */
export const STOP_LIMIT_SECONDS = 900;

/**
 * What these have in common: guests need them to be stopped or moved in order. On most hosts multi-user.target pulls all of them in;
 * a target is after what it wants, so nothing of it is stopped before this unit is. The rest is for hosts on which it does not.
 */
const NEEDED = [
  "multi-user.target",
  "network-online.target",
  "remote-fs.target",
  "quorate-keeper.service",
  "quorate-agent.service",
  "corosync.service",
  "corosync-qdevice.service",
  "kubelet.service",
  "containerd.service",
  "crio.service",
  "docker.service",
  "zfs.target",
  "zfs-mount.service",
  "zfs-fuse.service",
];

/**
 * The unit whose stop holds up the shutdown of the host. systemd stops in the reverse order of starting: it comes after all that guests
 * need, so it is stopped first, and all others only when it has ended.
 *
 * @param command absolute words that run the program's part host-shutdown
 */
export function shutdownUnit(command: readonly string[]): string {
  return `[Unit]
Description=Quorate takes care of this host's guests before it goes down
After=${NEEDED.join(" ")}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/rm -rf /run/quorate/shutdown
ExecStop=${command.join(" ")}
TimeoutStopSec=${STOP_LIMIT_SECONDS}s
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`;
}

/** A machine is stopped after the unit: systemd would end its emulator like a power cut. */
export const MACHINE_DROP_IN = `[Unit]
Before=${SHUTDOWN_UNIT}
`;
