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
export {
  CLOCK_RATE_ERROR,
  checkTimings,
  corosyncDelay,
  type Derived,
  deriveTimings,
  effectiveToken,
  type TimingSettings,
  type Timings,
  type TimingsResult,
} from "./timings.ts";
export type * from "./types.ts";
