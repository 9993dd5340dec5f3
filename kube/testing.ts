/** For tests of this folder and of those that use it; nothing else imports it. */
export { LeaseServer, type Link } from "./lease-server.ts";
export { ManualClock, settled } from "./manual-clock.ts";
