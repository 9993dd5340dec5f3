import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { systemClock } from "../../clock.ts";
import { type LabHost, waitFor } from "../lab/index.ts";

const IMAGES = "/var/lib/quorate/images";
const SOCKET_TIMEOUT_MS = 10_000;
const POWER_OFF_TIMEOUT_MS = 40_000;

/** A tiny guest run by hand in a host, for tests of the lab that do without Quorate. */
export class TinyGuest {
  readonly #host: LabHost;
  readonly #name: string;
  readonly #disk: string;
  /** Length of the console's log before the present boot. */
  #seen = 0;

  /** @param folder of the host, for the guest's disk */
  constructor(host: LabHost, name: string, folder: string) {
    this.#host = host;
    this.#name = name;
    this.#disk = `${folder}/${name}.raw`;
  }

  /** Boots it, with a disk of 128 MiB copied from the image at the first time. @returns seconds until it was READY. */
  async start(witness: string): Promise<number> {
    const prepare = `[ -e "$1" ] || cp ${IMAGES}/tiny.raw "$1"; truncate -s 128M "$1"; truncate -s 1M "$2"`;
    await this.#host.run("sh", ["-c", prepare, "prepare", this.#disk, witness]);
    this.#seen = (await this.console()).length;
    const began = systemClock.elapsedMs();
    const unit = ["--quiet", "--collect", `--unit=${this.#unit}`];
    await this.#host.run("systemd-run", [...unit, "qemu-system-x86_64", ...this.#arguments(witness)]);
    await this.shows("READY boot=");
    return (systemClock.elapsedMs() - began) / 1000;
  }

  /** Types a line into the shell on its console. */
  async type(line: string): Promise<void> {
    const socket = connect(await this.#host.livePath(`/run/${this.#unit}.console`));
    await once(socket, "connect");
    socket.end(`${line}\n`);
    await once(socket.resume(), "close", { signal: AbortSignal.timeout(SOCKET_TIMEOUT_MS) });
  }

  /** Waits until it printed this text since the last boot. What is typed is printed too. */
  async shows(text: string): Promise<void> {
    const printed = async () => (await this.console()).slice(this.#seen).includes(text);
    await waitFor(printed, 40_000, `guest ${this.#name} to print "${text}"`);
  }

  /** All it ever printed. */
  async console(): Promise<string> {
    try {
      return readFileSync(await this.#host.livePath(`/run/${this.#unit}.log`), "latin1");
    } catch {
      return "";
    }
  }

  async kill(): Promise<void> {
    await this.#host.kill(`${this.#unit}.service`);
  }

  /** Presses the power button and waits until the guest has powered off. */
  async pressPowerButton(): Promise<void> {
    const socket = connect(await this.#host.livePath(`/run/${this.#unit}.qmp`));
    socket.write('{"execute":"qmp_capabilities"}\n{"execute":"system_powerdown"}\n');
    // QEMU hangs up when it ends, which is when the guest has powered off.
    await once(socket.resume(), "close", { signal: AbortSignal.timeout(POWER_OFF_TIMEOUT_MS) });
  }

  async untilStopped(): Promise<void> {
    const stopped = async () => {
      const { stdout } = await this.#host.run("systemctl", ["is-active", this.#unit], { exitCodes: [0, 3, 4] });
      return stdout.trim() !== "active";
    };
    await waitFor(stopped, 30_000, `guest ${this.#name} to stop`);
  }

  get #unit(): string {
    return `guest-${this.#name}`;
  }

  #arguments(witness: string): string[] {
    const run = `/run/${this.#unit}`;
    return [
      ...["-machine", "q35", "-accel", "tcg,tb-size=32", "-m", "96", "-nodefaults", "-no-user-config"],
      ...["-display", "none", "-kernel", `${IMAGES}/tiny-vmlinux`, "-initrd", `${IMAGES}/tiny-initrd`],
      ...["-append", "console=ttyS0 quiet panic=-1"],
      ...["-drive", `if=virtio,file=${this.#disk},format=raw,cache=writethrough`],
      // Image locks are per kernel: all hosts of a lab share one, real hosts do not.
      ...["-drive", `if=virtio,file=${witness},format=raw,cache=none,file.locking=off`],
      ...["-chardev", `socket,id=console,path=${run}.console,server=on,wait=off,logfile=${run}.log,logappend=on`],
      ...["-serial", "chardev:console", "-qmp", `unix:${run}.qmp,server=on,wait=off`],
    ];
  }
}
