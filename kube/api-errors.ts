import { type ErrorClass, QuorateError } from "../errors.ts";

/** The server's refusal, or its silence. `status` is the HTTP status, 0 when there was no answer. */
export class ApiError extends QuorateError {
  readonly status: number;

  constructor(errorClass: ErrorClass, reason: string, status: number, message: string, options?: { cause?: unknown }) {
    super(errorClass, reason, message, options);
    this.name = new.target.name;
    this.status = status;
  }
}

/** The object (or its namespace) does not exist; a level-based caller sees that on its next look. */
export class NotFoundError extends ApiError {}

/**
 * 409. Without `fields`: the object is another than the one that was read (or exists already): read again and decide
 * anew. With `fields`: server-side apply found them owned by another manager; trying again does not help.
 */
export class ConflictError extends ApiError {
  readonly fields: readonly { field: string; message: string }[];

  constructor(errorClass: ErrorClass, reason: string, message: string, fields: { field: string; message: string }[]) {
    super(errorClass, reason, 409, message);
    this.fields = fields;
  }
}

/** 400, 422: the server refuses what the object says. */
export class InvalidError extends ApiError {}

/** 401, 403: credentials or RBAC. */
export class ForbiddenError extends ApiError {}

/** 410: the history since this resourceVersion (or continue token) is no longer kept; list again. */
export class GoneError extends ApiError {}

/** No answer, no answer in time, an answer that makes no sense, 5xx, or 429 for longer than the request may take. */
export class UnreachableError extends ApiError {}

/** What the API server sends as the body of an error, and as the object of an ERROR watch event. */
interface Status {
  message?: string;
  reason?: string;
  code?: number;
  details?: { name?: string; causes?: { reason?: string; message?: string; field?: string }[] };
}

/**
 * @param doing names what was tried on which object: `apply Guest prod/db1`
 * @param body the parsed JSON of the answer, or its text
 */
export function errorOfAnswer(status: number, body: unknown, doing: string): ApiError {
  const answer: Status = typeof body === "object" && body !== null ? body : {};
  const said =
    answer.message ?? (typeof body === "string" && body.trim() !== "" ? body.trim().slice(0, 500) : `HTTP ${status}`);
  const message = `${doing}: ${said}`;
  switch (status) {
    case 400:
    case 405:
    case 406:
    case 413:
    case 415:
    case 422:
      return new InvalidError("user", answer.reason ?? "Invalid", status, message);
    case 401:
      return new ForbiddenError(
        "environment",
        "Unauthorized",
        status,
        `${message}: check the credentials (kubeconfig or service account)`,
      );
    case 403:
      return new ForbiddenError("environment", "Forbidden", status, message);
    case 404:
      // Without details it is not the object that is missing but the kind.
      return answer.details?.name === undefined
        ? new NotFoundError("environment", "KindNotServed", status, `${message}: is the CRD installed?`)
        : new NotFoundError("transient", "NotFound", status, message);
    case 409:
      return conflict(answer, message);
    case 410:
      return new GoneError("transient", "Gone", status, message);
    case 429:
      return new UnreachableError("transient", "TooManyRequests", status, message);
    case 500:
      // A field that the kind does not have, in an apply: the caller's fault, whatever the status says.
      return said.startsWith("failed to create typed patch object")
        ? new InvalidError("user", "UnknownField", status, message)
        : new UnreachableError("transient", answer.reason ?? "ServerError", status, message);
    default:
      return new UnreachableError("transient", answer.reason ?? "ServerError", status, message);
  }
}

function conflict(answer: Status, message: string): ConflictError {
  const fields = (answer.details?.causes ?? [])
    .filter((cause) => cause.reason === "FieldManagerConflict")
    .map((cause) => ({ field: cause.field ?? "", message: cause.message ?? "" }));
  return new ConflictError(fields.length > 0 ? "user" : "transient", answer.reason ?? "Conflict", message, fields);
}
