/** A MicroTime of Kubernetes: six digits after the second, which a plain ISO string (three) is refused for. */
export function microTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace("Z", "000Z");
}

/** A Time of Kubernetes, as conditions and statuses hold it: whole seconds. */
export function rfc3339(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+Z$/, "Z");
}
