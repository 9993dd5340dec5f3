import http from "node:http";
import https from "node:https";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { errorOfAnswer, UnreachableError } from "./api-errors.ts";
import { type Credentials, dropIdle, type Target } from "./credentials.ts";
import { counter, histogram } from "./metrics.ts";

export interface Exchange {
  /** What is tried on which object, for error messages: `apply Guest prod/db1`. */
  doing: string;
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With the query. */
  path: string;
  body?: string;
  contentType?: string;
  /** For the whole exchange with its retries. For a stream: until its headers. */
  timeoutMs: number;
  signal?: AbortSignal;
  /** Doing it twice is as good as once, so a connection that broke before the answer is tried again at once. */
  repeatable: boolean;
}

const requests = counter("quorate_kube_requests_total", "Requests to the API server.", ["method", "code"]);
const durations = histogram("quorate_kube_request_duration_seconds", "Time until the answer began.", ["method"]);

/** What one exchange may hold in memory; a list page of 500 objects is far below. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/**
 * HTTP to one API server. The only place that opens connections: every exchange has a time-out, honours Retry-After
 * and throws ApiErrors (or the caller's abort reason).
 */
export class Transport {
  readonly #credentials: Credentials;
  readonly #userAgent: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #warned = new Set<string>();

  constructor(credentials: Credentials, userAgent: string, clock: Clock, log: Logger) {
    this.#credentials = credentials;
    this.#userAgent = userAgent;
    this.#clock = clock;
    this.#log = log;
  }

  /** The answer as text. */
  async text(exchange: Exchange): Promise<string> {
    return this.#exchange(exchange, (answer) => readAll(answer));
  }

  /** An answer that does not end; the caller reads it and destroys it. */
  async stream(exchange: Exchange): Promise<http.IncomingMessage> {
    return this.#exchange(exchange, async (answer) => answer);
  }

  async #exchange<T>(exchange: Exchange, read: (answer: http.IncomingMessage) => Promise<T>): Promise<T> {
    const untilMs = this.#clock.elapsedMs() + exchange.timeoutMs;
    let reauthenticated = false;
    let reconnected = false;
    for (;;) {
      exchange.signal?.throwIfAborted();
      const leftMs = () => Math.max(1, untilMs - this.#clock.elapsedMs());
      const target = await this.#target(exchange, reauthenticated, leftMs());
      const attempt = new Attempt(exchange, target, this.#userAgent, leftMs());
      const measured = durations.startTimer({ method: exchange.method });
      try {
        const answer = await attempt.answer();
        this.#warn(answer.headers.warning);
        const status = answer.statusCode ?? 0;
        measured();
        requests.inc({ method: exchange.method, code: String(status) });
        if (status >= 200 && status < 300) return await attempt.guard(read(answer));
        const error = errorOfAnswer(status, parseOrText(await attempt.guard(readAll(answer))), exchange.doing);
        const waitMs = retryAfterMs(status, answer.headers["retry-after"]);
        if (status === 401 && !reauthenticated) reauthenticated = true;
        else if (waitMs !== undefined && this.#clock.elapsedMs() + waitMs < untilMs)
          await this.#clock.sleep(waitMs, exchange.signal);
        else throw error;
      } catch (error) {
        exchange.signal?.throwIfAborted();
        if (!(error instanceof BrokenConnection)) throw error;
        requests.inc({ method: exchange.method, code: error.timedOut ? "timeout" : "broken" });
        if (error.timedOut) dropIdle(target.agent);
        // An idle connection that the server closed in the same moment says nothing about the server.
        const stale = error.reused && !error.timedOut && !reconnected && exchange.repeatable;
        if (!stale) throw unreachable(exchange, target, error);
        reconnected = true;
      } finally {
        attempt.done();
      }
    }
  }

  /** Credentials may come from a program that takes its time, or never ends. */
  async #target(exchange: Exchange, refused: boolean, timeoutMs: number): Promise<Target> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`nothing in ${(timeoutMs / 1000).toFixed(1)} s`)), timeoutMs);
    try {
      return await Promise.race([this.#credentials.target(refused), late.promise]);
    } catch (error) {
      if (error instanceof QuorateError) throw error;
      const message = error instanceof Error ? error.message.trim().slice(-500) : String(error);
      throw new UnreachableError(
        "environment",
        "CredentialsUnavailable",
        0,
        `${exchange.doing}: no credentials: ${message}; check the files and the plugin that the kubeconfig names`,
        { cause: error },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** The server's warnings (deprecated, unknown fields), each once. */
  #warn(header: string | string[] | undefined): void {
    if (header === undefined) return;
    const text = String(header);
    if (this.#warned.has(text) || this.#warned.size > 200) return;
    this.#warned.add(text);
    this.#log.warn({ warning: text.slice(0, 1000) }, "the API server warns");
  }
}

class BrokenConnection extends Error {
  readonly timedOut: boolean;
  readonly reused: boolean;
  constructor(message: string, timedOut: boolean, reused: boolean, cause?: unknown) {
    super(message, { cause });
    this.timedOut = timedOut;
    this.reused = reused;
  }
}

/** One request on one connection, under one deadline. */
class Attempt {
  readonly #answer: Promise<http.IncomingMessage>;
  readonly #timer: NodeJS.Timeout;
  readonly #broken: Promise<never>;
  readonly #unlisten: () => void;

  constructor(exchange: Exchange, target: Target, userAgent: string, timeoutMs: number) {
    const base = target.base.pathname.replace(/\/$/, "");
    const request = (target.base.protocol === "http:" ? http : https).request({
      agent: target.agent,
      protocol: target.base.protocol,
      hostname: target.base.hostname.replace(/^\[|\]$/g, ""),
      port: target.base.port,
      method: exchange.method,
      path: base + exchange.path,
      headers: {
        ...target.headers,
        accept: "application/json",
        "user-agent": userAgent,
        ...(exchange.body === undefined
          ? {}
          : {
              "content-type": exchange.contentType ?? "application/json",
              "content-length": Buffer.byteLength(exchange.body),
            }),
      },
    });
    const failure = Promise.withResolvers<never>();
    this.#broken = failure.promise;
    this.#broken.catch(() => {});
    this.#timer = setTimeout(() => {
      failure.reject(
        new BrokenConnection(`no answer in ${(timeoutMs / 1000).toFixed(1)} s`, true, request.reusedSocket),
      );
      request.destroy();
    }, timeoutMs);
    const onAbort = () => {
      failure.reject(exchange.signal?.reason);
      request.destroy();
    };
    exchange.signal?.addEventListener("abort", onAbort, { once: true });
    this.#unlisten = () => exchange.signal?.removeEventListener("abort", onAbort);
    request.on("error", (cause) =>
      failure.reject(new BrokenConnection(cause.message, false, request.reusedSocket, cause)),
    );
    this.#answer = new Promise((resolve) => {
      request.on("response", (answer) => {
        // After the request is settled its errors come here; whoever reads the answer sees them there.
        answer.on("error", (cause) => failure.reject(new BrokenConnection(cause.message, false, false, cause)));
        resolve(answer);
      });
    });
    request.end(exchange.body);
  }

  answer(): Promise<http.IncomingMessage> {
    return this.guard(this.#answer);
  }

  /** `work`, unless the deadline, the caller or the connection ends it first. */
  guard<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {});
    return Promise.race([work, this.#broken]);
  }

  done(): void {
    clearTimeout(this.#timer);
    this.#unlisten();
  }
}

async function readAll(answer: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** 429 is always worth another try; a 5xx only when the server says when. */
function retryAfterMs(status: number, header: string | undefined): number | undefined {
  const seconds = header === undefined ? Number.NaN : Number.parseInt(header, 10);
  if (status !== 429 && !(status >= 500 && Number.isFinite(seconds))) return undefined;
  return Number.isFinite(seconds) ? Math.max(0.1, seconds) * 1000 : 1000;
}

function unreachable(exchange: Exchange, target: Target, error: BrokenConnection): UnreachableError {
  const what = `${exchange.doing}: API server ${target.base.origin}: ${error.message}`;
  if (error.timedOut) {
    return new UnreachableError("transient", "ApiServerTimeout", 0, `${what}; check that it runs and is reachable`, {
      cause: error,
    });
  }
  const code = String((error.cause as NodeJS.ErrnoException | undefined)?.code);
  if (/CERT|TLS|SSL|SIGNATURE/.test(code)) {
    return new UnreachableError(
      "environment",
      "ApiServerCertificate",
      0,
      `${what}; check the authority in the kubeconfig`,
      { cause: error },
    );
  }
  return new UnreachableError("transient", "ApiServerUnreachable", 0, `${what}; check that it runs and is reachable`, {
    cause: error,
  });
}
