/**
 * Turns the schemas into the reference of the users' guide: one page a kind, with every field, its rules and the columns.
 */
import { type CrdManifest, type Schema, schemaOf } from "./manifests.ts";

const generated = "<!-- Generated from crds/*.yaml by `node crds/generate.ts`. Do not edit. -->";

/** The pages by file name. */
export function renderReference(manifests: CrdManifest[]): Map<string, string> {
  const pages = new Map([["README.md", overview(manifests)]]);
  for (const manifest of manifests) pages.set(fileName(manifest), page(manifest));
  return pages;
}

function fileName(manifest: CrdManifest): string {
  return `${manifest.spec.names.singular}.md`;
}

function overview(manifests: CrdManifest[]): string {
  const rows = manifests.map((manifest) => {
    const { kind, plural, shortNames } = manifest.spec.names;
    const short = shortNames.map((name) => `\`${name}\``).join(", ");
    return `| [${kind}](${fileName(manifest)}) | \`${plural}\`, ${short} | ${text(firstSentence(schemaOf(manifest)))} |`;
  });
  return lines(
    generated,
    "",
    "# The API",
    "",
    "Every kind is of group and version `quorate.dev/v1alpha1`, lives in a namespace and has the category `quorate`: `kubectl get quorate`",
    "shows all of a cluster. `kubectl explain guest.spec.volumes` says on the command line what these pages say.",
    "",
    "| kind | names | what it is |",
    "|---|---|---|",
    ...rows,
  );
}

function firstSentence(schema: Schema): string {
  return (schema.description ?? "").split(/(?<=\.) /)[0] ?? "";
}

function page(manifest: CrdManifest): string {
  const schema = schemaOf(manifest);
  const { kind, plural, shortNames } = manifest.spec.names;
  const version = manifest.spec.versions.find((candidate) => candidate.storage);
  const parts = ["spec", "status"].flatMap((part) => {
    const child = schema.properties?.[part];
    return child === undefined ? [] : section(part, child);
  });
  const broken = rules("", schema);
  return lines(
    generated,
    "",
    `# ${kind}`,
    "",
    text(schema.description ?? ""),
    "",
    `Names for kubectl: \`${[plural, manifest.spec.names.singular, ...shortNames].join("`, `")}\`.`,
    "",
    ...parts,
    ...(broken.length === 0
      ? []
      : ["## Refused", "", "What the API server refuses beyond types and limits, and what it says:", ""]),
    ...broken,
    ...(broken.length === 0 ? [] : [""]),
    "## Columns",
    "",
    "| column | shows |",
    "|---|---|",
    ...(version?.additionalPrinterColumns ?? []).map((column) => {
      const wide = (column.priority ?? 0) > 0 ? " (with `-o wide`)" : "";
      return `| ${column.name.toUpperCase()} | ${text(column.description ?? "How long it exists.")}${wide} |`;
    }),
  );
}

function section(part: string, schema: Schema): string[] {
  return [
    `## ${part}`,
    "",
    text(schema.description ?? ""),
    "",
    "| field | type | meaning |",
    "|---|---|---|",
    ...rows("", schema),
    "",
  ];
}

function rows(prefix: string, schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const path = `${prefix}${name}`;
    const needed = schema.required?.includes(name) ? ", required" : "";
    const row = `| \`${path}\` | ${typeOf(property)}${needed} | ${text(property.description ?? "")} |`;
    if (property.items !== undefined) return [row, ...rows(`${path}[].`, property.items)];
    return [row, ...rows(`${path}.`, property)];
  });
}

function typeOf(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(" ");
  if (schema.items !== undefined)
    return `list${limits(schema.minItems, schema.maxItems)} of ${plainType(schema.items)}`;
  if (schema.additionalProperties !== undefined) return `map of ${plainType(schema.additionalProperties)}`;
  return `${plainType(schema)}${limits(schema.minimum, schema.maximum)}`;
}

function plainType(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(" ");
  if (schema.format === "date-time") return "time";
  return schema.type === "object" ? "object" : (schema.type ?? "");
}

function limits(least: number | undefined, most: number | undefined): string {
  if (least === undefined) return most === undefined ? "" : ` up to ${most}`;
  return most === undefined ? ` from ${least}` : ` ${least}-${most}`;
}

function rules(path: string, schema: Schema): string[] {
  const own = (schema["x-kubernetes-validations"] ?? []).map((rule) => {
    const field = path + (rule.fieldPath ?? "");
    return `- \`${field === "" ? "object" : field.replace(/^\./, "")}\`: ${text(rule.message ?? "")}`;
  });
  const children = Object.entries(schema.properties ?? {}).flatMap(([name, child]) => rules(`${path}.${name}`, child));
  return [...own, ...children, ...(schema.items === undefined ? [] : rules(`${path}[]`, schema.items))];
}

function text(description: string): string {
  return description.trim().replaceAll("|", "\\|").replaceAll("<", "\\<").replaceAll("*", "\\*");
}

function lines(...all: string[]): string {
  return `${all.join("\n")}\n`;
}
