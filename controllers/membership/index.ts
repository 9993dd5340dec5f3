/** Membership: which nodes form the corosync cluster of a namespace, with which configuration. The only way in. */
export { conditionsOf, type Finding, ownStatusDiffers } from "../conditions.ts";
export { type MembershipOptions, type RunningController, startMembership } from "./controller.ts";
export { byAge } from "./desired.ts";
export { CONFIG_NAME, KEY_NAME } from "./publication.ts";
