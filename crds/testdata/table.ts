/**
 * The tables of manifests beside this file, for the tests of crds/.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";

/** A manifest without what every one has: apiVersion and namespace. */
export interface Manifest {
  kind: string;
  metadata: { name: string };
  spec?: unknown;
}

export interface Row {
  name: string;
  /** The object that exists, when the row is a change of it. */
  before?: Manifest;
  manifest: Manifest;
  /** All that kubectl says when the API server refuses it; absent where it is accepted. */
  error?: string;
}

/** The rows of `refusals.yaml` or `accepted.yaml`. */
export function table(file: string): Row[] {
  return load(readFileSync(join(import.meta.dirname, file), "utf8")) as Row[];
}
