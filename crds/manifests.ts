/**
 * The CustomResourceDefinitions as they are on disk, the only source of the API.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";

/** A CEL rule of a schema, as the API server evaluates it. */
export interface ValidationRule {
  rule: string;
  message?: string;
  messageExpression?: string;
  fieldPath?: string;
  reason?: string;
}

/** The part of a structural schema that the definitions use. */
export interface Schema {
  title?: string;
  type?: string;
  description?: string;
  format?: string;
  default?: unknown;
  enum?: string[];
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: Schema;
  items?: Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  "x-kubernetes-validations"?: ValidationRule[];
  "x-kubernetes-list-type"?: "map" | "set" | "atomic";
  "x-kubernetes-list-map-keys"?: string[];
}

export interface PrinterColumn {
  name: string;
  type: string;
  jsonPath: string;
  description?: string;
  priority?: number;
}

export interface CrdManifest {
  apiVersion: "apiextensions.k8s.io/v1";
  kind: "CustomResourceDefinition";
  metadata: { name: string };
  spec: {
    group: string;
    scope: string;
    names: {
      kind: string;
      listKind: string;
      plural: string;
      singular: string;
      shortNames: string[];
      categories: string[];
    };
    versions: {
      name: string;
      served: boolean;
      storage: boolean;
      subresources?: { status?: object };
      additionalPrinterColumns?: PrinterColumn[];
      schema: { openAPIV3Schema: Schema };
    }[];
  };
}

/** File names without `.yaml`, in the order in which a reader meets the kinds. */
const files = [
  "cluster",
  "clusternode",
  "guest",
  "haresource",
  "hagroup",
  "harule",
  "replicationjob",
  "migration",
] as const;

/** All definitions, read and parsed anew with each call. Needs the files of this folder, which the bundle does not hold. */
export function crdManifests(): CrdManifest[] {
  return files.map((file) => load(readFileSync(join(import.meta.dirname, `${file}.yaml`), "utf8")) as CrdManifest);
}

/** The schema of the stored version. @throws Error when the definition has none, which the tests rule out. */
export function schemaOf(manifest: CrdManifest): Schema {
  const version = manifest.spec.versions.find((candidate) => candidate.storage);
  if (version === undefined) throw new Error(`${manifest.metadata.name} stores no version`);
  return version.schema.openAPIV3Schema;
}
