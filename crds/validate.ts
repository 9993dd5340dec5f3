/**
 * Checks manifests without an API server: everything that the schemas say of types, names, values and single strings. What
 * needs the object before the change or several fields at once is left to the API server.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import ajvFormats from "ajv-formats";
import { QuorateError } from "../errors.ts";
import { crdManifests, type Schema, schemaOf, type ValidationRule } from "./manifests.ts";
import { brokenRule } from "./rules.ts";

export interface Problem {
  /** Where: `spec.links[0].network`; empty for the object as a whole. */
  field: string;
  /** What is wrong and what to do. */
  message: string;
}

/**
 * What is wrong with an object; an empty list when nothing was found. Fields that the schema does not know are problems too.
 *
 * @throws QuorateError (user, UnknownKind) when the API has no such kind.
 */
export function validate(kind: string, object: unknown): Problem[] {
  return check(kind, structuredClone(object));
}

/**
 * A copy of the object with the defaults of the schema filled in, as the API server would store it.
 *
 * @throws QuorateError (user, InvalidObject) with all problems when it is not valid.
 */
export function withDefaults<T extends object>(kind: string, object: T): T {
  const copy = structuredClone(object);
  const problems = check(kind, copy);
  if (problems.length > 0) {
    const lines = problems.map(({ field, message }) => (field === "" ? message : `${field}: ${message}`));
    throw new QuorateError("user", "InvalidObject", `the ${kind} is invalid: ${lines.join("; ")}`);
  }
  return copy;
}

/** Fills in the defaults of `object` and returns its problems. */
function check(kind: string, object: unknown): Problem[] {
  validators ??= compileAll();
  const validator = validators.get(kind);
  if (validator === undefined) {
    throw new QuorateError("user", "UnknownKind", `no kind "${kind}"; there are ${[...validators.keys()].join(", ")}`);
  }
  validator(object);
  return (validator.errors ?? []).map(problem);
}

let validators: Map<string, ValidateFunction> | undefined;

function compileAll(): Map<string, ValidateFunction> {
  const ajv = new Ajv({ strict: true, allErrors: true, useDefaults: true, verbose: true });
  ajvFormats.default(ajv, ["date-time", "int64"]);
  ajv.addVocabulary(["x-kubernetes-list-type", "x-kubernetes-map-type", "x-kubernetes-list-map-keys"]);
  ajv.addKeyword({ keyword: "x-kubernetes-validations", schemaType: "array", validate: checkRules, errors: true });
  return new Map(crdManifests().map((manifest) => [manifest.spec.names.kind, ajv.compile(closed(schemaOf(manifest)))]));
}

/** The API server drops fields that it does not know, or refuses them on request; here they are always wrong. */
function closed(schema: Schema): object {
  const { properties, items, additionalProperties, ...rest } = schema;
  if (properties !== undefined) {
    const inner = Object.entries(properties).map(([name, property]) => [
      name,
      name === "metadata" ? { type: "object" } : closed(property),
    ]);
    return { ...rest, properties: Object.fromEntries(inner), additionalProperties: false };
  }
  if (items !== undefined) return { ...rest, items: closed(items) };
  return additionalProperties === undefined ? rest : { ...rest, additionalProperties: closed(additionalProperties) };
}

interface RuleCheck {
  (rules: ValidationRule[], value: unknown): boolean;
  errors?: Partial<ErrorObject>[];
}

const checkRules: RuleCheck = (rules, value) => {
  const broken = typeof value === "string" ? rules.map((rule) => brokenRule(rule, value)) : [];
  const messages = broken.filter((message) => message !== undefined);
  checkRules.errors = messages.map((message) => ({ keyword: "x-kubernetes-validations", message, params: {} }));
  return messages.length === 0;
};

function problem(error: ErrorObject): Problem {
  const field = error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce((path, part) => (/^[0-9]+$/.test(part) ? `${path}[${part}]` : path === "" ? part : `${path}.${part}`), "");
  return { field, message: explain(error) };
}

function explain(error: ErrorObject): string {
  const value = JSON.stringify(error.data);
  const { params } = error;
  switch (error.keyword) {
    case "required":
      return `${params.missingProperty} is missing; add it`;
    case "additionalProperties":
      return `there is no field ${params.additionalProperty} here; correct its name, or remove it`;
    case "enum":
      return `${value} is not possible; use one of ${(params.allowedValues as string[]).join(", ")}`;
    case "type":
      return `${value} is not of type ${params.type}`;
    case "minimum":
    case "maximum":
      return `${value} is out of range; it must be ${params.comparison} ${params.limit}`;
    case "maxLength":
      return `${value} is too long; it has at most ${params.limit} characters`;
    case "maxItems":
    case "maxProperties":
      return `too many; there are at most ${params.limit}`;
    case "minLength":
    case "minItems":
      return `too few; there must be at least ${params.limit}`;
    case "format":
      return `${value} is not a ${params.format}`;
    case "x-kubernetes-validations":
      return `${value}: ${error.message}`;
    default:
      return error.message ?? error.keyword;
  }
}
