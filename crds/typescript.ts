/**
 * Turns the schemas into TypeScript. Every schema with a title becomes a type of that name; the same title in two places must
 * mean the same type. A field with a default is required, because it is always there in what the API server returns; to write
 * an object, use the partial types of kube/.
 */
import { compile, type JSONSchema } from "json-schema-to-typescript";
import { type CrdManifest, type Schema, schemaOf } from "./manifests.ts";

const banner = `/**
 * Generated from the YAML files of this folder by generate.ts. Do not edit: change the YAML and run
 * \`node crds/generate.ts\`.
 */
import type { ObjectMeta } from "./resource.ts";`;

/** The text of types.ts. @throws Error when one title stands for two different schemas. */
export async function renderTypes(manifests: CrdManifest[]): Promise<string> {
  const named = new Map<string, Schema>();
  for (const manifest of manifests) collect(schemaOf(manifest), named);
  const kinds = new Map(manifests.map((manifest) => [manifest.spec.names.kind, manifest]));
  const parts: string[] = [];
  for (const [title, schema] of named) {
    const manifest = kinds.get(title);
    const body = manifest === undefined ? namedDefinition(schema) : kindDefinition(schema, manifest);
    parts.push(
      await compile({ ...body, title } as JSONSchema, title, {
        bannerComment: "",
        additionalProperties: false,
        declareExternallyReferenced: false,
        style: { printWidth: 120, semi: true, trailingComma: "all" },
      }),
    );
  }
  return `${[banner, ...parts.map((part) => part.trim())].join("\n\n")}\n`;
}

function collect(schema: Schema, named: Map<string, Schema>): void {
  if (schema.title !== undefined) {
    const known = named.get(schema.title);
    if (known !== undefined && fingerprint(known) !== fingerprint(schema)) {
      throw new Error(`the title ${schema.title} stands for two different schemas; give one of them another title`);
    }
    if (known === undefined) named.set(schema.title, schema);
  }
  for (const child of Object.values(schema.properties ?? {})) collect(child, named);
  if (schema.items !== undefined) collect(schema.items, named);
}

/** Two uses of a type may say different things of it; the type itself may not differ. */
function fingerprint(schema: Schema): string {
  const { description: _description, default: _default, ...shape } = schema;
  return JSON.stringify(shape);
}

function namedDefinition(schema: Schema): object {
  return schema.enum === undefined
    ? objectDefinition(schema)
    : { ...described(schema), type: "string", enum: schema.enum };
}

function kindDefinition(schema: Schema, manifest: CrdManifest): object {
  const version = manifest.spec.versions.find((candidate) => candidate.storage)?.name;
  const { metadata: _metadata, ...properties } = schema.properties ?? {};
  const body = objectDefinition({ ...schema, properties });
  return {
    ...body,
    properties: {
      ...body.properties,
      apiVersion: { const: `${manifest.spec.group}/${version}` },
      kind: { const: manifest.spec.names.kind },
      metadata: { tsType: "ObjectMeta" },
    },
    required: [...body.required, "apiVersion", "kind", "metadata"],
  };
}

interface ObjectDefinition {
  type: "object";
  description?: string;
  properties: Record<string, object>;
  required: string[];
  additionalProperties: false;
}

function objectDefinition(schema: Schema): ObjectDefinition {
  const properties = schema.properties ?? {};
  const withDefault = Object.keys(properties).filter((name) => properties[name]?.default !== undefined);
  return {
    ...described(schema),
    type: "object",
    properties: Object.fromEntries(Object.entries(properties).map(([name, property]) => [name, use(property)])),
    required: [...new Set([...(schema.required ?? []), ...withDefault])],
    additionalProperties: false,
  };
}

/** A schema where it is used: by its name when it has one. */
function use(schema: Schema): object {
  if (schema.title !== undefined) return { ...described(schema), tsType: schema.title };
  if (schema.items?.title !== undefined) return { ...described(schema), tsType: `${schema.items.title}[]` };
  if (schema.items !== undefined) return { ...described(schema), type: "array", items: plain(schema.items) };
  if (schema.additionalProperties !== undefined) return { ...described(schema), tsType: "Record<string, string>" };
  if (schema.properties !== undefined) {
    throw new Error(`an object without a title: ${Object.keys(schema.properties).join(", ")}`);
  }
  return { ...described(schema), ...plain(schema) };
}

function plain(schema: Schema): object {
  return schema.enum === undefined ? { type: schema.type } : { type: schema.type, enum: schema.enum };
}

function described(schema: Schema): { description?: string } {
  return schema.description === undefined ? {} : { description: comment(schema.description) };
}

const commentWidth = 116;

/** A description as lines of a comment. */
function comment(description: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of description.trim().split(/\s+/)) {
    if (line !== "" && line.length + 1 + word.length > commentWidth) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join("\n");
}
