import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../clock.ts";
import { QuorateError } from "../../errors.ts";
import { processLives } from "../tools/index.ts";
import { writeKubeconfig } from "./kubeconfig.ts";
import { type KubectlOptions, type KubectlResult, runKubectl } from "./kubectl.ts";
import { issueClientCertificate, type KeyedCertificate } from "./pki.ts";
import { endProcesses, lastLines, signalProcess, startServer } from "./processes.ts";
import { type ControlPlaneRecord, readRecord, removeControlPlane, writeRecord } from "./record.ts";
import { layout, type ServerName, serverArguments } from "./servers.ts";

const READY_TIMEOUT_MS = 90_000;

export interface User {
  name: string;
  groups?: readonly string[];
}

/** A running Kubernetes API, and what a test may do to it. */
export interface ControlPlane extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  /** Path of the kubeconfig of an administrator (group system:masters). */
  readonly kubeconfig: string;
  /** Paths of `kubectl` and of the servers. */
  readonly binaries: Readonly<Record<string, string>>;
  /** Runs kubectl as the administrator, or with another kubeconfig. */
  kubectl(args: readonly string[], options?: KubectlOptions): Promise<KubectlResult>;
  /** Path of a kubeconfig with which the API server sees this user, who may do nothing until RBAC says so. */
  kubeconfigFor(user: User): Promise<string>;
  /** Ends the API server: connections break, later ones are refused. `SIGTERM` (default) lets it say goodbye first. */
  stopApiServer(signal?: "SIGTERM" | "SIGKILL"): Promise<void>;
  /** Starts it again at the same address with the same data, and waits until it is ready. */
  startApiServer(): Promise<void>;
  /** Freezes the API server: connections stay open and nothing answers. */
  pauseApiServer(): void;
  resumeApiServer(): void;
  /** Ends everything and removes its data. */
  stop(): Promise<void>;
}

/** A control plane of this machine, run by this process or another. */
export class LocalControlPlane implements ControlPlane {
  readonly name: string;
  readonly url: string;
  readonly kubeconfig: string;
  readonly binaries: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly #record: ControlPlaneRecord;

  constructor(record: ControlPlaneRecord) {
    this.name = record.name;
    this.url = record.url;
    this.folder = record.folder;
    this.kubeconfig = layout(record.folder).kubeconfig;
    this.binaries = record.binaries;
    this.#record = record;
  }

  /** PEM of the authority that signed everything here; kubelets need it. */
  get authority(): string {
    return readFileSync(layout(this.folder).certificate("ca"), "utf8");
  }

  kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<KubectlResult> {
    const { network, binaries } = this.#record;
    const target = {
      kubectl: binaries.kubectl ?? "kubectl",
      kubeconfig: this.kubeconfig,
      commandPrefix: network.commandPrefix,
      cacheFolder: layout(this.folder).kubectlCache,
    };
    return runKubectl(target, args, options);
  }

  async kubeconfigFor(user: User): Promise<string> {
    const files = layout(this.folder);
    const key = createHash("sha256")
      .update(JSON.stringify([user.name, user.groups]))
      .digest("hex")
      .slice(0, 12);
    const file = join(files.kubeconfigs, key);
    const authority: KeyedCertificate = { certificate: this.authority, key: readFileSync(files.key("ca"), "utf8") };
    const subject = { commonName: user.name, organizations: user.groups ?? [] };
    mkdirSync(files.kubeconfigs, { recursive: true, mode: 0o700 });
    writeKubeconfig(
      file,
      { name: this.name, url: this.url, authority: this.authority },
      await issueClientCertificate(authority, subject),
    );
    return file;
  }

  async stopApiServer(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const running = this.#server("kube-apiserver");
    if (running !== undefined) await endProcesses([running], signal);
  }

  async startApiServer(): Promise<void> {
    const running = this.#server("kube-apiserver");
    if (running === undefined || !processLives(running)) this.startServer("kube-apiserver");
    await this.ready();
  }

  pauseApiServer(): void {
    const running = this.#server("kube-apiserver");
    if (running !== undefined) signalProcess(running, "SIGSTOP");
  }

  resumeApiServer(): void {
    const running = this.#server("kube-apiserver");
    if (running !== undefined) signalProcess(running, "SIGCONT");
  }

  async stop(): Promise<void> {
    await removeControlPlane(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Starts one server and records it. */
  startServer(server: ServerName): void {
    const { folder, network, binaries, owner } = this.#record;
    const command = [...network.commandPrefix, binaries[server] ?? server, ...serverArguments(server, folder, network)];
    const started = startServer(server, command, layout(folder).log(server), { detached: owner === undefined });
    const servers = { ...(readRecord(this.name) ?? this.#record).servers, [server]: started };
    writeRecord({ ...this.#record, servers });
  }

  /** Starts what there is to start and waits until a test can use it. */
  async startAll(): Promise<void> {
    this.startServer("etcd");
    this.startServer("kube-apiserver");
    await this.ready();
    if (!this.#record.cluster) return;
    // Started now: they would only wait for the API server, at long intervals.
    this.startServer("kube-controller-manager");
    this.startServer("kube-scheduler");
    // Without it the first pods would be refused.
    await this.#until(["get", "serviceaccount", "default", "--namespace=default"]);
  }

  /**
   * Waits until the API server is ready and the namespace "default" exists.
   *
   * @throws QuorateError `environment` with the end of the log when a server ends meanwhile or it takes 90 s.
   */
  async ready(): Promise<void> {
    await this.#until(["get", "--raw=/readyz"]);
    await this.#until(["get", "namespace", "default"]);
  }

  async #until(probe: readonly string[]): Promise<void> {
    const started = systemClock.elapsedMs();
    while (!(await this.#answers(probe))) {
      this.#requireRunning();
      if (systemClock.elapsedMs() - started > READY_TIMEOUT_MS) {
        throw this.#notReady(
          "kube-apiserver",
          `does not answer "kubectl ${probe.join(" ")}" within ${READY_TIMEOUT_MS / 1000} s`,
        );
      }
      await systemClock.sleep(50);
    }
  }

  async #answers(probe: readonly string[]): Promise<boolean> {
    try {
      await this.kubectl(["--request-timeout=5s", ...probe], { timeoutMs: 10_000 });
      return true;
    } catch {
      return false;
    }
  }

  #requireRunning(): void {
    for (const [name, identity] of Object.entries(readRecord(this.name)?.servers ?? {})) {
      if (!processLives(identity)) throw this.#notReady(name, "ended");
    }
  }

  #notReady(server: string, what: string): QuorateError {
    const log = layout(this.folder).log(server);
    return new QuorateError(
      "environment",
      "ControlPlaneNotReady",
      `${server} of control plane "${this.name}" ${what}; its last lines:\n${lastLines(log)}`,
    );
  }

  #server(name: ServerName) {
    return (readRecord(this.name) ?? this.#record).servers[name];
  }
}
