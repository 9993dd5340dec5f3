/**
 * Decides, without an API server, the rules of the schemas that look at one string only. The others (transitions, rules over
 * several fields) are left to the API server, which has the last word in any case.
 */
import ipaddr from "ipaddr.js";
import type { ValidationRule } from "./manifests.ts";
import { bytesOf } from "./quantity.ts";

/** The message of a broken rule; undefined when it holds or cannot be decided here. */
export function brokenRule(rule: ValidationRule, value: string): string | undefined {
  return decide(rule.rule, value) === false ? (rule.message ?? rule.rule) : undefined;
}

/** A disjunction of conjunctions of known tests; undefined as soon as one test is unknown. */
function decide(rule: string, value: string): boolean | undefined {
  const alternatives = rule.split(" || ").map((alternative) => {
    const tests = alternative.split(" && ").map((text) => test(text.trim(), value));
    return tests.includes(undefined) ? undefined : !tests.includes(false);
  });
  return alternatives.includes(undefined) ? undefined : alternatives.includes(true);
}

const tests: [RegExp, (value: string, argument: string) => boolean][] = [
  [/^self\.matches\('([^']*)'\)$/, (value, pattern) => new RegExp(pattern).test(value)],
  [/^self\.contains\('([^']*)'\)$/, (value, part) => value.includes(part)],
  [/^isIP\(self\)$/, isIP],
  [/^isCIDR\(self\)$/, isCIDR],
  [/^cidr\(self\) == cidr\(self\)\.masked\(\)$/, (value) => isCIDR(value) && isNetwork(value)],
  [/^isQuantity\(self\)$/, (value) => bytes(value) !== undefined],
  [/^quantity\(self\)\.isInteger\(\)$/, (value) => bytes(value) !== undefined],
  [/^quantity\(self\)\.asInteger\(\) >= ([0-9]+)$/, (value, least) => (bytes(value) ?? 0) >= Number(least)],
];

function test(text: string, value: string): boolean | undefined {
  if (text.startsWith("!")) {
    const inner = test(text.slice(1), value);
    return inner === undefined ? undefined : !inner;
  }
  for (const [form, holds] of tests) {
    const match = form.exec(text);
    if (match !== null) return holds(value, match[1] ?? "");
  }
  return undefined;
}

/** As Kubernetes sees it: IPv4 in four parts or IPv6 without a zone. */
function isIP(value: string): boolean {
  return !value.includes("%") && (ipaddr.IPv4.isValidFourPartDecimal(value) || ipaddr.IPv6.isValid(value));
}

function isCIDR(value: string): boolean {
  const [address, prefix, ...rest] = value.split("/");
  if (address === undefined || prefix === undefined || rest.length > 0 || !isIP(address)) return false;
  return /^(0|[1-9][0-9]{0,2})$/.test(prefix) && Number(prefix) <= (address.includes(":") ? 128 : 32);
}

function isNetwork(value: string): boolean {
  const [address, prefix] = ipaddr.parseCIDR(value);
  const bits = address.toByteArray().map((byte) => byte.toString(2).padStart(8, "0"));
  return !bits.join("").slice(prefix).includes("1");
}

function bytes(value: string): number | undefined {
  try {
    return bytesOf(value);
  } catch {
    return undefined;
  }
}
