import type { Clock } from "../../clock.ts";

export interface Progress {
  readonly volume: string;
  readonly bytes: number;
  /** Roughly what there is to send, where it is known. */
  readonly totalBytes?: number;
  readonly bytesPerSecond: number;
}

const EVERY_MS = 2_000;

/** Counts what one volume's stream has sent and tells it at a low rate. */
export class ProgressMeter {
  readonly #volume: string;
  readonly #clock: Clock;
  readonly #totalBytes: number | undefined;
  readonly #tell: ((progress: Progress) => void) | undefined;
  #bytes = 0;
  #toldBytes = 0;
  #toldMs: number;

  constructor(
    volume: string,
    clock: Clock,
    totalBytes: number | undefined,
    tell: ((progress: Progress) => void) | undefined,
  ) {
    this.#volume = volume;
    this.#clock = clock;
    this.#totalBytes = totalBytes;
    this.#tell = tell;
    this.#toldMs = clock.elapsedMs();
  }

  add(bytes: number): void {
    this.#bytes += bytes;
    if (this.#tell === undefined) return;
    const sinceMs = this.#clock.elapsedMs() - this.#toldMs;
    if (sinceMs < EVERY_MS) return;
    const bytesPerSecond = Math.round(((this.#bytes - this.#toldBytes) * 1000) / sinceMs);
    this.#toldMs += sinceMs;
    this.#toldBytes = this.#bytes;
    this.#tell({
      volume: this.#volume,
      bytes: this.#bytes,
      bytesPerSecond,
      ...(this.#totalBytes === undefined ? {} : { totalBytes: this.#totalBytes }),
    });
  }
}
