import { type Command, InvalidArgumentError } from "commander";
import { KubeClient } from "../kube/index.ts";
import { processLog } from "../log.ts";

/** The flags that kubectl has too, with the same names and meaning. */
export interface ConnectionFlags {
  readonly namespace?: string;
  readonly context?: string;
  readonly kubeconfig?: string;
  /** Milliseconds. */
  readonly requestTimeout?: number;
}

export interface Connection {
  readonly client: KubeClient;
  readonly namespace: string;
}

/** Adds them to the program; they are accepted before and after a command's name. */
export function addConnectionFlags(program: Command): Command {
  return program
    .option("-n, --namespace <name>", "namespace of the cluster [that of the kubeconfig's context]", objectName)
    .option("--context <name>", "context of the kubeconfig [its current one]")
    .option("--kubeconfig <file>", "kubeconfig [$KUBECONFIG, else ~/.kube/config]")
    .option(
      "--request-timeout <duration>",
      "longest wait for an answer of the API server, such as 30s [10s]",
      durationOf,
    );
}

/** @throws QuorateError class user when there is no kubeconfig or it has no such context. */
export function connectTo(flags: ConnectionFlags): Connection {
  const log = processLog("plugin");
  // What fails is printed for people; the log is for those who ask for it.
  if (process.env.QUORATE_LOG_LEVEL === undefined) log.level = "silent";
  const client = KubeClient.fromKubeconfig(flags.kubeconfig ?? onlyFileOf(process.env.KUBECONFIG), {
    log,
    userAgent: "kubectl-quorate",
    ...(flags.context === undefined ? {} : { context: flags.context }),
    ...(flags.requestTimeout === undefined ? {} : { timeoutMs: flags.requestTimeout }),
  });
  return { client, namespace: flags.namespace ?? client.defaultNamespace };
}

/** As kubectl does: in a pod a kubeconfig that is named goes before the pod's own account. */
function onlyFileOf(list: string | undefined): string | undefined {
  return list === undefined || list === "" || list.includes(":") ? undefined : list;
}

/** Milliseconds of `30`, `30s`, `2m`, `500ms`, as kubectl writes them. @throws InvalidArgumentError */
export function durationOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (match === null) throw new InvalidArgumentError("use a number with ms, s, m or h, such as 90s.");
  const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? "s"] ?? 1000;
  return Math.round(Number(match[1]) * factor);
}

/** A name that goes into a URL: what no object can be called is refused before anything is asked. @throws InvalidArgumentError */
export function objectName(text: string): string {
  if (/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(text) && text.length <= 253) return text;
  throw new InvalidArgumentError("not a name of an object; use lower-case letters, digits, dots and hyphens.");
}
