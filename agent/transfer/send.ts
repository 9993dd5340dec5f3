import type { ChildProcess } from "node:child_process";
import type { Clock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { childFailure, STALL_MS, stalled, watchChild, withinStall } from "./child.ts";
import type { SendOptions } from "./client.ts";
import type { Connection } from "./connection.ts";
import { endFrame, protocolError } from "./frames.ts";
import { refusal, resultOf, SILENCE_MS } from "./protocol.ts";
import { RateLimit } from "./rate-limit.ts";

/**
 * Sends what the producing command writes, and waits for the receiver's word that all of it arrived. The receiver may
 * fail at any time: its error ends the sending at once and is the error that is thrown. The producer is dead afterwards.
 */
export async function sendStream(connection: Connection, options: SendOptions, clock: Clock): Promise<number> {
  const child = options.produce();
  const { ended, kill } = watchChild(child);
  const stopAlive = connection.keepAlive();
  const stopped = new AbortController();
  try {
    const verdict = finalAnswer(connection);
    verdict.catch(() => {});
    const sent = produce();
    sent.catch(() => {});
    // The receiver first: what it says about itself explains why sending to it failed.
    const bytes = await Promise.race([sent, verdict.then(() => sent)]).catch(async (error: unknown) => {
      throw await receiverSaid(verdict, error);
    });
    await verdict;
    return bytes;
  } finally {
    stopped.abort();
    stopAlive();
    await kill();
  }

  async function produce(): Promise<number> {
    const limit = options.bytesPerSecond === undefined ? undefined : new RateLimit(options.bytesPerSecond, clock);
    let bytes = 0;
    for await (const chunk of withStall(child)) {
      if (!Buffer.isBuffer(chunk))
        throw new QuorateError("bug", "InternalError", "the producer's output has an encoding");
      await limit?.take(chunk.length, stopped.signal);
      await connection.sendData(chunk);
      bytes += chunk.length;
      options.onBytes?.(chunk.length);
    }
    const end = await withinStall("ending the stream", ended);
    if (end.code !== 0) {
      const failure = options.failure(childFailure(`sending ${options.volume.volume}`, end));
      await connection.send(refusal(failure)).catch(() => {});
      throw failure;
    }
    await connection.sendFrame(endFrame);
    return bytes;
  }
}

/** What the child writes. When it writes nothing for too long, that is the failure: one that waits for a hung disk ends by no kill. */
async function* withStall(child: ChildProcess): AsyncGenerator<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const arm = () => {
    timer = setTimeout(() => child.stdout?.destroy(stalled("reading the volume")), STALL_MS);
  };
  try {
    arm();
    for await (const chunk of child.stdout ?? []) {
      clearTimeout(timer);
      yield chunk;
      arm();
    }
  } finally {
    clearTimeout(timer);
  }
}

async function finalAnswer(connection: Connection): Promise<void> {
  const frame = await connection.reader.next(SILENCE_MS);
  if (frame.type !== "message") throw protocolError("data to a sender");
  resultOf(frame.value);
}

/** The receiver's error if it has one to tell within a moment, else our own. */
async function receiverSaid(verdict: Promise<void>, own: unknown): Promise<unknown> {
  if (!(own instanceof QuorateError && own.reason === "ConnectionLost")) return own;
  let timer: NodeJS.Timeout | undefined;
  const moment = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 2_000);
  });
  try {
    await Promise.race([verdict, moment]);
    return own;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}
