import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { load, loadAll } from "js-yaml";
import { systemClock } from "../../clock.ts";
import type { Cluster, ClusterNode, Guest, HAResource, ReplicationJob } from "../../crds/index.ts";
import { QuorateError } from "../../errors.ts";
import { buildImage } from "../image/index.ts";
import { type Lab, type LabHost, waitFor } from "../lab/index.ts";
import { ensureBinaries } from "../tools/index.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Where the examples live: the namespace that is their cluster. */
export const NAMESPACE = "lab";

/** A lab with the chart installed: what a test or the demo does with it as an administrator. */
export class Installed {
  readonly lab: Lab;
  /** Path of the archive of the image it was installed from. */
  readonly image: string;

  private constructor(lab: Lab, image: string) {
    this.lab = lab;
    this.image = image;
  }

  /** Builds the image, gives it to every host, and installs the chart as its documentation says. */
  static async install(
    lab: Lab,
    options: { progress?: (line: string) => void; values?: readonly string[] } = {},
  ): Promise<Installed> {
    const progress = options.progress ?? (() => undefined);
    const [{ helm }, image] = await Promise.all([
      ensureBinaries(["helm"], progress),
      buildImage({ progress, tag: `quorate/quorate:lab-${Date.now().toString(36)}` }),
    ]);
    if (helm === undefined) throw new QuorateError("environment", "NoHelm", "helm could not be built");
    await lab.loadImage(image.archive);
    const repository = image.name.slice(0, image.name.lastIndexOf(":"));
    const tag = image.name.slice(image.name.lastIndexOf(":") + 1);
    // The lab has no kube-proxy: its pods reach the API server by its address in the lab's network.
    const api = new URL(
      (load(readFileSync(lab.controlPlane.kubeconfig, "utf8")) as { clusters: { cluster: { server: string } }[] })
        .clusters[0]?.cluster.server ?? "",
    );
    const values = [
      `image.repository=${repository}`,
      `image.tag=${tag}`,
      "image.pullPolicy=Never",
      `apiServer.host=${api.hostname}`,
      `apiServer.port=${api.port}`,
      "controllers.hostNetwork=true",
      ...(options.values ?? []),
    ];
    const sets = values.flatMap((value) => ["--set", value]);
    const chart = [
      "upgrade",
      "--install",
      "quorate",
      join(ROOT, "charts/quorate"),
      "--namespace",
      "quorate-system",
      "--create-namespace",
    ];
    await execa(helm, [...chart, "--kubeconfig", lab.kubeconfig, "--wait", "--timeout", "120s", ...sets], {
      timeout: 150_000,
    });
    return new Installed(lab, image.archive);
  }

  /** As the documentation of the chart says; objects and their kinds stay. */
  async uninstall(): Promise<void> {
    const { helm = "helm" } = await ensureBinaries(["helm"]);
    const command = [
      "uninstall",
      "quorate",
      "--namespace",
      "quorate-system",
      "--kubeconfig",
      this.lab.kubeconfig,
      "--wait",
      "--timeout",
      "120s",
    ];
    await execa(helm, command, { timeout: 150_000 });
  }

  /** kubectl in the namespace of the examples. */
  kubectl(args: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<string> {
    return this.lab.kubectl(["--namespace", NAMESPACE, ...args], options);
  }

  async get<T>(kind: string, name: string): Promise<T> {
    return JSON.parse(await this.kubectl(["get", kind, name, "-o", "json"])) as T;
  }

  /** Applies the examples as they are, but for what containers as hosts can't have: a real-time budget for corosync. */
  async applyExamples(change: (object: Manifest) => Manifest | undefined = (object) => object): Promise<void> {
    const objects = readdirSync(join(ROOT, "examples"))
      .filter((file) => file.endsWith(".yaml"))
      .sort()
      .flatMap((file) => loadAll(readFileSync(join(ROOT, "examples", file), "utf8")) as Manifest[])
      .map((object) =>
        object.kind === "Cluster" ? withAnnotation(object, "quorate.dev/corosync-sched-rr", "no") : object,
      )
      .flatMap((object) => change(object) ?? []);
    await this.lab.kubectl(["apply", "-f", "-"], {
      input: objects.map((object) => JSON.stringify(object)).join("\n---\n"),
    });
  }

  async untilQuorate(deadlineMs: number): Promise<void> {
    await this.lab.kubectl(
      [
        "wait",
        "--namespace",
        NAMESPACE,
        "--for=condition=Quorate",
        "cluster/lab",
        `--timeout=${Math.round(deadlineMs / 1000)}s`,
      ],
      { timeoutMs: deadlineMs + 10_000 },
    );
  }

  cluster(): Promise<Cluster> {
    return this.get("cluster", "lab");
  }
  node(name: string): Promise<ClusterNode> {
    return this.get("clusternode", name);
  }
  guest(name = "web1"): Promise<Guest> {
    return this.get("guest", name);
  }
  resource(name = "web1"): Promise<HAResource> {
    return this.get("haresource", name);
  }
  job(name: string): Promise<ReplicationJob> {
    return this.get("replicationjob", name);
  }

  /** Waits until the guest runs under HA, on `node` when given, and its console answers. @returns the node. */
  async untilRunning(name: string, deadlineMs: number, node?: string): Promise<string> {
    return waitFor(
      async () => {
        const { status } = await this.guest(name);
        return status?.state === "Running" && (node === undefined || status.node === node) && status.node;
      },
      deadlineMs,
      `guest ${name} to run${node === undefined ? "" : ` on ${node}`}`,
      { intervalMs: 250 },
    );
  }

  /**
   * Types a line into the shell on the guest's console and returns what it printed. The guest says when it is done, so
   * that nothing has to be guessed from time.
   */
  async inGuest(host: LabHost, guest: string, line: string, deadlineMs = 30_000): Promise<string> {
    const path = await host.livePath(`/run/quorate/guests/${NAMESPACE}.${guest}/console.sock`);
    return waitFor(() => typeInto(path, line), deadlineMs, `the console of ${guest} on ${host.name} to answer`, {
      intervalMs: 500,
    });
  }

  /** Starts a run of the job now and waits until it has succeeded. */
  async replicate(job: string, deadlineMs = 60_000): Promise<ReplicationJob> {
    let mark = "";
    const ask = async () => {
      mark = `${systemClock.elapsedMs()}`;
      await this.kubectl([
        "patch",
        "replicationjob",
        job,
        "--type=merge",
        "-p",
        JSON.stringify({ spec: { runNow: mark } }),
      ]);
    };
    await ask();
    return waitFor(
      async () => {
        const object = await this.job(job);
        // A run may fail in passing; an administrator asks again.
        if (object.status?.observedRunNow === mark && object.status.state === "Failed") await ask();
        return object.status?.observedRunNow === mark && object.status.state === "Idle" && object;
      },
      deadlineMs,
      `replication job ${job} to run`,
      { intervalMs: 250 },
    );
  }
}

export interface Manifest {
  kind: string;
  metadata: { name: string; namespace?: string; annotations?: Record<string, string> };
  spec?: Record<string, unknown>;
}

function withAnnotation(object: Manifest, key: string, value: string): Manifest {
  return { ...object, metadata: { ...object.metadata, annotations: { ...object.metadata.annotations, [key]: value } } };
}

/** What a guest says by itself once it is up: on a slow machine its shell may answer before. */
const READY = /^READY boot=.*\n/gm;

/** One line, one answer: the marker is split in what is typed, so that only the shell's output holds it whole. */
function typeInto(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let seen = "";
    const timer = setTimeout(
      () => socket.destroy(new Error(`no answer on the console; it showed: ${seen.slice(-200)}`)),
      5_000,
    );
    socket.once("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    socket.on("data", (data) => {
      seen += data.toString("utf8");
      const answer = /QUORATE-BEGIN\r?\n([\s\S]*?)QUORATE-END (\d+)/.exec(seen);
      if (answer === null) return;
      clearTimeout(timer);
      socket.destroy();
      const text = (answer[1] ?? "").replaceAll("\r", "").replace(READY, "");
      if (answer[2] === "0") resolve(text.trimEnd());
      else reject(new Error(`"${line}" failed in the guest (exit ${answer[2]}): ${answer[1]}`));
    });
    socket.once("connect", () => socket.write(`\necho QUORATE-"BEGIN"; ${line}; echo QUORATE-"END" $?\n`));
  });
}
