import { existsSync, readFileSync, statSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { homedir } from "node:os";
import { delimiter, dirname, resolve } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { load } from "js-yaml";
import type { Clock } from "../clock.ts";
import { QuorateError } from "../errors.ts";

/** Where to connect and as whom, at this moment. */
export interface Target {
  base: URL;
  agent: http.Agent;
  /** Authorization and the like: never log. */
  headers: Record<string, string>;
}

export interface KubeconfigOptions {
  /** A context of the kubeconfig other than its current one. */
  context?: string;
}

/** Files are looked at again after this long, so rotated certificates and tokens are picked up without a restart. */
const REFRESH_MS = 10_000;
const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/**
 * Credentials from a kubeconfig or from the pod's service account. The formats, exec plugins and token reload are
 * client-node's; the connections are ours, because client-node keeps the first client certificate for ever.
 */
export class Credentials {
  readonly #load: () => KubeConfig;
  readonly #files: readonly string[];
  readonly #clock: Clock;
  #config: KubeConfig;
  #stamp: string;
  #target: Target | undefined;
  #preparedAtMs = 0;
  #material = "";
  #preparing: Promise<Target> | undefined;

  constructor(load: () => KubeConfig, files: readonly string[], clock: Clock) {
    this.#load = load;
    this.#files = files;
    this.#clock = clock;
    this.#config = load();
    this.#stamp = stampOf(files);
  }

  /** The namespace of the context, if it names one. */
  get namespace(): string | undefined {
    return this.#config.getContextObject(this.#config.getCurrentContext())?.namespace;
  }

  /** @param refused the server just answered 401: read everything again. */
  async target(refused = false): Promise<Target> {
    const age = this.#clock.elapsedMs() - this.#preparedAtMs;
    if (this.#target !== undefined && age < (refused ? 1_000 : REFRESH_MS)) return this.#target;
    this.#preparing ??= this.#prepare(refused).finally(() => {
      this.#preparing = undefined;
    });
    return this.#preparing;
  }

  async #prepare(refused: boolean): Promise<Target> {
    const stamp = stampOf(this.#files);
    if (refused || stamp !== this.#stamp) {
      try {
        this.#config = this.#load();
        this.#stamp = stamp;
      } catch (error) {
        // Being written at this moment, perhaps: go on with what worked, and look again soon.
        if (this.#target === undefined) throw error;
      }
    }
    const cluster = this.#config.getCurrentCluster();
    if (cluster === null) {
      throw new QuorateError(
        "user",
        "KubeconfigInvalid",
        `the kubeconfig (${this.#files.join(", ") || "default"}) has no current context with a cluster: set current-context`,
      );
    }
    const options: https.RequestOptions = {};
    await this.#config.applyToHTTPSOptions(options);
    this.#target = {
      base: new URL(cluster.server),
      agent: this.#agent(options, cluster.server, cluster.proxyUrl !== undefined && cluster.proxyUrl !== null),
      headers: headersOf(options),
    };
    this.#preparedAtMs = this.#clock.elapsedMs();
    return this.#target;
  }

  /** Keeps the connections as long as the TLS material is the same. */
  #agent(options: https.RequestOptions, server: string, proxied: boolean): http.Agent {
    if (proxied) return options.agent as http.Agent;
    const tls = {
      ca: options.ca,
      cert: options.cert,
      key: options.key,
      passphrase: options.passphrase,
      rejectUnauthorized: options.rejectUnauthorized ?? true,
      ...(options.servername === undefined ? {} : { servername: options.servername }),
    };
    const material = JSON.stringify([server, tls]);
    if (this.#target !== undefined && material === this.#material) return this.#target.agent;
    if (this.#target !== undefined) dropIdle(this.#target.agent);
    this.#material = material;
    const pooling = { keepAlive: true, keepAliveMsecs: 10_000, scheduling: "lifo" as const };
    return server.startsWith("http:") ? new http.Agent(pooling) : new https.Agent({ ...pooling, ...tls });
  }
}

/** Closes the connections that carry no request; the next request opens a new one. */
export function dropIdle(agent: http.Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function headersOf(options: https.RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) {
    if (value !== undefined && value !== null) headers[name] = String(value);
  }
  if (typeof options.auth === "string") headers.Authorization = `Basic ${Buffer.from(options.auth).toString("base64")}`;
  return headers;
}

/**
 * @param path a kubeconfig; without it the pod's service account, else $KUBECONFIG, else ~/.kube/config.
 */
export function findCredentials(path: string | undefined, options: KubeconfigOptions, clock: Clock): Credentials {
  if (path === undefined && process.env.KUBERNETES_SERVICE_HOST !== undefined && existsSync(SERVICE_ACCOUNT_TOKEN)) {
    return new Credentials(inCluster, [], clock);
  }
  const files = path === undefined ? defaultFiles() : [path];
  return new Credentials(() => fromFiles(files, options), files, clock);
}

function inCluster(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromCluster();
  return config;
}

function defaultFiles(): string[] {
  const named = (process.env.KUBECONFIG ?? "").split(delimiter).filter((file) => file !== "");
  return named.length > 0 ? named : [resolve(homedir(), ".kube/config")];
}

function fromFiles(files: readonly string[], options: KubeconfigOptions): KubeConfig {
  const merged = new KubeConfig();
  const problems: string[] = [];
  let loaded = 0;
  for (const file of files) {
    try {
      const one = new KubeConfig();
      one.loadFromFile(file);
      useTokenFiles(one, file);
      if (loaded === 0) merged.loadFromOptions(one);
      else merged.mergeConfig(one, true);
      loaded += 1;
    } catch (error) {
      problems.push(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (loaded === 0) {
    throw new QuorateError(
      "user",
      "KubeconfigInvalid",
      `no usable kubeconfig (${problems.join("; ")}): set KUBECONFIG or pass one`,
    );
  }
  if (options.context !== undefined) {
    if (merged.getContextObject(options.context) === null) {
      const known = merged.getContexts().map((context) => context.name);
      throw new QuorateError(
        "user",
        "ContextUnknown",
        `the kubeconfig has no context "${options.context}"; it has: ${known.join(", ") || "none"}`,
      );
    }
    merged.setCurrentContext(options.context);
  }
  return merged;
}

/** client-node looks for `token-file`; kubectl writes and reads `tokenFile`. */
function useTokenFiles(config: KubeConfig, file: string): void {
  const raw = load(readFileSync(file, "utf8")) as { users?: { name: string; user?: { tokenFile?: string } }[] };
  for (const entry of raw.users ?? []) {
    const tokenFile = entry.user?.tokenFile;
    if (tokenFile === undefined) continue;
    const index = config.users.findIndex((user) => user.name === entry.name);
    const user = config.users[index];
    if (user === undefined) continue;
    const authProvider = { name: "tokenFile", config: { tokenFile: resolve(dirname(file), tokenFile) } };
    config.users[index] = { ...user, authProvider };
  }
}

function stampOf(files: readonly string[]): string {
  return files
    .map((file) => {
      const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
      return stat === undefined ? "absent" : `${stat.ino}:${stat.mtimeNs}:${stat.size}`;
    })
    .join();
}
