import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { load } from "js-yaml";
import { crdManifests } from "../../crds/index.ts";
import { generatedFiles, presentFiles } from "./generate.ts";

const repository = join(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(join(import.meta.dirname, file), "utf8");

describe("the chart", () => {
  it("holds the custom resource definitions and policies of crds/ as they are now", () => {
    const [present, generated] = [presentFiles(), generatedFiles()];
    const outdated = [...new Set([...present.keys(), ...generated.keys()])].filter(
      (path) => present.get(path) !== generated.get(path),
    );
    assert.deepEqual(outdated, [], "run: node charts/quorate/generate.ts");
  });

  it("announces every kind, and its version is the program's", () => {
    const chart = load(read("Chart.yaml")) as { appVersion: string; annotations: Record<string, string> };
    const announced = load(chart.annotations["artifacthub.io/crds"] ?? "") as { kind: string; name: string }[];
    assert.deepEqual(
      announced.map(({ kind, name }) => `${kind} ${name}`),
      crdManifests().map(({ spec, metadata }) => `${spec.names.kind} ${metadata.name}`),
    );
    assert.equal(chart.appVersion, JSON.parse(readFileSync(join(repository, "package.json"), "utf8")).version);
  });

  it("has a default and a description for every setting of its schema", () => {
    const schema = JSON.parse(read("values.schema.json")) as Schema;
    const values = load(read("values.yaml")) as Values;
    assert.deepEqual(missing(schema, values, ""), []);
  });

  it("alerts on metrics that exist", () => {
    const sources = globSync("{agent,controllers,kube}/**/*.ts", { cwd: repository }).map((file) =>
      readFileSync(join(repository, file), "utf8"),
    );
    const used = new Set(read("files/alerts.yaml").match(/quorate_[a-z_]+/g));
    assert.ok(used.size > 0);
    for (const metric of used) {
      assert.ok(
        sources.some((source) => source.includes(`"${metric}"`)),
        `no metric is registered as "${metric}"`,
      );
    }
  });
});

interface Schema {
  description?: string;
  properties?: Record<string, Schema>;
}

type Values = { [name: string]: unknown };

/** Paths of settings without a default or without a description. Resources are the container's own and may be left out. */
function missing(schema: Schema, values: Values, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, setting]) => {
    const here = `${path}.${name}`;
    if (here === ".global" || path.endsWith(".resources")) return [];
    const value = values[name];
    const problems = [
      ...(value === undefined ? [`${here}: no default`] : []),
      ...(setting.description === undefined ? [`${here}: no description`] : []),
    ];
    return [...problems, ...missing(setting, (value ?? {}) as Values, here)];
  });
}
