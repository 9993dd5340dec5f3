import { execFile } from "node:child_process";
import { QuorateError } from "../../errors.ts";

export interface KubectlTarget {
  kubectl: string;
  kubeconfig: string;
  commandPrefix: readonly string[];
  /** Discovery is cached here rather than in the user's home. */
  cacheFolder: string;
}

export interface KubectlOptions {
  /** Standard input, for `apply -f -`. */
  input?: string;
  /** Default 30 s. */
  timeoutMs?: number;
  /** Another user's kubeconfig, see `kubeconfigFor`. */
  kubeconfig?: string;
}

export interface KubectlResult {
  stdout: string;
  stderr: string;
}

/** Runs kubectl. @throws QuorateError `user` with what kubectl printed when it exits with an error or takes too long. */
export function runKubectl(
  target: KubectlTarget,
  args: readonly string[],
  options: KubectlOptions = {},
): Promise<KubectlResult> {
  const [program = "", ...before] = [...target.commandPrefix, target.kubectl];
  const timeout = options.timeoutMs ?? 30_000;
  const env = { ...process.env, KUBECONFIG: options.kubeconfig ?? target.kubeconfig, KUBECACHEDIR: target.cacheFolder };
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      [...before, ...args],
      { env, timeout, killSignal: "SIGKILL", maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ stdout, stderr });
        const said = error.killed ? `no answer within ${timeout} ms` : stderr.trim() || error.message;
        reject(new QuorateError("user", "KubectlFailed", `kubectl ${args.join(" ")}: ${said}`, { cause: error }));
      },
    );
    child.stdin?.on("error", () => {}); // kubectl may end before it has read everything; its exit status tells
    child.stdin?.end(options.input ?? "");
  });
}
