/** The host's corosync: what it says, and its configuration. */
export {
  type AppliedConfig,
  AUTHKEY_PATH,
  applyConfig,
  BACKUP_PATH,
  CONF_PATH,
  type WantedConfig,
  type WritePermit,
} from "./config-file.ts";
export { type Member, type Quorum, type QuorumAnswer, readQuorum } from "./quorum.ts";
export { type QuorumReport, QuorumWatch, type QuorumWatchOptions } from "./quorum-watch.ts";
export { startCorosync, stopCorosync, wipeCorosync } from "./service.ts";
export { type CorosyncStatus, type LinkStatus, type PeerLink, readStatus } from "./status.ts";
