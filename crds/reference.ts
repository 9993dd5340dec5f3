import type { CrdManifest } from "./manifests.ts";
export function renderReference(_manifests: CrdManifest[]): Map<string, string> {
  return new Map();
}
