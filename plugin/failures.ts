import { type ErrorClass, QuorateError } from "../errors.ts";
import { ForbiddenError, UnreachableError } from "../kube/index.ts";

/** Exit codes, after sysexits where there is one. */
export const EXIT = { ok: 0, failure: 1, usage: 64 } as const;

/** An argument that makes no sense. @returns exit code 64 */
export function usageError(message: string): QuorateError {
  return new QuorateError("user", "Usage", message);
}

/** What is not there, with the command that shows what is. */
export function notFound(kind: string, plural: string, name: string, namespace: string): QuorateError {
  return new QuorateError(
    "user",
    `${kind}NotFound`,
    `namespace "${namespace}" has no ${kind} "${name}"; "kubectl get ${plural} -n ${namespace}" lists those there are`,
  );
}

export interface Failure {
  readonly text: string;
  readonly exitCode: number;
}

/** What is printed for an error, and how the program ends. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof QuorateError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { text: `error: this is a fault of kubectl-quorate, please report it:\n${text}`, exitCode: EXIT.failure };
  }
  if (error.reason === "Usage") return { text: `error: ${error.message}`, exitCode: EXIT.usage };
  const advice = adviceFor(error);
  return { text: `error: ${error.message}${advice === "" ? "" : `\n${advice}`}`, exitCode: EXIT.failure };
}

function adviceFor(error: QuorateError): string {
  if (error.reason === "KindNotServed")
    return "Quorate is not installed in this Kubernetes cluster, or in another version: see docs/install.md.";
  if (error.reason === "Unauthorized")
    return "Log in again, or choose other credentials with --kubeconfig or --context.";
  if (error instanceof ForbiddenError)
    return 'You need the role "quorate-view" to look and "quorate-admin" to change: kubectl create rolebinding NAME -n NAMESPACE --clusterrole=quorate-admin --user=YOU';
  if (error instanceof UnreachableError && error.status === 0)
    return "The API server does not answer: check --kubeconfig, --context and the network. Guests run on without it.";
  return CLASS_ADVICE[error.class] ?? "";
}

const CLASS_ADVICE: Partial<Record<ErrorClass, string>> = { transient: "This may pass: try again." };
