export { crmStep, DEFAULT_CRM_PARAMETERS, initialCrmState } from "./crm-step.ts";
export { compileRules, type RuleSet } from "./rules.ts";
export type * from "./types.ts";
