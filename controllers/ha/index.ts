export { crmStep, DEFAULT_CRM_PARAMETERS, initialCrmState } from "./crm-step.ts";
export {
  currentMembership,
  type FenceObservations,
  fenceGate,
  type GateInput,
  type GateParameters,
  type LeaseSample,
  type MembershipReport,
  type MembershipView,
  observeLeases,
} from "./fence-gate.ts";
export { compileRules, type RuleSet } from "./rules.ts";
export { checkTimings, CLOCK_RATE_ERROR, type Derived, deriveTimings, effectiveToken, type Timings, type TimingSettings, type TimingsResult } from "./timings.ts";
export type * from "./types.ts";
