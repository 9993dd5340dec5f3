/**
 * Takes out of objects and logs what could be a secret, before they are given to somebody. In doubt it takes out more.
 */

export const REMOVED = "REMOVED";

const SECRET_NAME = /passw|secret|token|credential|private|authkey|api-?key|^key$|cookie|login/i;
/** Names that look secret and are not: a reference to one, a number of milliseconds, the kind itself. */
const NOT_SECRET = new Set(["secretRef", "tokenMilliseconds", "secretName", "imagePullSecrets"]);

/** An object without managedFields, copies of itself in annotations, and values under names that suggest a secret. */
export function redactObject(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(redactObject);
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name]) => name !== "managedFields");
  const named = Object.fromEntries(entries).name;
  return Object.fromEntries(
    entries.map(([name, inner]) => {
      if (name === "annotations") return [name, redactAnnotations(inner)];
      // A list of {name, value}, as of environment variables.
      if (name === "value" && typeof named === "string" && isSecretName(named)) return [name, REMOVED];
      return [name, isSecretName(name) && typeof inner === "string" ? REMOVED : redactObject(inner)];
    }),
  );
}

function redactAnnotations(annotations: unknown): unknown {
  if (typeof annotations !== "object" || annotations === null) return annotations;
  return Object.fromEntries(
    Object.entries(annotations)
      .filter(([name]) => !isSecretName(name) && !name.endsWith("/last-applied-configuration"))
      .map(([name, text]) => [name, redactObject(text)]),
  );
}

function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !NOT_SECRET.has(name);
}

/** A text without private keys, bearer tokens, and values given as `password=…` and the like. */
export function redactText(text: string): string {
  return text
    .replaceAll(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, REMOVED)
    .replaceAll(/\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}/g, `$1 ${REMOVED}`)
    .replaceAll(/\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/g, REMOVED)
    .replaceAll(
      /\b([A-Za-z_-]*(?:passw(?:or)?d|secret|authkey|api[-_]?key))("?\s*[=:]\s*"?)[^\s",;]+/gi,
      `$1$2${REMOVED}`,
    );
}
