/**
 * The one error type of the project. The class says who must act:
 *
 * - `user`: an object or argument is wrong; retrying does not help until it is changed.
 * - `environment`: the host or cluster lacks something (a full pool, a missing tool); someone must repair it.
 * - `transient`: it may work on the next try; retried with backoff, shown only when it lasts.
 * - `bug`: a broken invariant of ours; logged with its stack.
 */
export type ErrorClass = "user" | "environment" | "transient" | "bug";

export class QuorateError extends Error {
  readonly class: ErrorClass;
  /** CamelCase, stable: it becomes the reason of a condition or an event. */
  readonly reason: string;

  /** @param message names the object, what is wrong and what to do next. */
  constructor(errorClass: ErrorClass, reason: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "QuorateError";
    this.class = errorClass;
    this.reason = reason;
  }
}

/** Any thrown value as a QuorateError; what is not one already is taken for a bug of ours. */
export function classify(error: unknown): QuorateError {
  if (error instanceof QuorateError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new QuorateError("bug", "InternalError", message, { cause: error });
}
