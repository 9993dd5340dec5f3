/** `must-stay-apart`, as the decisions name it, -> `MustStayApart`, as every reason in the API is written. */
export function camelCase(reason: string): string {
  return reason
    .split("-")
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join("");
}
