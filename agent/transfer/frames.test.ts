import assert from "node:assert/strict";
import { Duplex, type PassThrough } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { aliveFrame, endFrame, FrameReader, FrameType, header, messageFrame } from "./frames.ts";

/** A connection whose other end is `feed`. */
function connection(): { feed: (bytes: Uint8Array | null) => void; reader: FrameReader } {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  return { feed: (bytes) => stream.push(bytes), reader: new FrameReader(stream as PassThrough) };
}

test("frames come out as they went in, however the bytes were cut", async () => {
  const payload = fc.uint8Array({ maxLength: 40 });
  const frames = fc.array(
    fc.oneof(
      payload,
      fc.jsonValue().map((value) => ({ value })),
    ),
    { maxLength: 12 },
  );
  await fc.assert(
    fc.asyncProperty(
      frames,
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 20 }),
      async (sent, cuts) => {
        const bytes = Buffer.concat([
          ...sent.flatMap((frame) =>
            frame instanceof Uint8Array
              ? [aliveFrame, header(FrameType.Data, frame.length), frame]
              : [messageFrame(frame.value), aliveFrame],
          ),
          endFrame,
        ]);
        const { feed, reader } = connection();
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = cuts[i % cuts.length] ?? 1;
          feed(bytes.subarray(at, at + length));
          at += length;
        }
        const data: Buffer[] = [];
        const messages: unknown[] = [];
        for (let frame = await reader.next(1000); frame.type !== "end"; frame = await reader.next(1000)) {
          if (frame.type === "data") data.push(frame.bytes);
          else messages.push(frame.value);
        }
        assert.deepEqual(Buffer.concat(data), Buffer.concat(sent.filter((frame) => frame instanceof Uint8Array)));
        assert.equal(
          JSON.stringify(messages),
          JSON.stringify(sent.flatMap((frame) => (frame instanceof Uint8Array ? [] : [frame.value]))),
        );
      },
    ),
  );
});

test("a connection that closes is no end of the stream, wherever it closes", async () => {
  const whole = Buffer.concat([header(FrameType.Data, 3), Buffer.from("abc"), endFrame]);
  for (let length = 0; length < whole.length; length++) {
    const { feed, reader } = connection();
    feed(whole.subarray(0, length));
    feed(null);
    await assert.rejects(
      async () => {
        for (;;) assert.notEqual((await reader.next(1000)).type, "end");
      },
      { reason: "ConnectionLost" },
      `closed after ${length} bytes`,
    );
  }
});

test("silence is a cut; a sign of life is not", async () => {
  const { feed, reader } = connection();
  const alive = setInterval(() => feed(aliveFrame), 20);
  const next = reader.next(200);
  next.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 400));
  clearInterval(alive);
  const settled = await Promise.race([
    next.then(
      () => true,
      () => true,
    ),
    Promise.resolve(false),
  ]);
  assert.equal(settled, false, "still waiting while there was life");
  await assert.rejects(next, { reason: "ConnectionLost", message: /silent for 200 ms/ });
});

test("nobody can make it keep a message of any size, or a frame of an unknown kind", async () => {
  for (const bytes of [
    header(FrameType.Message, 2 ** 31),
    header(9, 0),
    header(FrameType.End, 1),
    header(FrameType.Alive, 1),
  ]) {
    const { feed, reader } = connection();
    feed(bytes);
    await assert.rejects(reader.next(1000), { reason: "ProtocolError" });
  }
});
