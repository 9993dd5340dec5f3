import type { ResourceType } from "./resource.ts";

export type Query = Record<string, string | number | undefined>;

/** A subresource such as `status` or `approval`. */
export type Subresource = string;

/** Where the API server serves an object, or without `name` all of them. Whatever the names contain, they stay names. */
export function pathOf(
  type: ResourceType,
  namespace: string | undefined,
  name?: string,
  query: Query = {},
  subresource?: Subresource,
): string {
  if (name !== undefined && type.namespaced && namespace === undefined) {
    throw new TypeError(`${type.kind} ${name}: a namespaced kind needs a namespace`);
  }
  const root = type.apiVersion.includes("/") ? `/apis/${type.apiVersion}` : `/api/${type.apiVersion}`;
  const parts = [
    ...(type.namespaced && namespace !== undefined ? ["namespaces", namespace] : []),
    type.plural,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  const asked = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) asked.set(key, String(value));
  return `${root}/${parts.map(encodeURIComponent).join("/")}${asked.size > 0 ? `?${asked}` : ""}`;
}
