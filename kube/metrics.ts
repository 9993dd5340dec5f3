import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** The one registry of a process. Names begin with `quorate_`; durations are in seconds. */
export const registry = new Registry();

/** Like prom-client's constructors, on the registry; `help` ends up in the scrape. */
export function counter<L extends string = never>(
  name: string,
  help: string,
  labelNames: readonly L[] = [],
): Counter<L> {
  return new Counter({ name, help, labelNames, registers: [registry] });
}

/** @param collect called at each scrape, to set what is only known then. */
export function gauge<L extends string = never>(
  name: string,
  help: string,
  labelNames: readonly L[] = [],
  collect?: (gauge: Gauge<L>) => void,
): Gauge<L> {
  return new Gauge<L>({
    name,
    help,
    labelNames,
    registers: [registry],
    ...(collect === undefined
      ? {}
      : {
          collect() {
            collect(this);
          },
        }),
  });
}

/** @param buckets upper limits in seconds */
export function histogram<L extends string = never>(
  name: string,
  help: string,
  labelNames: readonly L[] = [],
  buckets: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
): Histogram<L> {
  return new Histogram({ name, help, labelNames, buckets: [...buckets], registers: [registry] });
}

/** What is wrong, or undefined. */
export type HealthCheck = () => string | undefined | Promise<string | undefined>;

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface HealthServerOptions {
  /** 0 takes any free port. */
  port: number;
  /** Default: all addresses. */
  host?: string;
  /** Alive: a failing check makes the kubelet restart the process. */
  health?: Record<string, HealthCheck>;
  /** Ready: caches synced and the like. */
  ready?: Record<string, HealthCheck>;
}

/** Serves /metrics, /healthz and /readyz in plain HTTP. @throws when the port is taken. */
export async function serveHealth(options: HealthServerOptions): Promise<HealthServer> {
  if (registry.getSingleMetric("process_cpu_seconds_total") === undefined)
    collectDefaultMetrics({ register: registry });
  const server = createServer((request, response) => {
    answer(request.url ?? "/", options)
      .catch((error: unknown) => ({ status: 500, type: "text/plain", body: `${String(error)}\n` }))
      .then(({ status, type, body }) => response.writeHead(status, { "content-type": type }).end(body))
      .catch(() => response.destroy());
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return { port: (server.address() as AddressInfo).port, close: () => closed(server) };
}

async function answer(
  url: string,
  options: HealthServerOptions,
): Promise<{ status: number; type: string; body: string }> {
  switch (url.split("?", 1)[0]) {
    case "/metrics":
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    case "/healthz":
      return checked(options.health ?? {});
    case "/readyz":
      return checked(options.ready ?? {});
    default:
      return { status: 404, type: "text/plain", body: "there is /metrics, /healthz and /readyz\n" };
  }
}

async function checked(checks: Record<string, HealthCheck>): Promise<{ status: number; type: string; body: string }> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      const problem = await Promise.resolve()
        .then(check)
        .catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
      return { name, problem };
    }),
  );
  const body = results.map(({ name, problem }) =>
    problem === undefined ? `ok   ${name}` : `FAIL ${name}: ${problem}`,
  );
  const failed = results.some(({ problem }) => problem !== undefined);
  return {
    status: failed ? 503 : 200,
    type: "text/plain",
    body: `${[...body, failed ? "failed" : "ok"].join("\n")}\n`,
  };
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}
