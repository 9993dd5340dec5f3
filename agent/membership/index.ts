/** The host's corosync follows what the membership controller publishes. */
export { type FollowInput, followConfig, type Published, readAuthkey, readPublished } from "./follow-config.ts";
export { membershipReport } from "./report.ts";
