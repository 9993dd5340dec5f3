import { notifySystemd } from "./libc.ts";

/** Systemd as the second owner of the open device, so that the end of a keeper does not close it. */
export interface DescriptorStore {
  /** This process is a service that may store descriptors. */
  readonly available: boolean;
  /** What an earlier keeper of this boot stored. */
  readonly inherited: number | undefined;
  /** @throws Error */
  hold(fd: number): void;
  /** Systemd closes its copy. @throws Error */
  drop(): void;
  /** Resets systemd's own time-out for a keeper that hangs. */
  alive(): void;
}

const NAME = "watchdog";
/** The first descriptor that systemd hands over. */
const FIRST = 3;

export function descriptorStore(environment: NodeJS.ProcessEnv, pid: number): DescriptorStore {
  const available = environment.NOTIFY_SOCKET !== undefined;
  return {
    available,
    inherited: inherited(environment, pid),
    // FDPOLL=0: systemd must not drop it when it reports an error or a hang-up.
    hold: (fd) => notifySystemd(`FDSTORE=1\nFDNAME=${NAME}\nFDPOLL=0`, fd),
    drop: () => {
      if (available) notifySystemd(`FDSTOREREMOVE=1\nFDNAME=${NAME}`);
    },
    alive: () => {
      if (available) notifySystemd("WATCHDOG=1");
    },
  };
}

function inherited(environment: NodeJS.ProcessEnv, pid: number): number | undefined {
  if (environment.LISTEN_PID !== String(pid)) return undefined;
  const index = (environment.LISTEN_FDNAMES ?? "").split(":").indexOf(NAME);
  return index === -1 || index >= Number(environment.LISTEN_FDS) ? undefined : FIRST + index;
}
