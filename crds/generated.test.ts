import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { generatedFiles } from "./generate.ts";
import * as api from "./index.ts";
import { type CrdManifest, crdManifests, type Schema, schemaOf } from "./manifests.ts";

const root = join(import.meta.dirname, "..");

/** Calls `visit` for the schema and all below it, with their paths. */
function walk(path: string, schema: Schema, visit: (path: string, schema: Schema) => void): void {
  visit(path, schema);
  for (const [name, child] of Object.entries(schema.properties ?? {})) walk(`${path}.${name}`, child, visit);
  if (schema.items !== undefined) walk(`${path}[]`, schema.items, visit);
  if (schema.additionalProperties !== undefined) walk(`${path}{}`, schema.additionalProperties, visit);
}

function offences(test: (path: string, schema: Schema) => boolean): string[] {
  const found: string[] = [];
  for (const manifest of crdManifests()) {
    walk(manifest.spec.names.kind, schemaOf(manifest), (path, schema) => {
      if (!path.includes(".metadata") && test(path, schema)) found.push(path);
    });
  }
  return found;
}

test("types.ts and docs/reference are what the YAML files say; if not, run: node crds/generate.ts", async () => {
  const files = await generatedFiles();
  for (const [path, text] of files) {
    assert.equal(existsSync(join(root, path)), true, `${path} is missing`);
    assert.equal(readFileSync(join(root, path), "utf8"), text, `${path} is out of date`);
  }
  const pages = readdirSync(join(root, "docs/reference")).map((name) => `docs/reference/${name}`);
  assert.deepEqual(
    pages.filter((page) => !files.has(page)),
    [],
    "pages of kinds that are gone",
  );
});

test("every YAML file of this folder is a definition that is read", () => {
  const definitions = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".yaml"));
  const read = crdManifests().map((manifest) => `${manifest.spec.names.singular}.yaml`);
  assert.deepEqual(read.toSorted(), definitions.toSorted());
});

test("every field has a description that is a sentence", () => {
  const bare = offences((_path, schema) => !/^[A-Z*].*[.…]$/s.test(schema.description?.trim() ?? ""));
  assert.deepEqual(bare, []);
});

test("every optional field of a spec says its default", () => {
  const silent: string[] = [];
  for (const manifest of crdManifests()) {
    walk(`${manifest.spec.names.kind}.spec`, schemaOf(manifest).properties?.spec ?? {}, (path, schema) => {
      for (const [name, field] of Object.entries(schema.properties ?? {})) {
        const needed = schema.required?.includes(name) === true || field.type === "object";
        if (!needed && !/default/i.test(field.description ?? "") && !isOneOf(path, name))
          silent.push(`${path}.${name}`);
      }
    });
  }
  assert.deepEqual(silent, []);
});

test("a default that the schema fills in is the one that the description names", () => {
  const differ = offences((path, schema) => {
    if (schema.default === undefined || typeof schema.default === "object" || !path.includes(".spec")) return false;
    return !new RegExp(`[Dd]efault:? ${escaped(String(schema.default))}([.,:]|$| )`).test(schema.description ?? "");
  });
  assert.deepEqual(differ, []);
});

test("every rule has a message for a person, without a full stop", () => {
  const dumb = offences((_path, schema) =>
    (schema["x-kubernetes-validations"] ?? []).some(({ message }) => message === undefined || /[.\n]$/.test(message)),
  );
  assert.deepEqual(dumb, []);
});

test("whatever a rule may look at is bounded, so that rules stay cheap", () => {
  const unbounded = offences((path, schema) => {
    if (/^[A-Za-z]+(\.(apiVersion|kind))?$/.test(path)) return false;
    if (schema.type === "array") return schema.maxItems === undefined;
    if (schema.additionalProperties !== undefined) return schema.maxProperties === undefined;
    const open = schema.type === "string" && schema.enum === undefined && schema.format === undefined;
    return open && schema.maxLength === undefined;
  });
  assert.deepEqual(unbounded, []);
});

test("enums are CamelCase and lists say how they merge", () => {
  const badEnums = offences(
    (_path, schema) => schema.enum?.some((value) => !/^[A-Z][A-Za-z0-9]*$/.test(value)) === true,
  );
  assert.deepEqual(badEnums, []);
  const atomic = ["Cluster.spec.links"];
  const unsaid = offences(
    (path, schema) =>
      schema.type === "array" && schema["x-kubernetes-list-type"] === undefined && !atomic.includes(path),
  );
  assert.deepEqual(unsaid, []);
});

test("every kind has status, conditions with observedGeneration, the category quorate and a short name", () => {
  for (const manifest of crdManifests()) {
    const { kind, categories, shortNames } = manifest.spec.names;
    const status = schemaOf(manifest).properties?.status?.properties;
    assert.deepEqual(categories, ["quorate"], kind);
    assert.equal(shortNames.length, 1, kind);
    assert.deepEqual(manifest.spec.versions[0]?.subresources, { status: {} }, kind);
    assert.equal(status?.conditions?.["x-kubernetes-list-type"], "map", kind);
    assert.deepEqual(status?.conditions?.["x-kubernetes-list-map-keys"], ["type"], kind);
    assert.equal(status?.conditions?.items?.properties?.observedGeneration?.type, "integer", kind);
  }
});

test("every kind has a constant that addresses it", () => {
  const exported = Object.values(api) as unknown[];
  const addressed = exported.filter((value) => typeof value === "object").toSorted(byKind);
  assert.deepEqual(addressed, crdManifests().map(address).toSorted(byKind));
});

function address(manifest: CrdManifest): object {
  const { kind, plural } = manifest.spec.names;
  const version = manifest.spec.versions[0]?.name;
  const namespaced = manifest.spec.scope === "Namespaced";
  return { apiVersion: `${manifest.spec.group}/${version}`, kind, plural, namespaced };
}

function byKind(a: unknown, b: unknown): number {
  return JSON.stringify(a).localeCompare(JSON.stringify(b));
}

/** Alternatives of which exactly one is given have no default. */
function isOneOf(path: string, name: string): boolean {
  return path.startsWith("Cluster.spec.storages") && ["dataset", "path"].includes(name);
}

function escaped(literal: string): string {
  return literal.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
