import { readdirSync } from "node:fs";
import koffi, { type LibraryHandle } from "koffi";

/** The few calls of the C library and of libsystemd that Node does not have. */
const libc = koffi.load("libc.so.6");
const ioctlCall = libc.func("int ioctl(int fd, unsigned long request, void *argument)");
const setschedulerCall = libc.func("int sched_setscheduler(int thread, int policy, void *parameters)");
const mlockallCall = libc.func("int mlockall(int flags)");

/** @throws Error with `code` as Node's own calls: ENOTTY on what is no watchdog. */
export function ioctl(fd: number, request: number, argument: Buffer): void {
  if (ioctlCall(fd, request, argument) !== 0) throw systemError("ioctl");
}

/** Keeps this process out of swap: each page stays in memory once it was touched. @throws Error */
export function lockMemory(): void {
  const [current, future, onFault] = [1, 2, 4];
  if (mlockallCall(current | future | onFault) !== 0) throw systemError("mlockall");
}

/**
 * Puts every thread of this process, and what it starts, before all ordinary ones, as corosync does with itself. @throws Error where the
 * host does not grant it: without CAP_SYS_NICE, or in a control group without real time.
 */
export function raisePriority(): void {
  const roundRobin = 2;
  const lowest = Buffer.alloc(4);
  lowest.writeInt32LE(1);
  for (const thread of readdirSync("/proc/self/task")) {
    if (setschedulerCall(Number(thread), roundRobin, lowest) !== 0) throw systemError("sched_setscheduler");
  }
}

let sdNotify: ReturnType<LibraryHandle["func"]> | undefined;

/** Every host that systemd runs has it. @throws Error */
export function loadSystemd(): void {
  sdNotify ??= koffi
    .load("libsystemd.so.0")
    .func("int sd_pid_notify_with_fds(int pid, int unset, const char *state, const int *fds, unsigned int count)");
}

/** Tells systemd something, with a copy of `fd` where one is given. @throws Error when it could not be sent. */
export function notifySystemd(message: string, fd?: number): void {
  loadSystemd();
  const sent: number = sdNotify?.(0, 0, message, fd === undefined ? null : [fd], fd === undefined ? 0 : 1);
  if (sent <= 0)
    throw new Error(
      sent === 0 ? "this process was not started by systemd" : `systemd could not be told: error ${-sent}`,
    );
}

function systemError(call: string): Error {
  const number = koffi.errno();
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0] ?? `errno ${number}`;
  return Object.assign(new Error(`${call}: ${code}`), { code });
}
