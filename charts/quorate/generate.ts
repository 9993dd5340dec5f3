/**
 * Copies what is made from crds/ into the chart: helm packages only files inside of it. Run it after each change there:
 *
 *     node charts/quorate/generate.ts
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";

const chart = import.meta.dirname;
const source = join(chart, "../../crds");

/** Where files are copied from, by where they go in the chart. */
const COPIED = { "files/crds": source, "files/admission": join(source, "admission") };

const HEADER = "# Made from crds/ by charts/quorate/generate.ts; edit it there.\n";

/** The generated files of the chart with their content, by path from the chart. */
export function generatedFiles(): Map<string, string> {
  const files = new Map<string, string>();
  for (const [target, folder] of Object.entries(COPIED)) {
    for (const file of globSync("*.yaml", { cwd: folder }).sort()) {
      files.set(`${target}/${basename(file)}`, HEADER + readFileSync(join(folder, file), "utf8"));
    }
  }
  return files;
}

/** The same files as they are in the chart now. */
export function presentFiles(): Map<string, string> {
  const paths = Object.keys(COPIED).flatMap((folder) => globSync(`${folder}/*.yaml`, { cwd: chart }));
  return new Map(paths.sort().map((path) => [path, readFileSync(join(chart, path), "utf8")]));
}

if (import.meta.main) {
  const wanted = generatedFiles();
  for (const path of presentFiles().keys()) if (!wanted.has(path)) rmSync(join(chart, path));
  for (const [path, content] of wanted) {
    const target = join(chart, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
    process.stdout.write(`${relative(process.cwd(), target)}\n`);
  }
}
