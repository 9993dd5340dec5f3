/**
 * Writes what is made of the schemas: types.ts beside this file and docs/reference/. Run it after each change of a YAML file:
 *
 *     node crds/generate.ts
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { crdManifests } from "./manifests.ts";
import { renderReference } from "./reference.ts";
import { renderTypes } from "./typescript.ts";

const root = join(import.meta.dirname, "..");

/** Every generated file with its content, by path from the root of the project. */
export async function generatedFiles(): Promise<Map<string, string>> {
  const manifests = crdManifests();
  const files = new Map([["crds/types.ts", await renderTypes(manifests)]]);
  for (const [name, text] of renderReference(manifests)) files.set(`docs/reference/${name}`, text);
  return files;
}

if (import.meta.main) {
  for (const [path, text] of await generatedFiles()) {
    const target = join(root, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
    console.log(relative(process.cwd(), target));
  }
}
